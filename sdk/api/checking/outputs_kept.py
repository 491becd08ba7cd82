"""The effect of changed weights on a model's outputs, on made-up inputs, measured in the host's runtime."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType

import numpy as np

from device_agent.record.preprocess import Preprocess
from device_agent.record.visible import visible
from device_agent.tensors.agreement import decibel
from sdk.api.results import OutputsKept
from sdk.compress.weights.selection import float_weights, stored_weights
from sdk.errors import ModelError, RuntimeFailed
from sdk.graph.before_choice import before_choice
from sdk.graph.made_up.inputs import made_up, normalises_inside, quiet_case
from sdk.graph.made_up.vocabularies import vocabularies
from sdk.graph.on_host.host_model import HostModel
from sdk.graph.own_task import ranking
from sdk.graph.records import Graph
from sdk.graph.writer import write_graph

CASES = 16  # that tell how coarse each layer may become
OTHERS = 64  # that confirm it, and as many again that tell what became of the outputs
#: Seconds that the cases for one purpose may take; where they take longer, there are fewer.
CASES_SECONDS = 2.0
#: Seconds in which single layers are tried.
PROBE_SECONDS = 60.0
LEAST_PROBES, MOST_PROBES = 6, 400
#: Seconds after which no more is tried than is needed.
LATE_SECONDS = 120.0
THREADS = 2
QUICK_CASES = 4
#: A case counts as no quieter than this share of the mean case, so that silence is not compared with a model.
QUIET = 0.2
#: Two scores are equal that differ by no more than this share of the larger: 8-bit scores often are.
TIE = 0.01
#: A single case may be this many times as noisy as the mean is allowed to be.
WORST = 3.0
#: An output that varies less than this between cases, as a share of its energy, tells little: 20 dB of noise hide it.
LEAST_VARIED = 0.01


@dataclass(frozen=True)
class _Asked:
    """Made-up inputs, one list of arrays per case, and the original's answers to them."""

    cases: list[list[np.ndarray]]
    answers: list[list[np.ndarray]]


