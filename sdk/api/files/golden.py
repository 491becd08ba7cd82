"""Golden pairs: inputs and the host's own answers to them, which a board has to come close to before it runs a model.

The limit follows from the model: the host's runtime answers with and without XNNPACK, on one thread and on two, and a
board may differ by as much as these answers differ from each other. A wrong model is further away.

Answers are kept in the cache: decoding a package and running it takes longer than asking a board whether it runs that
package already.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import platform
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import numpy as np

from device_agent.package import reader as package_format
from device_agent.package.codec.format import MAGIC
from device_agent.record import release as on_board
from device_agent.record.preprocess import Preprocess
from device_agent.record.release import OutputLimit
from device_agent.record.schema import write
from device_agent.record.usage import Usage
from device_agent.tensors import golden as comparison
from device_agent.tensors.tensor import TensorInfo
from sdk.errors import ModelError, RuntimeFailed
from sdk.explain import theory
from sdk.graph.made_up.inputs import made_up, normalises_inside, quiet_case
from sdk.graph.made_up.vocabularies import vocabularies
from sdk.graph.on_host.host_model import HostModel
from sdk.graph.reader import read_subgraphs
from sdk.graph.records import Graph
from sdk.package.release import Golden
from sdk.tools.system import folders
from sdk.tools.system.files import FileError, write_file

#: A board may be this many times as far from the host as the host on two threads is from the host on one.
FACTOR = 4.0
#: The same of the host's runtime without XNNPACK. Where that differs by more than rounding it is a right answer, too.
BETWEEN = 0.5
#: Where the host's runtime agrees with itself, a board's float arithmetic may still differ by these shares of how far
#: the output's values spread: the largest difference, and the root mean square.
FLOAT_LARGEST, FLOAT_RMS = 2e-4, 2e-5
#: The same for a model of integers, in steps of its output: boards round to the other side now and then.
STEPS_LARGEST, STEPS_RMS = 2.5, 0.6
#: The share of class numbers that may differ where the host agrees with itself.
CLASSES_SHARE = 0.005
BOXES_SHARE = 0.1

#: Cases that are made up, and how many of them are kept: fewer where an inference takes longer, by millions of MACs.
CANDIDATES = 16
KEPT = ((20, 8), (200, 4))
KEPT_LARGE = 2
MACS_PER_VALUE = 50
#: Arrays of all cases together.
MAX_BYTES = 24 << 20
#: Changes whenever :func:`golden_pair` would make another pair of the same model.
PAIR_VERSION = 2
#: Pairs that the cache holds; the oldest go first.
MAX_REMEMBERED = 64

Case = list[np.ndarray]


def remembered_golden(model: bytes) -> Golden:
    """As :func:`golden_pair`, from the cache where the same host made it before with the same runtime."""
    folder = folders.cache_folder("golden")
    runtime = ""
    with contextlib.suppress(metadata.PackageNotFoundError):
        runtime = metadata.version("ai-edge-litert")
    made_with = repr((PAIR_VERSION, runtime, np.__version__, platform.machine())).encode()
    path = folder / f"{hashlib.sha256(made_with + hashlib.sha256(model).digest()).hexdigest()}.npz"
    # Whatever a damaged file makes zip, zlib and numpy say, the pair is made again.
    with contextlib.suppress(Exception), np.load(path, allow_pickle=False) as kept:
        said = json.loads(str(kept["limits"]))
        return Golden(
            tuple(kept[f"input{i}"] for i in range(int(kept["inputs"]))),
            tuple(kept[f"output{i}"] for i in range(len(said))),
            tuple(OutputLimit(**one) for one in said),
            tuple(
                tuple(kept[f"other{number}_{i}"] for i in range(len(said)))
                for number in range(int(kept["others"]))
            ),
        )
    golden = golden_pair(model)
    buffer = io.BytesIO()
    arrays = {f"input{i}": array for i, array in enumerate(golden.inputs)}
    arrays.update({f"output{i}": array for i, array in enumerate(golden.outputs)})
    for number, other in enumerate(golden.alternatives):
        arrays.update({f"other{number}_{i}": array for i, array in enumerate(other)})
    counts = {"inputs": len(golden.inputs), "others": len(golden.alternatives)}
    told = json.dumps([write(limit) for limit in golden.limits])
    np.savez_compressed(buffer, limits=told, **counts, **arrays)  # type: ignore[arg-type]
    # A full disk or a read-only cache only costs time the next time.
    with contextlib.suppress(OSError, FileError):
        folder.mkdir(parents=True, exist_ok=True)
        write_file(path, buffer.getvalue())
        _forget_the_oldest(folder)
    return golden


def _forget_the_oldest(folder: Path) -> None:
    kept = sorted(folder.glob("*.npz"), key=lambda path: path.stat().st_mtime)
    for path in kept[:-MAX_REMEMBERED]:
        path.unlink(missing_ok=True)


def golden_pair(model: bytes, *, inputs: np.ndarray | None = None) -> Golden:
    """Inputs that fit a model, the host's answers, and the limits for the difference of a board's answers.

    ``model`` is a package or a ``.tflite``. ``inputs``: pictures (n, height, width, channels), for its only input, as
    the model takes them; they replace the made-up ones. Raises ModelError where the host cannot run the model.
    """
    tflite, usage = model, Usage()
    if model.startswith(MAGIC):
        decoded = package_format.unpack(model)
        tflite, usage = decoded.tflite, Usage.from_metadata(decoded.package.metadata)
    graph = _first_subgraph(tflite)
    with HostModel(tflite) as host:
        infos, outputs = host.inputs, host.outputs
        if inputs is not None:
            cases = [[np.asarray(one)[None]] for one in inputs]
            chosen = [[info.to_stored(a) for info, a in zip(infos, case, strict=True)] for case in cases]
        else:
            chosen = _chosen_cases(host, tflite, graph, usage.preprocess)
    answers = _answers(tflite, chosen)
    kinds = _kinds(outputs, graph)
    others = _other_answers(outputs, kinds, answers, graph)
    return Golden(
        tuple(np.stack([case[i] for case in chosen]) for i in range(len(infos))),
        _stacked(answers[0]),
        tuple(_limit(position, kinds, outputs, answers, graph) for position in range(len(outputs))),
        tuple(_stacked(other) for other in others),
    )


def _stacked(answer: Sequence[Case]) -> tuple[np.ndarray, ...]:
    return tuple(np.stack([case[i] for case in answer]) for i in range(len(answer[0])))


def _first_subgraph(tflite: bytes) -> Graph:
    """What runs, to be looked at; an empty graph where the file's structure cannot be read."""
    try:
        return read_subgraphs(tflite)[0]
    except ModelError:
        return Graph((), (), (), ())


