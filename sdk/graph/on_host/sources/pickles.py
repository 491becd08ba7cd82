"""The names that a pickle would call if it were loaded, read from its opcodes: nothing of it is ever run.  Pure."""

from __future__ import annotations

import pickletools

#: Of a pickle at most this many opcodes are looked at.
MAX_OPCODES = 200_000
#: What stands in a file of weights and nothing else, by the start of "module name".
_WEIGHTS_ONLY = (
    "collections OrderedDict",
    "torch._utils _rebuild",
    "torch.storage ",
    "torch._tensor _rebuild",
    "torch.nn.parameter ",
    "torch Tensor",
    "torch Size",
    "torch device",
    "torch serialization",
    "torch _utils",
    "numpy",
    "_codecs encode",
)
_TYPE_WORDS = (
    "Storage",
    "float16",
    "float32",
    "float64",
    "bfloat16",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
)


def names_in(data: bytes) -> tuple[list[str], list[str]]:
    """The names in the pickle, as "module name", and the short texts in it, both in order and without doubles.

    A pickle that is cut or broken gives what stands before the fault.
    """
    names: dict[str, None] = {}
    texts: dict[str, None] = {}
    last: list[str] = []
    kept: dict[int, str] = {}
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
            if count > MAX_OPCODES:
                break
            if opcode.name in ("GLOBAL", "INST"):
                names[str(argument)] = None
            elif opcode.name == "STACK_GLOBAL" and len(last) >= 2:
                names[f"{last[-2]} {last[-1]}"] = None
            elif isinstance(argument, str):
                last = [*last[-1:], argument]
                if len(argument) < 200:
                    texts[argument] = None
            elif opcode.name == "MEMOIZE":
                if last:
                    kept[len(kept)] = last[-1]
            elif opcode.name in ("BINGET", "LONG_BINGET") and argument in kept:
                last = [*last[-1:], kept[argument]]
    except Exception:  # whatever pickletools raises on bytes that are not pickle: it has no common root
        pass
    return list(names), list(texts)


def own_class(names: list[str]) -> str:
    """The first class of somebody's own that the pickle would make, as "module.Name"; "" where it holds plain data."""
    for name in names:
        module, _, attribute = name.partition(" ")
        plain = name.startswith(_WEIGHTS_ONLY) or (module == "torch" and attribute.endswith(_TYPE_WORDS))
        if not plain and module not in ("builtins", "__builtin__", "copyreg", "copy_reg"):
            return f"{module}.{attribute}"
    return ""
