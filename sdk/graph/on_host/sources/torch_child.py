"""Runs where PyTorch and litert-torch are: ``python torch_child.py MODEL.pt2 OUT.tflite``.  Standard library besides.

Errors for the user go to stderr as ``ARMLET: what | what to do``, with exit status 1.
"""

from __future__ import annotations

import sys
from typing import Any

#: How far answers of PyTorch and of the .tflite may be apart, of the largest one.
TOLERANCE = 1e-3


def main(model: str, output: str) -> int:
    """Converts; the exit status."""
    import litert_torch
    import torch

    try:
        program = torch.export.load(model)
    except Exception as error:  # torch raises what its unpickling and its schema raise
        return tell(
            f"PyTorch {torch.__version__} cannot load it: {first_line(error)}",
            "Export it again with this PyTorch.",
        )
    trained = training_node(program)
    if trained:
        return tell(
            f"it was exported in training mode: {trained}", "Call network.eval() before torch.export.export."
        )
    if program.example_inputs is None:
        return tell("it holds no example inputs", "Export it again with a newer PyTorch.")
    arguments, keywords = program.example_inputs
    module = program.module()
    try:
        edge = litert_torch.convert(module, tuple(arguments), sample_kwargs=keywords or None)
    except Exception as error:
        lacking = lacking_operators(error)
        if not lacking:
            raise
        return tell(f"operators {', '.join(lacking)}, which litert-torch does not convert", "Replace them.")
    apart = difference(module(*arguments, **(keywords or {})), edge(*arguments, **(keywords or {})))
    if apart > TOLERANCE:
        return tell(
            f"its answers differ from PyTorch's by {apart:.2g} of the largest", "Report it to litert-torch."
        )
    edge.export(output)
    return 0


def training_node(program: Any) -> str:
    """The first operator of the program that behaves as in training; "" where there is none."""
    for node in program.graph.nodes:
        name = str(node.target)
        flags = [argument for argument in node.args if argument is True]
        if "dropout" in name and flags:
            return name
        if "_native_batch_norm_legit.default" in name or ("batch_norm" in name and "no_training" not in name
                                                          and len(node.args) > 5 and node.args[5] is True):  # fmt: skip
            return name
    return ""


def lacking_operators(error: BaseException) -> list[str]:
    """The operators that a failure to lower names."""
    import re

    said = str(error)
    found = re.findall(
        r"(?:Lowering not found|[Nn]o lowering (?:found )?(?:for|registered for)):?\s*([\w.:]+)", said
    )
    return sorted(set(found))


def difference(expected: Any, found: Any) -> float:
    """The largest distance of two answers, over the largest number of the expected one."""
    import numpy as np
    import torch

    largest = 0.0
    flat = torch.utils._pytree.tree_leaves(expected)  # noqa: SLF001 - there is no other
    several = torch.utils._pytree.tree_leaves(found)  # noqa: SLF001
    for one, other in zip(flat, several, strict=True):
        if not isinstance(one, torch.Tensor) or not one.numel():
            continue
        wanted, got = one.detach().numpy().astype(np.float64), np.asarray(other, np.float64)
        if wanted.shape != got.shape:
            return float("inf")
        largest = max(largest, float(np.abs(wanted - got).max() / max(1e-6, np.abs(wanted).max())))
    return largest


def first_line(error: BaseException) -> str:
    """The first line that an error says."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def tell(what: str, hint: str) -> int:
    """Says it to a person; the exit status."""
    print(f"ARMLET: {what} | {hint}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
