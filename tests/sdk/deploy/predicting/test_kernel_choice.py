"""On an emulated board predicted times choose the kernels of a release; where there are none, the reason says why."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from sdk.board.catalogue import load_board
from sdk.deploy.agent.answers import KernelsAnswer, Prepared
from sdk.deploy.agent.remote_agent import Deployed
from sdk.deploy.predicting import kernel_choice
from sdk.deploy.predicting.boards_alike import board_behind
from sdk.errors import BoardError
from sdk.graph.writer import write_graph
from sdk.package.pack import pack
from tests.sdk.graph.small_graphs import small_network

RUNTIME = ("ai-edge-litert", "2.3.0")
READY = Prepared(1, "emulated", 1000, None, None, "", kernels_reason="not measured", kernels_undecided=2)
EMULATED = replace(load_board("virtual-arm64"), qemu_cpu="cortex-a72")


class Board:
    """An agent that keeps what it is told."""

    def __init__(self) -> None:
        self.told: dict[str, Any] = {}

    def choose_kernels(self, name: str, release: str, **told: Any) -> KernelsAnswer:
        self.told = {"name": name, "release": release, **told}
        return KernelsAnswer("armlet", 2, 3.0, 1.0, "2 operators", "rpi4")


@pytest.fixture(autouse=True)
def _built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_choice, "build_delegate", lambda architecture: f"delegate for {architecture}")


def settled(
    prepared: Prepared | None = READY, board: Any = EMULATED, engine: Any = None
) -> tuple[Any, Board]:
    asked: list[Any] = []

    def predict(boards: Any, tflite: bytes, **options: Any) -> list[Any]:
        assert [one.name for one in boards] == ["rpi4"]
        assert (options["runtime"], options["version"]) == RUNTIME
        asked.append(options["delegate"])
        return [SimpleNamespace(seconds=3.0 if options["delegate"] is None else 1.0)]

    agent = Board()
    deployed = Deployed("net", "a" * 64, "b" * 64, "confirmed", 10, 10, 0.0, 0.1, prepared)
    package = pack(write_graph(small_network()))
    done = kernel_choice.settle_kernels(
        board,
        agent,
        deployed,
        package,
        RUNTIME,
        engine=engine or predict,  # type: ignore[arg-type]
    )
    return done.prepared, agent


def test_the_board_is_told_both_predicted_times_and_its_choice_is_reported() -> None:
    prepared, agent = settled()
    assert agent.told == {
        "name": "net",
        "release": "a" * 64,
        "runtime_seconds": 3.0,
        "armlet_seconds": 1.0,
        "predicted_for": "rpi4",
    }
    assert (prepared.kernels, prepared.kernels_predicted_for) == ("armlet", "rpi4")
    assert (prepared.runtime_seconds, prepared.armlet_seconds) == (3.0, 1.0)
    assert prepared.start_bytes is None  # these start from their package


@pytest.mark.parametrize("prepared", [None, replace(READY, kernels_undecided=0)])
def test_where_there_is_nothing_to_choose_nothing_is_predicted(prepared: Prepared | None) -> None:
    same, agent = settled(prepared)
    assert same == prepared
    assert agent.told == {}


def test_without_a_prediction_the_runtimes_kernels_stay_and_the_reason_is_told() -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise BoardError("the model does not run there")

    prepared, agent = settled(engine=fail)
    assert agent.told == {}
    assert prepared.kernels == "runtime"
    assert prepared.kernels_reason == (
        "2 operators could run in kernels of Armlet; no time is predicted: the model does not run there"
    )


def test_a_core_that_no_board_of_the_catalogue_has_is_not_predicted() -> None:
    unknown = replace(EMULATED, qemu_cpu="cortex-a710")
    assert board_behind(unknown) is None
    prepared, _ = settled(board=unknown)
    assert "no board of the catalogue has cortex-a710" in prepared.kernels_reason
