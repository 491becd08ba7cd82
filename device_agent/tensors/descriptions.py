"""The inputs and outputs of a TFLite interpreter, as :class:`~device_agent.tensors.tensor.TensorInfo`.

Names come from the model's signature, since people chose them, where one covers the model's inputs and outputs;
otherwise from the tensors. Each is made unique. Host and board follow the same rule.
"""

from __future__ import annotations

from typing import Any, Mapping, Sequence

import numpy as np

from device_agent.tensors.tensor import TensorInfo

#: Characters of a name that is shown and sent.
MAX_NAME = 256
_SIDES = ("inputs", "outputs")


def tensor_info(details: Mapping[str, Any], name: str) -> TensorInfo:
    """One entry of ``get_input_details()`` or ``get_output_details()``."""
    scale, zero_point = details["quantization"]
    shape = tuple(int(n) for n in details["shape"])
    return TensorInfo(name, shape, np.dtype(details["dtype"]), float(scale), int(zero_point))


def describe(interpreter: Any) -> tuple[tuple[TensorInfo, ...], tuple[TensorInfo, ...]]:
    """The inputs and outputs of an interpreter whose tensors are allocated, in the model's order."""
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    given, taken = _signature_names(interpreter, inputs, outputs)
    return _infos(inputs, given, "input"), _infos(outputs, taken, "output")


def _infos(
    details: Sequence[Mapping[str, Any]], given: Mapping[int, str], kind: str
) -> tuple[TensorInfo, ...]:
    infos: list[TensorInfo] = []
    taken: set[str] = set()
    for position, one in enumerate(details):
        name = given.get(int(one["index"])) or str(one["name"]) or f"{kind}_{position}"
        name = name[:MAX_NAME]
        unique, number = name, 2
        while unique in taken:
            unique, number = f"{name}_{number}", number + 1
        taken.add(unique)
        infos.append(tensor_info(one, unique))
    return tuple(infos)


def _signature_names(
    interpreter: Any, inputs: Sequence[Mapping[str, Any]], outputs: Sequence[Mapping[str, Any]]
) -> tuple[dict[int, str], dict[int, str]]:
    """Names by tensor number, of the signature that stands for the whole of the first subgraph; {} without one."""
    try:
        signatures = interpreter._get_full_signature_list()  # noqa: SLF001 - the public list has no tensor numbers
    except Exception:  # private, so it may go away; then tensors keep their own names
        return {}, {}
    wanted = {int(one["index"]) for one in inputs}, {int(one["index"]) for one in outputs}
    fitting = {}
    for key, found in signatures.items():
        names = tuple({int(number): str(name) for name, number in found[side].items()} for side in _SIDES)
        if tuple(map(set, names)) == wanted:
            fitting[key] = names
    # Tensor numbers count within a subgraph, so that the signature of another subgraph may fit by chance.
    chosen = fitting.get("serving_default") or (
        next(iter(fitting.values())) if len(fitting) == 1 else ({}, {})
    )
    return chosen[0], chosen[1]
