"""A network without some of its channels learns from the original, layer by layer.

Composes like :mod:`sdk.compress.recipes.recipe`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from sdk.compress.solve.calibrate import SolvedLayer, solved_layers, with_biases
from sdk.compress.solve.whitening import Whitening, whitenings
from sdk.compress.solve.whole_channels.narrowing import Narrowed, mixed
from sdk.compress.train.distilling import Distillation, Hint, WhitenedLayer, distil, well_seen
from sdk.compress.train.moving import moves_borne
from sdk.compress.train.student import Course, State, not_of_this
from sdk.errors import DataError
from sdk.graph.in_tensorflow.executor import Executor
from sdk.graph.reader import read_graph
from sdk.graph.records import Graph
from sdk.graph.writer import write_graph

if TYPE_CHECKING:
    from sdk.graph.dataset import Dataset

# The first layers hold no more of all weights, and stay as solved: their maps are large, and take half of the time.
FIRST_WEIGHTS = 0.01
TIMED_STEPS = 3  # to know how many epochs there is time for
SHARE_OF_TIME = 0.5  # that is left, for them


class TimeForDistilling:
    """How many ``epochs`` half of the time that is left is enough for: the rest is for what comes after.

    They are 0 before it was asked. ``left()`` are seconds; ``remember`` is as that of
    :class:`sdk.compress.recipes.attempts.Checkpoints`.
    """

    def __init__(self, left: Callable[[], float], remember: Callable[[str, float], float]) -> None:
        self._left, self._remember = left, remember
        self.epochs = 0

    def __call__(self, asked: int, steps: int, step: Callable[[], None]) -> int:
        """As many epochs of this many steps as were asked for, or as there is time for. Raises DataError for none."""
        step()  # compiles
        begun = self._left()
        for _ in range(TIMED_STEPS):
            step()
        epoch = steps * (begun - self._left()) / TIMED_STEPS
        allowed = int(SHARE_OF_TIME * self._left() / max(epoch, 1e-9))
        if allowed < 1:
            raise DataError(
                "the time is too short to distil",
                expected=f"an epoch, for which {_told(epoch / SHARE_OF_TIME)} have to be left",
                found=f"{_told(max(self._left(), 0.0))} left",
                hint="Allow more (--time-budget), take fewer images (--samples), or leave --distill-epochs out.",
            )
        # A run that was cut and goes on has weights that learned toward this end.
        self.epochs = int(self._remember("distill_epochs", min(asked, allowed)))
        return self.epochs


def _told(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 90 else f"{seconds / 60:.1f} minutes"


def distilled(
    narrowed: Narrowed, original: Graph, dataset: Dataset, epochs: int, seed: int, course: Course
) -> Graph:
    """The narrow graph after it learned for some epochs what the layers of ``original`` make of the images.

    ``course`` keeps the narrow graph, too: see :func:`narrowed_before`.
    """
    begun = _state_of(narrowed)
    if course.resume is None:
        course.checkpoint(begun)
    training = replace(
        course,
        resume=course.resume if course.resume and "step" in course.resume else None,
        checkpoint=lambda state: course.checkpoint({**begun, **state}),
    )
    small, whole = Executor(narrowed.graph), Executor(with_biases(original))
    dataset = mixed(dataset, seed)
    solved = solved_layers(narrowed.graph)
    hints = well_seen(_hints(small, whole, narrowed.places, solved), whole.graph, len(dataset))
    learning = _learning(small, solved, hints)
    white = whitenings(small, learning, dataset.images, len(dataset))
    flip, shift = moves_borne(whole, dataset)
    return distil(
        small,
        whole,
        [_layer(one, white[one.weight.operator_index]) for one in learning],
        hints,
        dataset,
        Distillation(epochs, crops=shift > 0, flip=flip, seed=seed),
        training,
    )


def narrowed_before(state: State) -> Narrowed:
    """The network that an earlier run of :func:`distilled` began with. Raises :class:`ModelError` for other states."""
    try:
        graph = read_graph(state["narrow/graph"].tobytes())
        names = [str(name) for name in state["narrow/names"]]
        places = {name: state[f"narrow/{number}"] for number, name in enumerate(names)}
        macs, original = (int(count) for count in state["narrow/macs"])
        return Narrowed(graph, macs, original, float(state["narrow/nats"]), places)
    except (KeyError, ValueError) as error:
        raise not_of_this(error) from error


def _state_of(narrowed: Narrowed) -> dict[str, np.ndarray]:
    return {
        "narrow/graph": np.frombuffer(write_graph(narrowed.graph), np.uint8),
        "narrow/names": np.array(list(narrowed.places)),
        "narrow/macs": np.array([narrowed.macs, narrowed.original_macs]),
        "narrow/nats": np.array(narrowed.expected_loss_nats),
        **{f"narrow/{number}": where for number, where in enumerate(narrowed.places.values())},
    }


def _learning(small: Executor, solved: Sequence[SolvedLayer], hints: Sequence[Hint]) -> list[SolvedLayer]:
    """The layers that learn: those that lead to something that is compared, but weights of two layers, and the first
    ones while all of them have few weights."""
    read = Counter(layer.weight.tensor_index for layer in solved)
    leading = set(small.plan(small.graph.inputs, {hint.tensor for hint in hints}))
    sizes = np.cumsum([layer.weight.tensor.elements for layer in solved])
    return [
        layer
        for layer, size in zip(solved, sizes, strict=True)
        if layer.weight.operator_index in leading
        and read[layer.weight.tensor_index] == 1
        and size > FIRST_WEIGHTS * sizes[-1]
    ]


def _layer(solved: SolvedLayer, whitening: Whitening) -> WhitenedLayer:
    return WhitenedLayer(
        solved.weight.tensor_index,
        solved.bias,
        solved.shape.unfold(solved.weight.array),
        whitening.mean,
        whitening.white,
        whitening.back,
        solved.shape.kind == "DEPTHWISE_CONV_2D",
    )


def _hints(
    small: Executor, whole: Executor, places: Mapping[str, np.ndarray], solved: Sequence[SolvedLayer]
) -> list[Hint]:
    """What layers make, but depthwise ones, and the answers, and what fully connected layers read: tensors whose name
    stands for one tensor in both graphs."""
    narrow, answers = small.graph, {tensor for tensor, _ in small.answers}
    wanted = []
    for layer in solved:
        made = narrow.operators[layer.weight.operator_index].outputs[0]
        if layer.shape.kind != "DEPTHWISE_CONV_2D" and made not in answers:
            wanted.append(made)
        if int(np.prod(narrow.tensors[layer.source].shape[1:-1])) == 1:
            wanted.append(layer.source)
    once = [Counter(tensor.name for tensor in graph.tensors) for graph in (narrow, whole.graph)]
    named = {tensor.name: (n, tensor) for n, tensor in enumerate(whole.graph.tensors)}
    hints = []
    for tensor in dict.fromkeys(wanted):
        name = narrow.tensors[tensor].name
        if name in places and all(count[name] == 1 for count in once):
            original, described = named[name]
            complete = len(places[name]) == described.shape[-1]
            hints.append(Hint(tensor, original, None if complete else places[name]))
    pairs = zip(small.answers, whole.answers, strict=True)
    return hints + [Hint(tensor, original, None, ranks) for (tensor, ranks), (original, _) in pairs]
