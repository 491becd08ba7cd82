"""Names in tables: short, and told apart."""

from __future__ import annotations

from sdk.report.terminal.tables import short_name, short_names


def test_names_that_end_alike_are_told_apart_by_number_and_by_what_differs():
    names = [f"model/block_{n}/relu6_1/Relu6" for n in range(13)] + ["model/logits"]
    shorts = short_names(names)
    assert len(set(shorts)) == len(names)
    assert all(len(short) <= 14 for short in shorts)
    assert shorts[0] == "1 …lock_0"[:2] + short_name("model/block_0", 12)
    assert shorts[-1] == "model/logits"


def test_equal_names_differ_by_their_numbers():
    assert short_names(["same/name/again", "same/name/again"]) == ["1 " + short_name("same", 12), "2 same"]


def test_plain_names_stay():
    assert short_names(["conv", "fc"]) == ["conv", "fc"]
    assert short_names([]) == []
