"""How samples are taken, on a clock that the test moves."""

from __future__ import annotations

import numpy as np
import pytest

from device_agent.errors import AgentError
from device_agent.measuring import bench
from device_agent.measuring.bench import (
    ColdStart,
    LoadingPlan,
    judge_throttling,
    measure_loading,
    set_inputs,
    take_turns,
    thin_out,
    with_start,
)
from device_agent.run.conditions import Conditions
from device_agent.run.loaded import LoadedModel

QUIET = Conditions(40.0, 1.8e9, "performance", (), None)


class Machine:
    """Models that take a known time each, in nanoseconds of its clock, and a diary of who ran."""

    def __init__(self) -> None:
        self.now = 0
        self.diary: list[str] = []

    def clock(self) -> int:
        return self.now

    def model(self, name: str, seconds: float, first: float = 0.0):
        times = iter([first] * 3) if first else iter(())

        def invoke() -> None:
            self.diary.append(name)
            self.now += round(1e9 * next(times, seconds))

        return invoke


def test_the_number_of_samples_ends_the_measurement():
    machine = Machine()
    (taken,) = take_turns([machine.model("a", 0.001)], LoadingPlan(50), clock=machine.clock)
    assert taken.samples_seconds == pytest.approx([0.001] * 50)
    assert [turn.round for turn in taken.turns] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("samples", [1, 4, 5, 7, 16, 101])
def test_no_more_samples_are_taken_than_were_asked_for(samples):
    machine = Machine()
    plan = LoadingPlan(samples, rounds=min(5, samples))
    (taken,) = take_turns([machine.model("a", 0.001)], plan, clock=machine.clock)
    assert len(taken.samples_seconds) == samples


def test_time_ends_the_measurement_of_a_slow_model():
    machine = Machine()
    (taken,) = take_turns([machine.model("a", 1.5)], LoadingPlan(1024, max_seconds=10.0), clock=machine.clock)
    # A turn of 2 s ends with the sample that is under way then, so there is time for four of five.
    assert [turn.samples_seconds for turn in taken.turns] == [(1.5, 1.5)] * 4


def test_a_very_slow_model_has_fewer_turns():
    machine = Machine()
    (taken,) = take_turns([machine.model("a", 4.0)], LoadingPlan(1024, max_seconds=10.0), clock=machine.clock)
    assert len(taken.samples_seconds) == len(taken.turns) == 3


def test_even_a_model_that_takes_longer_than_the_limit_gives_a_sample():
    machine = Machine()
    (taken,) = take_turns([machine.model("a", 60.0)], LoadingPlan(99, max_seconds=1.0), clock=machine.clock)
    assert taken.samples_seconds == (60.0,)


def test_warming_up_goes_on_until_the_time_is_stable():
    machine = Machine()
    (taken,) = take_turns([machine.model("a", 0.001, first=0.5)], LoadingPlan(9), clock=machine.clock)
    assert taken.warmup_seconds[:3] == (0.5, 0.5, 0.5)
    assert bench.is_stable(taken.warmup_seconds)
    assert max(taken.samples_seconds) == pytest.approx(0.001)


def test_a_fast_model_is_warmed_up_until_a_clock_may_have_risen():
    machine = Machine()
    (taken,) = take_turns([machine.model("a", 0.001)], LoadingPlan(9), clock=machine.clock)
    assert sum(taken.warmup_seconds) == pytest.approx(bench.LEAST_WARMUP_SECONDS, abs=0.002)
    (taken,) = take_turns([machine.model("a", 1e-6)], LoadingPlan(9), clock=machine.clock)
    assert len(taken.warmup_seconds) == bench.LEAST_WARMUP_INFERENCES


def test_warming_up_ends_even_if_the_time_never_settles():
    machine = Machine()
    seconds = iter(0.1 * 1.5**i for i in range(1000))

    def slower_every_time() -> None:
        machine.now += round(1e9 * next(seconds))

    plan = LoadingPlan(1, 1, 1.0, max_warmup_seconds=3.0)
    (taken,) = take_turns([slower_every_time], plan, clock=machine.clock)
    assert 3.0 <= sum(taken.warmup_seconds) < 6.0


def test_models_take_turns_in_an_order_that_is_drawn_anew_for_each_round():
    machine = Machine()
    models = [machine.model("a", 0.02), machine.model("b", 0.05)]
    orders = iter([False, True, True, False, False])

    def shuffle(takers: list) -> None:
        if next(orders):
            takers.reverse()

    taken = take_turns(models, LoadingPlan(20), clock=machine.clock, shuffle=shuffle)
    measured = "".join(machine.diary).replace("a" * 10, "", 1).replace("b" * 10, "", 1)  # without warming up
    # Four samples in a turn; one inference more before each is not a sample.
    a, b = "a" * 5, "b" * 5
    assert measured == a + b + b + a + b + a + a + b + a + b
    begun = [[turn.begun for turn in of_model.turns] for of_model in taken]
    assert [first < second for first, second in zip(*begun, strict=True)] == [True, False, False, True, True]


def test_the_order_is_not_always_the_same():
    machine = Machine()
    take_turns([machine.model("a", 0.02), machine.model("b", 0.02)], LoadingPlan(40, 40), clock=machine.clock)
    rounds = "".join(machine.diary).replace("a" * 10, "", 1).replace("b" * 10, "", 1)
    orders = {rounds[i : i + 4] for i in range(0, len(rounds), 4)}
    assert orders == {"aabb", "bbaa"}  # missed once in 2^39 times