class OutputsOf:
    """The original's outputs on made-up inputs, for graphs of the same inputs to be compared with. A context manager.

    Inputs that nothing was chosen on confirm a choice, and others again tell what became of the outputs. The host's
    runtime is started when it is first asked. Where it cannot run the model, ``why_not`` says so.
    """

    def __init__(self, graph: Graph, preprocess: Preprocess | None) -> None:
        self._graph, self._preprocess = graph, preprocess
        self._host: HostModel | None = None
        self._seconds = 0.0
        self._began = time.monotonic()
        self._chosen_on = _Asked([], [])
        self._more: dict[int, _Asked] = {}
        self._ranks: tuple[bool, ...] = ()  # which outputs are scores of classes
        self._last: tuple[Graph, list[list[np.ndarray]]] | None = None
        self._still: list[str] = []  # outputs that hardly vary
        self._original = b""
        self._places: dict[int, int] = {}
        self.why_not = ""

    def __enter__(self) -> OutputsOf:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._host is not None:
            self._host.close()

    def answers(self) -> bool:
        """Whether the host can run the model."""
        if self._host is None and not self.why_not:
            try:
                self._open()
                if not _any_number(self._chosen_on.answers):
                    self.why_not = "the original's outputs are not numbers on made-up inputs"
            except ModelError as error:
                self.why_not = "; ".join(filter(None, [error.what, error.found]))
        return not self.why_not

    def _open(self) -> None:
        before = before_choice(self._graph)
        self._original = write_graph(before)
        self._ranks = ranking(before)
        self._places = _places(self._graph, self._original)
        self._host = HostModel(self._original, threads=THREADS)
        self._chosen_on = self._asked(0, CASES)
        self._began = time.monotonic()
        started = time.monotonic()
        self._run(self._graph, self._chosen_on.cases[:QUICK_CASES])
        self._seconds = time.monotonic() - started

    @property
    def notes(self) -> tuple[str, ...]:
        """That the host cannot tell, where it cannot, or which outputs tell little."""
        if self.why_not:
            return (f"the change of the outputs was not measured: {self.why_not}",)
        if not self._still:
            return ()
        return (
            f"made-up inputs hardly change {_listed(self._still)}, so the decibels tell little: give data (--data)",
        )

    @property
    def probes(self) -> int:
        """How many graphs may be tried before all layers are tried together."""
        return int(np.clip(PROBE_SECONDS / max(self._seconds, 1e-3), LEAST_PROBES, MOST_PROBES))

    @property
    def late(self) -> bool:
        """Whether the time for trials is used up."""
        return time.monotonic() - self._began > LATE_SECONDS

    def noise(self, graph: Graph) -> float:
        """The noise in the outputs as a share of their energy: the noisiest's mean, or a third of its worst case."""
        return self._noise(graph, self._chosen_on)

    def quick(self, graph: Graph) -> float:
        """As :meth:`noise`, on a few cases of several kinds."""
        few = self._chosen_on
        return self._noise(graph, _Asked(few.cases[:QUICK_CASES], few.answers[:QUICK_CASES]))

    def unseen(self, graph: Graph) -> float:
        """As :meth:`noise`, on other cases: the noisiest output's mean alone."""
        return self._noise(graph, self._others(CASES), worst=np.inf)

    def other_answers(self, graph: Graph) -> float:
        """The share of those other cases to which an output that ranks classes gives another answer, 0 to 1."""
        on = self._others(CASES)
        try:
            same = self._same(on.answers, self._answers(graph, on))
        except ModelError:
            return 1.0
        return 0.0 if same is None else 1.0 - same

    def _noise(self, graph: Graph, on: _Asked, worst: float = WORST) -> float:
        try:
            shares = _shares(on.answers, self._answers(graph, on))
        except ModelError:
            return float("inf")
        return float(max(np.max(shares.mean(axis=0)), np.max(shares) / worst)) if shares.size else 0.0

    def kept(self, graph: Graph) -> OutputsKept | None:
        """How well a graph keeps the outputs; None where the host cannot run it."""
        if not self.answers():
            return None
        try:
            asked = self._others(CASES + OTHERS)
            answers = self._run(graph, asked.cases)
        except ModelError as error:
            self.why_not = error.what
            return None
        self._still = [
            visible(info.name, most=60)
            for info, *cases in zip(self._host.outputs if self._host else (), *asked.answers, strict=False)
            if _varied(cases) < LEAST_VARIED
        ]
        shares = _shares(asked.answers, answers)
        cosines = [
            _cosine(before[n], after[n])
            for before, after in zip(asked.answers, answers, strict=True)
            for n in range(len(before))
        ]
        return OutputsKept(
            cases=len(answers),
            decibel=decibel(1.0, float(np.max(shares.mean(axis=0)))) if shares.size else decibel(1.0, 0.0),
            cosine=min(cosines, default=1.0),
            same_answer=self._same(asked.answers, answers),
        )

    def _same(self, before: list[list[np.ndarray]], after: list[list[np.ndarray]]) -> float | None:
        """The share of cases and outputs that rank classes in which the largest stays it.

        None without such outputs, and where the original's scores are not numbers: they name no class.
        """
        tops = [
            one.size == other.size and _tied(one.ravel(), int(np.argmax(other)))
            for case, answers in zip(before, after, strict=True)
            for ranks, one, other in zip(self._ranks, case, answers, strict=False)
            if ranks and np.isfinite(one).all()
        ]
        return float(np.mean(tops)) if tops else None

    def _answers(self, graph: Graph, on: _Asked) -> list[list[np.ndarray]]:
        """A graph's answers; those to the cases that confirm are kept, because two questions are asked about them."""
        if on is not self._more.get(CASES):
            return self._run(graph, on.cases)
        if self._last is None or self._last[0] is not graph:
            self._last = graph, self._run(graph, on.cases)
        return self._last[1]

    def _others(self, first: int) -> _Asked:
        """Cases from number ``first`` on, answered by the original once."""
        if first not in self._more:
            assert self._host is not None
            self._host.replace(self._original)
            self._more[first] = self._asked(first, OTHERS)
        return self._more[first]

    def _asked(self, first: int, count: int) -> _Asked:
        """As many cases as there is time for, with the original's answers; the quiet one where it takes no other."""
        assert self._host is not None
        cases = made_up(
            self._host.inputs,
            vocabularies(self._graph),
            count,
            preprocess=self._preprocess,
            takes_pixels=normalises_inside(self._graph),
            first=first,
            like_photographs=True,
        )
        answers: list[list[np.ndarray]] = []
        started = time.monotonic()
        try:
            for case in cases:
                answers.append(self._answer(case))
                if len(answers) > 1 and time.monotonic() - started > CASES_SECONDS:
                    break
        except RuntimeFailed:
            raise  # nobody is left to ask
        except ModelError:
            if not answers:
                cases = [quiet_case(self._host.inputs)]
                answers = [self._answer(cases[0])]
        return _Asked(cases[: len(answers)], answers)

    def _answer(self, case: Sequence[np.ndarray]) -> list[np.ndarray]:
        assert self._host is not None
        stateful = any(tensor.is_variable for tensor in self._graph.tensors)
        return [np.asarray(a, np.float64) for a in self._host.run_real(case, reset=stateful).values()]

    def _run(self, graph: Graph, cases: Sequence[Sequence[np.ndarray]]) -> list[list[np.ndarray]]:
        assert self._host is not None
        self._host.replace(self._bytes(graph))
        return [self._answer(case) for case in cases]

    def _bytes(self, graph: Graph) -> bytes:
        """The file of a graph; where only weights differ from the original's, its file with theirs put in."""
        changed = {
            number: tensor.data
            for number, (tensor, before) in enumerate(zip(graph.tensors, self._graph.tensors, strict=False))
            if tensor.data is not before.data
        }
        if graph.operators is not self._graph.operators or not changed.keys() <= self._places.keys():
            return write_graph(before_choice(graph))
        patched = bytearray(self._original)
        for number, data in changed.items():
            assert data is not None
            patched[self._places[number] : self._places[number] + data.nbytes] = data.tobytes()
        return bytes(patched)