# -- cases ----------------------------------------------------------------------------------------------------------


def _chosen_cases(host: HostModel, tflite: bytes, graph: Graph, preprocess: Preprocess | None) -> list[Case]:
    """The most telling of the cases that are made up; the most harmless one where the runtime takes no other."""
    for info in (*host.inputs, *host.outputs):
        if info.dtype.kind not in "fiub":
            raise ModelError(
                f"the model has an input or output that holds no numbers: {info.name!r}",
                expected="numbers",
                found=str(info.dtype) if info.dtype.kind != "O" else "text",
            )
    candidates = made_up(
        host.inputs,
        vocabularies(graph),
        CANDIDATES,
        preprocess=preprocess,
        takes_pixels=normalises_inside(graph),
    )
    wanted = _wanted(host, graph)
    try:
        outputs = [list(host.run_real(case, reset=True).values()) for case in candidates]
    except RuntimeFailed:  # the board's would, too
        raise
    except ModelError:  # these values are not for this model
        harmless = [quiet_case(host.inputs)]
        _run(tflite, harmless)
        return harmless
    same = [i for i, case in enumerate(outputs) if [a.shape for a in case] == [a.shape for a in outputs[0]]]
    numbers = [_flat(outputs[i]) for i in same]
    return [candidates[same[i]] for i in _most_telling(np.stack(numbers), wanted)]


