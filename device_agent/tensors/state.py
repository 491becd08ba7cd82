"""What an inference leaves in a model for the next one: found by the operators of a TFLite interpreter."""

from __future__ import annotations

from typing import Any

#: Operators of models whose state outlives an inference in resource variables (``schema.fbs``).
_RESOURCE_OPERATORS = frozenset({"VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "CALL_ONCE"})
#: Operators with variable tensors of their own.
_RECURRENT_OPERATORS = frozenset(
    {
        "BIDIRECTIONAL_SEQUENCE_LSTM",
        "BIDIRECTIONAL_SEQUENCE_RNN",
        "LSTM",
        "RNN",
        "SVDF",
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
        "UNIDIRECTIONAL_SEQUENCE_RNN",
    }
)


def operators_of(interpreter: Any) -> list[dict[str, Any]]:
    """What an interpreter says of each operator that it holds ("op_name", "inputs", "outputs"), by its number in the
    graph, and behind them of those that stand for delegated parts; none where the runtime keeps them to itself."""
    try:
        return list(interpreter._get_ops_details())  # noqa: SLF001
    except Exception:  # private, so it may go away; then we do not know
        return []


def operator_names(interpreter: Any) -> frozenset[str]:
    """The kinds of operators that an interpreter runs; none where the runtime keeps them to itself."""
    return frozenset(operator["op_name"] for operator in operators_of(interpreter))


def keeps_resources(interpreter: Any) -> bool:
    """Whether a model sets up its state once, when it is loaded: it has to be loaded again to forget it."""
    return bool(_RESOURCE_OPERATORS & operator_names(interpreter))


def keeps_state(interpreter: Any) -> bool:
    """Whether an inference leaves something in the model that the next one sees."""
    return bool((_RESOURCE_OPERATORS | _RECURRENT_OPERATORS) & operator_names(interpreter))
