"""The right runtime by itself: the next one where the preferred one does not run a model, and what is said of it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from sdk.api.boards import runtimes
from sdk.api.boards.runtimes import note_of, with_a_runtime
from sdk.deploy.target import Target
from sdk.errors import HealthCheckFailed, ProvisionError, RemoteError
from sdk.tools.progress import silent

NAMES = ("tflite-runtime", "ai-edge-litert")


def session(runtime: str) -> SimpleNamespace:
    board = SimpleNamespace(runtimes=[SimpleNamespace(name=name) for name in NAMES])
    provisioned = SimpleNamespace(runtime=runtime, runtime_version="1.0", facts=None, pinned=True)
    return SimpleNamespace(board=board, connection=None, provisioned=provisioned, scratch=None)


@pytest.fixture(autouse=True)
def _every_runtime_is_possible(monkeypatch):
    monkeypatch.setattr(runtimes, "why_not", lambda runtime, facts: None)
    monkeypatch.setattr(
        runtimes, "make_ready", lambda board, connection, target, progress: session(target.runtime)
    )


def failing_on(*names: str):
    def work(at) -> str:
        if at.provisioned.runtime in names:
            raise HealthCheckFailed("it went back", found=f"{at.provisioned.runtime} lacks an operator")
        return at.provisioned.runtime

    return work


def test_the_preferred_runtime_is_used_where_it_runs_the_model():
    _, result, failures = with_a_runtime(session(NAMES[0]), Target(), silent, failing_on())
    assert (result, failures) == (NAMES[0], ())


def test_the_next_runtime_is_tried_and_both_are_named():
    used, result, failures = with_a_runtime(session(NAMES[0]), Target(), silent, failing_on(NAMES[0]))
    assert result == NAMES[1]
    (note,) = note_of(failures, used)
    assert "tflite-runtime 1.0: tflite-runtime lacks an operator; ai-edge-litert 1.0 runs it" in note


def test_wheels_that_are_not_pinned_are_said():
    used = session(NAMES[0])
    assert note_of((), used) == ()
    used.provisioned.pinned = False
    (note,) = note_of((), used)
    assert note.startswith("tflite-runtime 1.0 is not pinned")


def test_a_runtime_that_was_asked_for_is_the_only_one():
    with pytest.raises(HealthCheckFailed):
        with_a_runtime(session(NAMES[0]), Target(runtime=NAMES[0]), silent, failing_on(NAMES[0]))


def test_where_none_runs_it_each_has_its_reason():
    with pytest.raises(RemoteError, match="each of its runtimes") as caught:
        with_a_runtime(session(NAMES[0]), Target(), silent, failing_on(*NAMES))
    assert all(f"{name} 1.0: " in caught.value.found for name in NAMES)


def test_a_runtime_that_cannot_be_fetched_is_a_reason_and_no_end(monkeypatch):
    def fails(*_: object) -> None:
        raise ProvisionError("no network")

    monkeypatch.setattr(runtimes, "make_ready", fails)
    with pytest.raises(RemoteError, match="each of its runtimes") as caught:
        with_a_runtime(session(NAMES[0]), Target(), silent, failing_on(NAMES[0]))
    assert "no network" in caught.value.found


def test_other_errors_are_not_about_the_runtime():
    def work(at) -> None:
        raise RemoteError("too slow")

    with pytest.raises(RemoteError, match="too slow"):
        with_a_runtime(session(NAMES[0]), Target(), silent, work)