def _wanted(host: HostModel, graph: Graph) -> int:
    """How many cases are kept."""
    try:
        macs = theory.totals(theory.operator_costs(graph)).macs
    except ModelError:
        macs = 0
    # Shapes inside may be open, and then say nothing; a value that goes in or comes out takes some work.
    values = sum(int(np.prod(info.shape)) for info in (*host.inputs, *host.outputs))
    work = max(macs, MACS_PER_VALUE * values)
    kept = next((kept for most, kept in KEPT if work <= most * 1_000_000), KEPT_LARGE)
    size = sum(int(np.prod(i.shape)) * i.dtype.itemsize for i in (*host.inputs, *host.outputs))
    return max(1, min(kept, MAX_BYTES // max(1, size)))


def _flat(outputs: Sequence[np.ndarray]) -> np.ndarray:
    """All outputs of a case as one row of numbers, each output of the same weight."""
    parts = []
    for array in outputs:
        values = np.nan_to_num(np.asarray(array, np.float64).ravel(), posinf=0.0, neginf=0.0)
        parts.append(values / np.sqrt(max(1, values.size)))
    return np.concatenate(parts) if parts else np.zeros(0)


def _most_telling(rows: np.ndarray, wanted: int) -> list[int]:
    """The numbers of rows (cases, values) to keep: the one whose values are least alike, then what is far from those.

    An answer in which one class takes everything hides faults inside the model.
    """
    scale = np.abs(rows).max(axis=1) + 1e-30
    middle = np.median(rows, axis=1, keepdims=True)
    variety = (
        np.mean(np.abs(rows - middle) / scale[:, None] > 1e-3, axis=1)
        if rows.shape[1]
        else np.zeros(len(rows))
    )
    chosen = [int(np.argmax(variety))]
    while len(chosen) < min(wanted, len(rows)):
        apart = np.min([np.linalg.norm(rows - rows[one], axis=1) for one in chosen], axis=0)
        apart = apart * (0.1 + variety)
        apart[chosen] = -1.0
        chosen.append(int(np.argmax(apart)))
    return chosen


# -- answers and limits ---------------------------------------------------------------------------------------------


def _run(tflite: bytes, cases: Sequence[Case], *, threads: int = 1, delegates: bool = True) -> list[Case]:
    """The outputs of all cases, one after the other in a model that is loaded for them."""
    with HostModel(tflite, threads=threads, delegates=delegates) as host:
        return [list(host.run(case).values()) for case in cases]


def _answers(tflite: bytes, cases: Sequence[Case]) -> list[list[Case]]:
    """What the host's runtime answers in each of its ways; the first is what boards are compared with."""
    answers = [_run(tflite, cases), _run(tflite, cases, threads=2)]
    with contextlib.suppress(ModelError):  # a model may need XNNPACK
        answers.append(_run(tflite, cases, delegates=False))
    return answers


def _kinds(outputs: Sequence[TensorInfo], graph: Graph) -> list[str]:
    """What each output holds."""
    producers = graph.producers()
    last = [graph.operators[producers[n]] for n in graph.outputs if n in producers]
    if (
        len(outputs) == 4
        and len(last) == 4
        and all(op is last[0] for op in last)
        and last[0].custom_code == "TFLite_Detection_PostProcess"
        and tuple(last[0].outputs[:4]) == tuple(graph.outputs)
    ):
        return list(on_board.DETECTIONS)
    return [
        on_board.CLASSES if info.dtype.kind in "iub" and not info.is_quantized else on_board.VALUES
        for info in outputs
    ]


def _limit(
    position: int,
    kinds: Sequence[str],
    outputs: Sequence[TensorInfo],
    answers: Sequence[list[Case]],
    graph: Graph,
) -> OutputLimit:
    """How far a board's output may be from the nearest answer of the host."""
    kind, info = kinds[position], outputs[position]
    if kind in (on_board.BOX_CLASSES, on_board.BOX_COUNT):
        return OutputLimit(kind, 0.0)
    if kind == on_board.BOXES:
        return OutputLimit(kind, _boxes_share(kinds, outputs, answers, graph))
    rounding = _rounding(position, kind, info, answers[0], graph)
    apart = [_apart(info, position, kind, answers[0], other) for other in answers[1:]]
    if not all(np.isfinite(one).all() for one in apart):
        raise ModelError(
            f"the host's runtime does not agree with itself about the output {info.name!r}",
            expected="NaN and infinity in the same places with and without XNNPACK",
            found="other places",
        )
    # A runtime that takes XNNPACK for some operators and its own kernels for others answers something between.
    shares = (FACTOR, BETWEEN)
    largest, rms = (
        max(rounding[side], *(share * one[side] for share, one in zip(shares, apart, strict=False)))
        for side in (0, 1)
    )
    return OutputLimit(kind, min(1.0, largest) if kind == on_board.CLASSES else largest, rms)


def _apart(
    info: TensorInfo, position: int, kind: str, one: Sequence[Case], other: Sequence[Case]
) -> tuple[float, float]:
    """Largest difference and root mean square of one output between two answers."""
    return comparison.of_pairs(
        info, [(a[position], b[position]) for a, b in zip(one, other, strict=True)], kind
    )


def _rounding(
    position: int, kind: str, info: TensorInfo, answer: Sequence[Case], graph: Graph
) -> tuple[float, float]:
    """What a board may differ by where the host agrees with itself: largest difference, root mean square."""
    if kind == on_board.CLASSES:
        return CLASSES_SHARE, 0.0
    spread, step = _spread(info, [case[position] for case in answer]), _steps(graph, position)
    return max(FLOAT_LARGEST * spread, STEPS_LARGEST * step), max(FLOAT_RMS * spread, STEPS_RMS * step)


def _other_answers(
    outputs: Sequence[TensorInfo], kinds: Sequence[str], answers: Sequence[list[Case]], graph: Graph
) -> list[list[Case]]:
    """The answers that differ from the first by more than rounding: those of the runtime's own kernels."""
    others = []
    for other in answers[2:]:
        for position, (kind, info) in enumerate(zip(kinds, outputs, strict=True)):
            if kind in on_board.DETECTIONS:
                continue
            most = _rounding(position, kind, info, answers[0], graph)
            if any(a > b for a, b in zip(_apart(info, position, kind, answers[0], other), most, strict=True)):
                others.append(other)
                break
    return others


def _boxes_share(
    kinds: Sequence[str], outputs: Sequence[TensorInfo], answers: Sequence[list[Case]], graph: Graph
) -> float:
    scores = kinds.index(on_board.BOX_SCORES)
    limits = [
        _limit(scores, kinds, outputs, answers, graph)
        if kind == on_board.BOX_SCORES
        else OutputLimit(kind, 0.0)
        for kind in kinds
    ]
    shares = [
        next(
            d.largest
            for d in comparison.differences(outputs, answers[0], other, limits)
            if d.limit.kind == on_board.BOXES
        )
        for other in answers[1:]
    ]
    return min(1.0, max(2 * max(shares), BOXES_SHARE))


def _spread(info: TensorInfo, arrays: Sequence[np.ndarray]) -> float:
    """How far the real values of an output spread: their largest size, and their range where it is larger."""
    values = np.concatenate([np.ravel(info.to_real(array)) for array in arrays]).astype(np.float64)
    values = values[np.isfinite(values)]
    return float(max(np.abs(values).max(), np.ptp(values))) if values.size else 0.0


def _steps(graph: Graph, position: int) -> float:
    """What one step of an output is worth where it is quantised, or comes from a DEQUANTIZE; else 0."""
    if position >= len(graph.outputs):
        return 0.0
    number = graph.outputs[position]
    producer = graph.producers().get(number)
    last = graph.tensors[number]
    if producer is not None and graph.operators[producer].kind == "DEQUANTIZE":
        last = graph.tensors[graph.operators[producer].inputs[0]]
    if last.dtype.startswith("FLOAT") or last.quantization is None or not last.quantization.scales.size:
        return 0.0
    return float(last.quantization.scales.max())
