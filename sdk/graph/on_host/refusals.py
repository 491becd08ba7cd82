"""Explains why a TFLite runtime refuses a model, and where the operator that it names comes from. Pure text."""

from __future__ import annotations

import re

_CUSTOM = re.compile(r"unresolved custom op: ([^\s.]+)")
_NEWER = re.compile(r"[Dd]idn't find op for builtin opcode '([A-Z0-9_]+)' version '(\d+)'")
_FLEX = re.compile(r"Select TensorFlow op|Flex\w+")

#: What the name of a custom operator begins with, where such operators come from, and what to do.
ORIGINS = (
    (
        "edgetpu-custom-op",
        "The file was compiled for Coral's Edge TPU. Use the file that edgetpu_compiler was given.",
    ),
    ("Flex", "It is an operator of TensorFlow, not of TFLite. Convert without SELECT_TF_OPS."),
    (
        "Signal",
        "It is an operator of TensorFlow Lite for Microcontrollers, which the runtimes of boards lack.",
    ),
    ("STABLEHLO", "It is an operator of StableHLO that the runtimes do not have."),
    ("ethos-u", "The file was compiled by Vela for Arm's Ethos-U. Use the file that Vela was given."),
    ("qnn", "The file was compiled for a processor of Qualcomm's. Use the file that was compiled."),
    ("mtk", "The file was compiled for a processor of MediaTek's. Use the file that was compiled."),
)
_UNKNOWN = "It is a custom operator that the runtimes do not have: the program that the model comes from registers it."


def hint_for(said: str) -> str | None:
    """Advice about a refusal; None where what the runtime said names no operator."""
    custom = _CUSTOM.search(said)
    if custom is not None:
        name = custom.group(1)
        return next((hint for start, hint in ORIGINS if name.lower().startswith(start.lower())), _UNKNOWN)
    newer = _NEWER.search(said)
    if newer is not None:
        return (
            f"The model has version {newer.group(2)} of {newer.group(1)}, which is newer than the runtime. Convert it "
            "with an older converter."
        )
    if _FLEX.search(said):
        return ORIGINS[1][1]
    return None
