"""Compares every operator's output in the original and in the compressed model, on host and board."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from device_agent.package import reader as package_format
from device_agent.package.codec.format import MAGIC
from device_agent.record.preprocess import Preprocess
from device_agent.record.usage import Usage
from sdk.api.board_requests import Evaluate
from sdk.api.file_requests import Opening
from sdk.api.files.layout import with_channels_last
from sdk.api.files.opening import openings, reading
from sdk.api.files.usage import usage_of, usage_of_package
from sdk.api.values import PathLike
from sdk.data.for_model import DataFor, data_for
from sdk.data.scoring.likeness import Likeness
from sdk.deploy.session import Session, open_scratch_session
from sdk.errors import ModelError
from sdk.explain.layers import (
    LayerLosses,
    LayerNoise,
    Matched,
    added_noise,
    advise,
    advise_board,
    match_layers,
    weights_in_words,
    with_outputs,
)
from sdk.graph.dataset import Dataset
from sdk.graph.on_host.evaluate import as_it_enters, flips_of
from sdk.graph.on_host.host_model import HostModel
from sdk.graph.on_host.sources.convert import tflite_bytes
from sdk.graph.reader import read_graph
from sdk.graph.records import FLIP_AXES, Graph
from sdk.graph.writer import write_graph
from sdk.package import pack as packer
from sdk.tools.option import build
from sdk.tools.progress import Progress, silent
from sdk.tools.system.files import read_file

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from sdk.api.keywords import EvaluateOptions

#: Images where none are asked for: signal to noise is a mean over thousands of values of each.
SAMPLES = 32
#: Inner values of one image that are outputs at once, at most.
GROUP_BYTES = 24 << 20
#: What runs on the board for as long as it takes is called so.
_NAME = "layers"


@dataclass(frozen=True)
class _Model:
    """A model, the graph in it, and how it is used."""

    tflite: bytes
    graph: Graph
    usage: Usage


def compare_layers(
    before: PathLike,
    after: PathLike,
    data: PathLike,
    *,
    board: str | None = None,
    progress: Progress = silent,
    **options: Unpack[EvaluateOptions],
) -> LayerLosses:
    """Signal-to-noise ratio in decibel of each operator's output in ``after`` against that in ``before``, on the host.

    With ``board`` the board's outputs are compared with the host's as well. Operators are matched by the names of their
    outputs, else by kind and shape; those that only one model has are named. ``options``: see
    :class:`sdk.api.board_requests.Evaluate`; 32 images are taken where no ``limit`` is given. Raises TypeError for
    others, ModelError where no operators match.
    """
    request = build(Evaluate, {"data": data, **options}, function="compare_layers")
    return lose_by_layer((before, after), request, board, progress)


def lose_by_layer(
    models: tuple[PathLike, PathLike],
    request: Evaluate,
    board: str | None = None,
    progress: Progress = silent,
) -> LayerLosses:
    """As :func:`compare_layers` of two models, with the options as a record that names data."""
    assert request.data is not None
    original, compressed = models
    first, second = map(_opened, models, openings(models, request), [request] * 2)
    matched, unmatched = match_layers(first.graph, second.graph)
    if not matched:
        raise ModelError(
            "the two models have no operator in common",
            expected="a model, and one that was made from it",
            found=f"{Path(original).name} and {Path(compressed).name}",
        )
    progress("read the data", 0, 0)
    found = _data(first, second, request)
    with ExitStack() as stack:
        session = (
            None if board is None else stack.enter_context(open_scratch_session(board, request, progress))
        )
        noise, board_noise = _measured(first, second, matched, found.dataset, session, progress)
    layers = _layers(second.graph, matched, noise, board_noise)
    return LayerLosses(
        original=Path(original).name,
        compressed=Path(compressed).name,
        data=found.dataset.name,
        samples=len(found.dataset),
        layers=layers,
        unmatched=unmatched,
        advice=advise(first.graph, second.graph, matched, layers),
        board="" if session is None else session.board.name,
        runtime=""
        if session is None
        else f"{session.provisioned.runtime} {session.provisioned.runtime_version}",
        board_advice=advise_board(layers),
        notes=found.notes,
    )


def _opened(source: PathLike, opening: Opening, request: Evaluate) -> _Model:
    path = Path(source)
    content = read_file(path, "a package or a model") if path.is_file() else b""
    if content.startswith(MAGIC):
        decoded = package_format.unpack(content)
        usage = usage_of_package(decoded, labels=request.labels, task=request.task, fit=request.fit)
        return _Model(decoded.tflite, read_graph(decoded.tflite), usage)
    # As it is before it is compressed.
    graph, _ = with_channels_last(read_graph(tflite_bytes(path, **reading(opening))))
    return _Model(
        write_graph(graph), graph, usage_of(graph, labels=request.labels, task=request.task, fit=request.fit)
    )


def _data(first: _Model, second: _Model, request: Evaluate) -> DataFor:
    """The images as the original takes them; where it does not say how, as the compressed one says."""
    assert request.data is not None
    usage = replace(
        first.usage,
        flip=(),
        preprocess=first.usage.preprocess or second.usage.preprocess,
        labels=first.usage.labels or second.usage.labels,
        fit=first.usage.fit or second.usage.fit,
    )
    given = None if request.preprocess is None else Preprocess.parse(request.preprocess)
    with data_for(first.tflite, usage, given=given, truth=request.truth) as opener:
        return opener.open(request.data, split=request.split, limit=request.limit or SAMPLES)


def _measured(
    first: _Model,
    second: _Model,
    matched: Sequence[Matched],
    dataset: Dataset,
    session: Session | None,
    progress: Progress,
) -> tuple[dict[int, float], dict[int, float]]:
    """Signal to noise in dB by tensor of the compressed graph: against the original, and board against host."""
    noise: dict[int, float] = {}
    board_noise: dict[int, float] = {}
    groups = list(_groups(second.graph, matched))
    for number, group in enumerate(groups):
        one = _Values(first, [pair.original for pair in group])
        two = _Values(second, [pair.tensor for pair in group])
        with one, two, two.on_board(session, progress):
            alike = [_Turned(second.graph, pair) for pair in group]
            boards = [Likeness(str(pair.tensor)) for pair in group]
            for done in range(len(dataset)):
                progress("compare layers", number * len(dataset) + done, len(groups) * len(dataset))
                image = dataset.images([done])
                right, found = one.values(image), two.values(image)
                for place, (a, b) in enumerate(zip(right, found, strict=True)):
                    alike[place].add(a, b)
                if session is not None:
                    for likeness, here, there in zip(boards, found, two.values_there(image), strict=True):
                        likeness.add(here, there)
        for pair, against_original, against_host in zip(group, alike, boards, strict=True):
            noise[pair.tensor] = against_original.decibel()
            if session is not None:
                board_noise[pair.tensor] = against_host.told().decibel
    return noise, board_noise


def _groups(graph: Graph, matched: Sequence[Matched]) -> Iterator[list[Matched]]:
    """The pairs in groups whose values together are not too many for one answer of a board."""
    group: list[Matched] = []
    size = 0
    for pair in matched:
        own = 4 * graph.tensors[pair.tensor].elements
        if group and size + own > GROUP_BYTES:
            yield group
            group, size = [], 0
        group.append(pair)
        size += own
    if group:
        yield group


class _Turned:
    """Likeness of a value that may lie the other way round: a mirrored model turns its images, and all that follows."""

    def __init__(self, graph: Graph, pair: Matched) -> None:
        axes = tuple(FLIP_AXES[name] for name in graph.input_flips)
        self._axes = axes if len(graph.tensors[pair.tensor].shape) == 4 else ()
        self._ways = [Likeness("as it is"), Likeness("turned round")]

    def add(self, one: np.ndarray, other: np.ndarray) -> None:
        self._ways[0].add(one, other)
        if self._axes:
            self._ways[1].add(one, np.flip(other, self._axes))

    def decibel(self) -> float:
        ways = self._ways if self._axes else self._ways[:1]
        return max(way.told().decibel for way in ways)


class _Values:
    """The inner values of one model for an image: on the host, and on a board where it was put there."""

    def __init__(self, model: _Model, tensors: Sequence[int]) -> None:
        self._tflite = write_graph(with_outputs(model.graph, tensors))
        self._flips = flips_of(model.tflite)
        self._session: Session | None = None
        self._host: HostModel | None = None

    def __enter__(self) -> _Values:
        self._host = HostModel(self._tflite)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._host is not None
        self._host.close()

    @contextmanager
    def on_board(self, session: Session | None, progress: Progress) -> Iterator[None]:
        """Runs there as well, for as long as it takes."""
        if session is None:
            yield
            return
        package = packer.pack(self._tflite, metadata={"name": _NAME})
        session.agent.deploy(package, _NAME, progress=progress)
        self._session = session
        try:
            yield
        finally:
            session.agent.forget([_NAME])

    def values(self, image: np.ndarray) -> list[np.ndarray]:
        """Every value of one image (1, height, width, channels), in its own shape, as real numbers."""
        assert self._host is not None
        found = self._host.run_real(as_it_enters(image[0], self._host.inputs[0].shape, self._flips))
        return [found[info.name] for info in self._host.outputs]

    def values_there(self, image: np.ndarray) -> list[np.ndarray]:
        """The same on the board."""
        assert self._session is not None
        assert self._host is not None
        entered = as_it_enters(image[0], self._host.inputs[0].shape, self._flips)
        case = np.ascontiguousarray(entered)[None]
        stored, _ = self._session.agent.run_cases(_NAME, [case], kernel=self._session.kernel)
        return [info.to_real(one[0]) for info, one in zip(self._host.outputs, stored, strict=True)]


def _layers(
    graph: Graph, matched: Sequence[Matched], noise: dict[int, float], board_noise: dict[int, float]
) -> tuple[LayerNoise, ...]:
    added, there = added_noise(graph, noise), added_noise(graph, board_noise)
    return tuple(
        LayerNoise(
            number=pair.operator,
            kind=graph.operators[pair.operator].custom_code or graph.operators[pair.operator].kind,
            name=graph.tensors[pair.tensor].name,
            shape=graph.tensors[pair.tensor].shape,
            decibel=noise[pair.tensor],
            added=added[pair.tensor],
            weights=weights_in_words(graph, pair.operator),
            board_decibel=board_noise.get(pair.tensor),
            board_added=there.get(pair.tensor, 0.0),
        )
        for pair in matched
    )
