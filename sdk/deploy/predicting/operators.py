"""Predicts the time of each operator of a model, each alone: the runtime tells an emulator nothing of its parts.

Every operator is a model of its own (:mod:`sdk.graph.isolate`), and all of them run one after the other in one run of
the emulator. Alone, an operator has its inputs in the caches, and the runtime's work across operators is missing; so
the sum differs from the whole, and the difference is shown.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sdk.board import emulation
from sdk.board.description.records import Board
from sdk.board.emulation.cores import find_core
from sdk.board.emulation.plugin import run_replayed
from sdk.board.emulation.replay.machine import machine_text
from sdk.board.emulation.userland import prefix
from sdk.deploy.predicting.engine import MODULES, same_kernels, target_of
from sdk.deploy.provision.instructions import runtime_environment, unpacked
from sdk.errors import BoardError
from sdk.explain.speed.prediction import PredictedOperator, Prediction
from sdk.graph.isolate import isolate, null_model
from sdk.graph.reader import read_graph
from sdk.tools.progress import Progress, silent

#: guest_operators.py makes three marks: from the first on caches are filled, from the second on cycles are counted.
_MARKS = (0, 1, 2)


def with_operators(
    boards: Sequence[Board], tflite: bytes, predictions: Sequence[Prediction], progress: Progress = silent
) -> list[Prediction]:
    """The predictions, in the order of the boards, with the cycles of each operator that computes something.

    Raises BoardError where an operator does not run alone, and the errors of :func:`predict_on`.
    """
    graph = read_graph(tflite)
    alone = isolate(graph)
    if not alone.models:
        return list(predictions)
    targets = [target_of(board) for board in boards]
    found = list(predictions)
    for group in same_kernels(targets):
        first = found[group[0]]
        progress(f"replay each operator on {first.core}", 0, 0)
        environment = runtime_environment("aarch64", first.runtime, first.runtime_version, progress=progress)
        core = find_core(targets[group[0]].timed.core.name)
        with tempfile.TemporaryDirectory(prefix="armlet-operators-") as temporary:
            models = [*alone.models, null_model(), null_model()]
            for number, model in enumerate(models):
                (Path(temporary) / f"{number}.tflite").write_bytes(model)
            guest = str(Path(emulation.__file__).with_name("guest_operators.py"))
            told = [str(unpacked(environment)), MODULES[environment.runtime], temporary, str(len(models))]
            written, _, _ = run_replayed(
                "aarch64",
                core,
                prefix("aarch64", core, progress=progress),
                ["/usr/bin/python3", "-sS", guest, *told],
                boards=machine_text([targets[place].timed for place in group]),
                marks=_MARKS,
            )
        *spent, first_call, second_call = spans(written, len(models), len(group))
        call = [min(pair) for pair in zip(first_call, second_call, strict=True)]  # of what computes nothing
        for number, place in enumerate(group, 1):
            operators = tuple(
                PredictedOperator(
                    index,
                    graph.operators[index].kind,
                    max(0.0, spent[model][number] - call[number]),
                    max(0, int(spent[model][0] - call[0])),
                )
                for index, model in sorted(alone.of.items())
            )
            found[place] = replace(found[place], operators=operators)
    return found


def spans(written: str, models: int, boards: int) -> list[list[float]]:
    """The cost of the second run of each model, from the running totals that the plugin wrote: for each model its
    instructions, and the cycles of each board. Raises BoardError where a total is missing."""
    totals = [
        [float(word) for word in line.split()[1:]] for line in written.splitlines() if line.startswith("o ")
    ]
    if len(totals) != 2 * models or any(len(line) != 1 + boards for line in totals):
        raise BoardError(
            "the replay of the operators did not end",
            expected=f"{2 * models} marks",
            found=f"{len(totals)}",
        )
    return [
        [end - begin for begin, end in zip(totals[2 * n], totals[2 * n + 1], strict=True)]
        for n in range(models)
    ]
