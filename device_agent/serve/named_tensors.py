"""Requests and answers of ``:run``: every input and every output of a model by name. The bytes are a stranger's.

    {"inputs": {"audio": {"shape": [1, 2], "dtype": "float32", "data": "AACAPwAAAEA="}, "words": [[1, 2]]},
     "reset": true, "encoding": "lists"}

An input is nested lists of real values, or raw bytes in base64 with their shape and type (docs/serve.md). Outputs come
as the request asks: "lists" or "base64".
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any, Mapping

import numpy as np

from device_agent.errors import DataError
from device_agent.record import wire
from device_agent.record.schema import parse_json
from device_agent.record.visible import visible

ENCODINGS = ("lists", "base64")
#: Values of an answer in lists; more of them go as bytes.
MAX_LISTED = 1 << 18
MAX_INPUTS = 64
#: Lists within lists.
MAX_DEPTH = 8
_FIELDS = ("inputs", "reset", "encoding")


@dataclass(frozen=True)
class NamedQuestion:
    """``inputs``: arrays of any shape by name. ``reset``: the model forgets what came before."""

    inputs: Mapping[str, np.ndarray]
    reset: bool = False
    encoding: str = "lists"


def named_question(body: Any) -> NamedQuestion:
    """The question of a JSON body. Raises DataError."""
    if len(body) > wire.MAX_JSON_BYTES:
        raise DataError(
            "the JSON is too long",
            expected=f"at most {wire.MAX_JSON_BYTES} bytes",
            found=f"{len(body)} bytes",
        )
    fields = parse_json(bytes(body), what="the body", most=wire.MAX_JSON_BYTES)
    if not isinstance(fields, dict) or not isinstance(fields.get("inputs"), dict):
        raise DataError(
            "the body is not what is asked for", expected='an object with "inputs"', found="another"
        )
    unknown = [key for key in fields if key not in _FIELDS]
    if unknown:
        raise DataError(
            "the body has unknown fields", expected=", ".join(_FIELDS), found=visible(unknown[0], most=80)
        )
    if len(fields["inputs"]) > MAX_INPUTS:
        raise DataError("there are too many inputs", expected=f"at most {MAX_INPUTS}")
    reset, encoding = fields.get("reset", False), fields.get("encoding", "lists")
    if type(reset) is not bool:
        raise DataError("`reset` is wrong", expected="true or false", found=type(reset).__name__)
    if encoding not in ENCODINGS:
        raise DataError("`encoding` is wrong", expected=" or ".join(ENCODINGS), found=repr(encoding)[:80])
    return NamedQuestion({name: _array(name, one) for name, one in fields["inputs"].items()}, reset, encoding)


def named_answer(outputs: Mapping[str, np.ndarray], question: NamedQuestion) -> dict[str, Any]:
    """JSON-ready outputs by name; arrays of any shape. Raises DataError for lists that would be too long."""
    listed = question.encoding == "lists"
    if listed and sum(array.size for array in outputs.values()) > MAX_LISTED:
        raise DataError(
            "the outputs are too long for lists",
            expected=f"at most {MAX_LISTED} values",
            found=str(sum(array.size for array in outputs.values())),
            hint='"encoding": "base64" takes any.',
        )
    answer = {}
    for name, array in outputs.items():
        kind = array.dtype.newbyteorder("<")
        told: dict[str, Any] = {"shape": list(array.shape), "dtype": array.dtype.name}
        if listed:
            told["values"] = wire.finite(array.tolist())
        else:
            told["data"] = base64.b64encode(array.astype(kind, copy=False).tobytes()).decode("ascii")
        answer[name] = told
    return answer


def _array(name: str, value: Any) -> np.ndarray:
    shown = visible(name, most=80)
    if isinstance(value, dict):
        shape, data = value.get("shape"), value.get("data")
        if not isinstance(shape, list) or not isinstance(data, str):
            raise DataError(
                f"the input {shown} is not whole",
                expected='"shape", "dtype" and "data"',
                found=", ".join(value)[:80],
            )
        try:
            raw = base64.b64decode(data, validate=True)
        except (binascii.Error, ValueError) as error:
            raise DataError(f"the input {shown} is not base64", found=str(error)) from None
        if not shape:  # a scalar
            return wire.tensor(raw, "1", value.get("dtype")).reshape(())
        return wire.tensor(raw, ",".join(str(n)[:12] for n in shape), value.get("dtype"))
    return wire.nested_array(value, f"the input {shown}", MAX_DEPTH).astype(np.float64, copy=False)
