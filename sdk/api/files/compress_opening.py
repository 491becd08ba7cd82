"""Opens the input of a compression: the model, the images, and the layers that can be compressed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from device_agent.record.preprocess import Preprocess
from device_agent.record.usage import Usage
from sdk.api.compress_request import Compress
from sdk.api.files.layout import require_numbers, with_channels_last
from sdk.api.files.opening import reading
from sdk.api.files.usage import usage_of
from sdk.api.values import PathLike
from sdk.board.catalogue import load_board
from sdk.board.description.records import Board
from sdk.compress.board_form import specialise
from sdk.compress.recipes.recipe import Recipe
from sdk.compress.rewrite.halves import without_halves
from sdk.compress.solve.float_twin import FloatTwin, float_twin
from sdk.compress.weights.left_alone import Reach, reach
from sdk.compress.weights.selection import stored_weights
from sdk.data.choosing import Chosen
from sdk.data.for_model import open_sources
from sdk.errors import ModelError, NothingToCompress
from sdk.graph.on_host.sources.convert import convert
from sdk.graph.records import Graph
from sdk.graph.writer import write_graph
from sdk.tools.progress import Progress
from sdk.tools.system.quiet import quiet_tensorflow

if TYPE_CHECKING:
    from sdk.data.scoring.by_task import Metric
    from sdk.graph.dataset import Dataset


@dataclass(frozen=True)
class Work:
    """The model, how it is used, the board that it is for, and the images to learn from and to check on."""

    graph: Graph
    original: bytes
    usage: Usage
    board: Board | None
    learn: Dataset | None
    check: Dataset | None
    chosen: Chosen | None = None  # the preprocessing; None without data
    metric: Metric | None = None  # of the model's task on these images; None without data
    notes: tuple[str, ...] = ()
    twin: FloatTwin | None = None  # of a model that has weights in 8 bits
    seconds: specialise.Seconds | None = (
        None  # predicted, which decide the form of the package that is written
    )


def opened(source: PathLike, request: Compress, progress: Progress) -> Work:
    """Reads what the request names. Raises ModelError, DataError and BoardError."""
    progress("convert", 0, 0)
    told: list[str] = []
    graph, layout = with_channels_last(convert(source, note=told.append, **reading(request)))
    require_numbers(graph, str(source))
    if request.recipe is None:
        able(graph, request)  # before images are read
    original = write_graph(graph)
    board = None if request.board is None else load_board(request.board)
    data, check = request.data, request.check
    if graph.input_flips and data is not None:
        raise ModelError(
            f"{source} was mirrored for a board already",
            expected="the model that it was made from, which takes images as they are",
            found="one whose images must be flipped",
        )
    usage = usage_of(
        graph, preprocess=request.preprocess, labels=request.labels, task=request.task, fit=request.fit
    )
    work = Work(graph, original, usage, board, None, None, notes=(*told, *layout), twin=float_twin(graph))
    if data is None and check is None:
        return work
    if data is not None and request.effort != "none":
        with quiet_tensorflow():  # its first import talks
            import tensorflow  # noqa: F401
    progress("read the data", 0, 0)
    given = None if request.preprocess is None else Preprocess.parse(request.preprocess)
    found = open_sources(original, usage, data, check, given=given, truth=request.truth)
    return replace(
        work,
        usage=found.usage,
        learn=found.learn,
        check=found.check,
        chosen=found.chosen,
        metric=found.metric,
        notes=(*layout, *found.notes),
    )


def able(graph: Graph, request: Compress) -> Compress:
    """The request, or what is left of it where no layer can be compressed. Raises NothingToCompress unless allowed."""
    by_magnitude = request.effort == "none" or (request.effort == "auto" and request.data is None)
    found = worked_on(
        graph, by_magnitude=by_magnitude and not request.int8, measured=request.sparsity is None
    )
    if found.compressed:
        _refuse_for_stored(graph, request)
        return request
    if not request.allow_unchanged:
        raise NothingToCompress(
            f"0 of {found.layers} layers can be compressed",
            expected="weights of float32",
            found="; ".join(found.lines()) or "no weights at all",
            hint="`sdk pack` packs the model as it is; --allow-unchanged writes that here, too.",
        )
    return replace(
        request,
        effort="none",
        int8=False,
        target_bytes=None,
        max_loss=None,
        trials=None,
        storage=None,
        sparsity=None,
        clusters=None,
    )


def _refuse_for_stored(graph: Graph, request: Compress) -> None:
    """Raises ModelError for what is not done to a model whose weights are in 8 bits."""
    if not stored_weights(graph):
        return
    asked = {
        "--int8": request.int8,
        "--effort train": request.effort == "train",
        "--channels": request.channels > 0,
        "--target-macs": request.target_macs is not None,
        "--target-instructions": request.target_instructions is not None,
    }
    if found := [name for name, given in asked.items() if given]:
        raise ModelError(
            "this model's weights are in 8 bits already, and are made smaller on their own grid",
            expected="--data, --target-size or --max-loss, or nothing",
            found=found[0],
            hint="Compress the float model that it was made from.",
        )


def worked_on(
    graph: Graph, *, by_magnitude: bool, measured: bool, settled: frozenset[str] = frozenset()
) -> Reach:
    """The layers that are worked on: halves and 8-bit numbers are solved as floats, halves trained.

    ``settled``: names of layers that were put on grids because nothing solves them.
    """
    return reach(
        graph if by_magnitude else _floats(graph, float_twin(graph)),
        by_magnitude=by_magnitude,
        measured=measured,
        settled=settled,
    )


def as_floats(work: Work) -> Work:
    """The graph to solve and train, with float32 weights in place of halves or 8-bit numbers."""
    return replace(work, graph=_floats(work.graph, work.twin))


def _floats(graph: Graph, twin: FloatTwin | None) -> Graph:
    return without_halves(graph) if twin is None else twin.graph


def by_magnitude_alone(recipe: Recipe) -> bool:
    """Whether nothing was learned from data: what whole channels left is solved on images."""
    return recipe.effort == "none" and not recipe.int8 and not recipe.channels
