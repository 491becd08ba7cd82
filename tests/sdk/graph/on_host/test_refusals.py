"""What a runtime says when it refuses a model, and what a person is told to do."""

from __future__ import annotations

import pytest

from sdk.graph.on_host.refusals import hint_for


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("Encountered unresolved custom op: edgetpu-custom-op. See instructions: https://...", "Edge TPU"),
        ("Encountered unresolved custom op: FlexErf. See", "SELECT_TF_OPS"),
        ("Encountered unresolved custom op: SignalWindow. See", "Microcontrollers"),
        ("Encountered unresolved custom op: ethos-u. See", "Vela"),
        ("Encountered unresolved custom op: MyOwnThing. See", "custom operator"),
        (
            "Didn't find op for builtin opcode 'FULLY_CONNECTED' version '12'. An older",
            "version 12 of FULLY_CONNECTED",
        ),
        ("Regular TensorFlow ops are not supported: Select TensorFlow op(s), included", "SELECT_TF_OPS"),
    ],
)
def test_the_operator_and_where_it_comes_from_are_told(said, told):
    assert told in hint_for(said)


def test_what_names_no_operator_has_no_hint():
    assert hint_for("Node number 3 (CONV_2D) failed to prepare.") is None