def test_the_inference_after_a_change_of_models_is_not_a_sample():
    machine = Machine()
    state = {"last": ""}

    def model(name: str):
        def invoke() -> None:
            machine.now += 10_000_000 if state["last"] == name else 90_000_000
            state["last"] = name

        return invoke

    for taken in take_turns([model("a"), model("b")], LoadingPlan(30), clock=machine.clock):
        assert set(taken.samples_seconds) == {0.01}


def test_what_reading_the_conditions_left_in_the_caches_is_not_a_sample():
    machine = Machine()
    state = {"cold": False}

    def invoke() -> None:
        machine.now += 90_000_000 if state["cold"] else 10_000_000
        state["cold"] = False

    (taken,) = take_turns(
        [invoke], LoadingPlan(30), clock=machine.clock, between=lambda: state.update(cold=True)
    )
    assert set(taken.samples_seconds) == {0.01}


def test_inputs_are_the_same_noise_every_time(float_model):
    outputs = []
    for _ in range(2):
        agent = LoadedModel(float_model)
        set_inputs(agent)
        agent.model.invoke()
        outputs.append(agent.model.get_output())
    np.testing.assert_array_equal(*outputs)


def test_a_given_input_is_used_and_of_a_batch_the_first(float_model, expected):
    batch = np.random.default_rng(0).random((5, 2, 2, 3), np.float32)
    agent = LoadedModel(float_model)
    set_inputs(agent, batch)
    agent.model.invoke()
    np.testing.assert_allclose(agent.model.get_output(), expected(batch[:1]), rtol=1e-6)
    with pytest.raises(AgentError, match="shape"):
        set_inputs(agent, batch[..., :2])


def test_a_record_says_what_ran_and_under_which_conditions(float_model):
    agent = LoadedModel(float_model, name="tiny")
    set_inputs(agent)
    seen = iter([QUIET, *[Conditions(55.0, 1.5e9, "performance", ("throttled",), None)] * 100])
    cold = ColdStart(0.0, "none", 0.01, 0.02, 1 << 25)
    plan = LoadingPlan(20, max_seconds=1.0, max_warmup_seconds=0.1)
    (m,) = measure_loading([agent], plan, cpus=(0,), emulated=True, conditions=lambda cpus: next(seen))
    m = with_start(m, cold)
    assert (m.model, m.tflite_sha256, m.package_sha256) == ("tiny", agent.tflite_sha256, None)
    assert (m.decode_kernel, m.decode_seconds) == ("none", 0.0)
    assert len(m.samples_seconds) == 20
    assert [(turn.loading, turn.round, turn.samples) for turn in m.turns] == [(0, r, 4) for r in range(5)]
    assert 0.0 <= m.turns[0].seconds < m.turns[-1].seconds < 10.0
    assert (m.temperature_before_celsius, m.temperature_max_celsius) == (40.0, 55.0)
    assert (m.frequency_before_hz, m.frequency_min_hz) == (1.8e9, 1.5e9)
    assert m.during
    assert {(moment.frequency_hz, moment.temperature_celsius) for moment in m.during} == {(1.5e9, 55.0)}
    assert m.preemptions is not None
    assert (m.throttled, m.throttle_reasons) == (True, ("throttled",))
    assert (m.emulated, m.cpus, m.peak_memory_bytes) == (True, (0,), 1 << 25)
    assert m == type(m).from_json(m.to_json())


@pytest.mark.parametrize(
    ("seen", "verdict"),
    [
        ([QUIET, QUIET], (False, ())),
        ([Conditions(None, None, None, None, None)] * 2, (None, ())),
        ([QUIET, Conditions(40.0, 1e9, None, ("under-voltage",), None), QUIET], (True, ("under-voltage",))),
        ([Conditions(None, None, None, None, 5), Conditions(None, None, None, None, 5)], (False, ())),
    ],
)
def test_throttling_is_what_the_machine_says(seen, verdict):
    assert judge_throttling(seen) == verdict


def test_throttling_between_two_readings_leaves_its_mark():
    def pi(now: tuple[str, ...], since_boot: tuple[str, ...]) -> Conditions:
        return Conditions(60.0, 1.8e9, "performance", now, None, since_boot)

    assert judge_throttling([pi((), ("throttled",)), pi((), ("throttled",))]) == (False, ())
    assert judge_throttling([pi((), ()), pi((), ("throttled",))]) == (True, ("throttled for a moment",))
    assert judge_throttling([pi((), ()), pi(("throttled",), ("throttled",))]) == (True, ("throttled",))


def test_a_governor_that_changed_during_the_run_is_in_the_record(float_model):
    agent = LoadedModel(float_model, name="tiny")
    set_inputs(agent)
    seen = iter([QUIET, *[Conditions(40.0, 1.8e9, "powersave", (), None)] * 100])
    plan = LoadingPlan(20, max_seconds=1.0, max_warmup_seconds=0.1)
    (m,) = measure_loading([agent], plan, cpus=(0,), emulated=False, conditions=lambda cpus: next(seen))
    assert m.governor == "performance, then powersave"


def test_of_many_moments_the_first_the_last_and_some_between_are_kept():
    told = [(float(s), Conditions(40.0, 1e9, None, None, None)) for s in range(1000)]
    kept = thin_out(told, 5)
    assert [moment.seconds for moment in kept] == [0.0, 250.0, 500.0, 749.0, 999.0]
    assert thin_out(told[:2], 5) == thin_out(told[:2])
    assert thin_out([(0.0, Conditions(None, None, "performance", None, None))]) == ()


def test_a_count_of_throttling_that_grew_is_throttling():
    throttled, reasons = judge_throttling([Conditions(None, None, None, None, n) for n in (5, 6)])
    assert throttled
    assert "kernel" in reasons[0]
