"""Problems of many measurements are told without a wall of text."""

from __future__ import annotations

from types import SimpleNamespace

from sdk.report.conditions import problems_of


def report(*problems_of_each: tuple[str, ...]) -> SimpleNamespace:
    models = [
        SimpleNamespace(name=f"net{number}", measurements=[SimpleNamespace(problems=problems)])
        for number, problems in enumerate(problems_of_each)
    ]
    return SimpleNamespace(models=models)


def test_one_problem_of_several_models_is_said_once():
    assert problems_of([report(("hot",), (), ("hot",))]) == ["net0, net2: hot"]


def test_many_problems_of_a_kind_are_counted_and_one_is_shown():
    noisy = [(f"noisy: {n} % above",) for n in range(4)]
    assert problems_of([report(*noisy[:3])]) == [f"net{n}: noisy: {n} % above" for n in range(3)]
    said = problems_of([report(*noisy, ("few samples (7): little",))])
    assert said == [
        "noisy: 4 of 5 measurements, such as net0 (noisy: 0 % above)",
        "net4: few samples (7): little",
    ]