def _shares(before: list[list[np.ndarray]], answers: list[list[np.ndarray]]) -> np.ndarray:
    """Noise over signal of every case and output, (cases, outputs) float64; 1 and more where nothing is left."""
    if not before or not before[0]:
        return np.zeros((0, 0))
    signal = np.array([[_energy(a) for a in case] for case in before])
    noise = np.array(
        [
            [_noise(a, b) for a, b in zip(one, other, strict=True)]
            for one, other in zip(before, answers, strict=True)
        ]
    )
    floor = np.maximum(signal, QUIET * signal.mean(axis=0))
    return np.where(noise > 0, noise / np.maximum(floor, 1e-30), 0.0)


def _any_number(answers: Sequence[Sequence[np.ndarray]]) -> bool:
    """Whether an output is empty or has a number: without one, nothing can be told from it."""
    outputs = [output for case in answers for output in case]
    return not outputs or any(not output.size or np.isfinite(output).any() for output in outputs)


def _tied(scores: np.ndarray, answer: int) -> bool:
    """Whether an answer has the largest score, or one that is equal to it but for a hundredth."""
    best = float(scores.max())
    return bool(best - scores[answer] <= TIE * abs(best))


def _places(graph: Graph, tflite: bytes) -> dict[int, int]:
    """Where float and 8-bit weights stand in the file of a graph, by tensor number; those found once, and no others."""
    places = {}
    for weight in (*float_weights(graph), *stored_weights(graph)):
        content = weight.array.tobytes()
        place = tflite.find(content)
        if place >= 0 and tflite.find(content, place + 1) < 0:
            places[weight.tensor_index] = place
    return places


def _varied(cases: Sequence[np.ndarray]) -> float:
    """How much one output varies between cases, as a share of its energy; 1 where that cannot be told."""
    if len(cases) < 2 or len({case.shape for case in cases}) > 1:
        return 1.0
    values = np.nan_to_num(np.stack(cases))
    energy = float(np.square(values).sum())
    return float(np.square(values - values.mean(axis=0)).sum()) / energy if energy > 0 else 0.0


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3])
    what = "the output" if len(names) == 1 else "the outputs"
    return f"{what} {shown}" + (f" and {len(names) - 3} others" if len(names) > 3 else "")


def _energy(array: np.ndarray) -> float:
    return float(np.square(array[np.isfinite(array)]).sum())


def _noise(one: np.ndarray, other: np.ndarray) -> float:
    """Squared distance where the first is a number; all of its energy where the second has another shape or is none."""
    if one.shape != other.shape:
        return max(_energy(one), 1.0)
    sound = np.isfinite(one)
    apart = one[sound] - other[sound]
    return float(np.square(apart).sum()) if np.isfinite(apart).all() else 10 * max(_energy(one), 1.0)


def _cosine(one: np.ndarray, other: np.ndarray) -> float:
    if one.shape != other.shape:
        return 0.0
    first, second = (np.nan_to_num(array).ravel() for array in (one, other))
    sizes = float(np.linalg.norm(first)), float(np.linalg.norm(second))
    if sizes == (0.0, 0.0):
        return 1.0
    return float(np.dot(first, second) / (sizes[0] * sizes[1])) if min(sizes) > 0.0 else 0.0
