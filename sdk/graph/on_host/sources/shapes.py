"""Shapes of inputs that a model leaves open, filled with what was asked for.  Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from device_agent.record.visible import visible
from sdk.errors import ModelError
from sdk.graph.on_host.input_shapes import Shapes

BATCH = 1
#: A dimension is None where it is open; the whole shape where even their number is.
Declared = Sequence[int | None] | None


def filled(name: str, declared: Mapping[str, Declared], given: Shapes | None) -> list[list[int]]:
    """The whole shape of every input with the batch in front, in the order of ``declared``.

    ``declared``: the model's shapes, with its batch. ``given``: of the only input with or without a batch, or by name.
    Raises ModelError for names and shapes that do not fit, and where a dimension stays open.
    """
    asked = _by_name(name, list(declared), given)
    return [_whole(name, each, shape, asked.get(each), len(declared)) for each, shape in declared.items()]


def _by_name(model: str, names: list[str], given: Shapes | None) -> dict[str, Sequence[int]]:
    if given is None:
        return {}
    shown = ", ".join(visible(each, most=60) for each in names)
    if not isinstance(given, Mapping):
        if len(names) != 1:
            raise ModelError(
                f"which of the inputs of {model} has this shape?",
                expected=f"a name for each shape; the inputs are {shown}",
                found="x".join(map(str, given)),
                hint=f"For example: --input-shape {visible(names[0], most=60)}=1x....",
            )
        return {names[0]: given}
    if len(names) == 1 and len(given) == 1:
        return {names[0]: next(iter(given.values()))}
    unknown = [each for each in given if each not in names]
    if unknown:
        raise ModelError(
            f"{model} has no input {visible(unknown[0], most=60)}",
            expected=f"one of {shown}",
            found=unknown[0][:60],
        )
    return dict(given)


def _whole(model: str, name: str, declared: Declared, given: Sequence[int] | None, inputs: int) -> list[int]:
    if declared is None:
        if given is None:
            raise _open(model, name, "any number of dimensions", "224x224x3", inputs)
        return list(given) if given[0] == BATCH and len(given) > 1 else [BATCH, *given]
    if given is not None:
        wanted = list(given) if len(given) == len(declared) else [declared[0] or BATCH, *given]
        if len(wanted) != len(declared) or any(
            d not in (None, g) for d, g in zip(declared[1:], wanted[1:], strict=True)
        ):
            raise ModelError(
                f"{model} does not take this input shape",
                expected=_text(declared[1:]),
                found="x".join(map(str, given)),
            )
        return wanted
    if any(d is None for d in declared[1:]):
        example = "x".join(str(d or 224) for d in declared[1:])
        raise _open(model, name, _text(declared[1:]), example, inputs)
    return [declared[0] or BATCH, *(int(d or 0) for d in declared[1:])] if declared else []


def _open(model: str, name: str, found: str, example: str, inputs: int) -> ModelError:
    shown = visible(name, most=60)
    return ModelError(
        f"{model} leaves its input shape open"
        if inputs == 1
        else f"{model} leaves the shape of {shown} open",
        expected="fixed height, width and channels",
        found=found,
        hint=f"Name it: --input-shape {example if inputs == 1 else f'{shown}={example}'}.",
    )


def _text(shape: Sequence[int | None]) -> str:
    return "x".join("?" if d is None else str(d) for d in shape) or "a scalar"
