"""PyTorch programs and ONNX models -> ``.tflite`` bytes, by a converter in a process and an environment of its own."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from device_agent.record.visible import visible
from sdk.errors import ModelError
from sdk.graph.on_host.input_shapes import Shapes
from sdk.graph.on_host.sources.environments import python_for
from sdk.graph.on_host.sources.running import has_signature, named
from sdk.graph.on_host.sources.telling import keep, told
from sdk.tools.system.programs import ProgramFailed, run_program

CONVERT_SECONDS = 3600.0
MOST_OUTPUT = 1 << 26
#: What the programs that convert say to a person stands behind this.
_WORD = re.compile(r"^ARMLET: (.*)$", re.MULTILINE)


def torch_program_bytes(path: Path, *, input_shape: Shapes | None = None) -> bytes:
    """A program of ``torch.export`` as ``.tflite`` bytes, with the shapes of its example inputs. Raises ModelError."""
    if input_shape is not None:
        raise ModelError(
            f"{path} has the shapes that it was exported with",
            expected="no --input-shape",
            found="one",
            hint="Export it again with example inputs of that shape.",
        )
    return _converted("torch", "torch_child.py", path, [], "litert-torch")


def onnx_bytes(path: Path, *, input_shape: Shapes | None = None) -> bytes:
    """An ONNX model as ``.tflite`` bytes with channels last. Raises ModelError.

    ``input_shape``: of the only input, as the model has it or as (height, width, channels); or by name.
    """
    shapes: Mapping[str, Sequence[int]] = {}
    if isinstance(input_shape, Mapping):
        shapes = input_shape
    elif input_shape is not None:
        shapes = {"": input_shape}
    said = json.dumps({name: list(shape) for name, shape in shapes.items()})
    tflite = _converted("onnx", "onnx_child.py", path, [said], "onnx2tf")
    return tflite if has_signature(tflite) else named(tflite, [], [])  # it writes one for some models only


def _converted(converter: str, child: str, path: Path, more: Sequence[str], program: str) -> bytes:
    python = python_for(converter, path)
    script = Path(__file__).resolve().with_name(child)
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "model.tflite"
        # Its own folder is where such programs leave what they write on the side.
        command = [python, str(script), str(path.resolve())]
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": ""}
        try:
            printed = run_program(
                [*command, str(output), *more],
                limit_seconds=CONVERT_SECONDS,
                max_bytes=MOST_OUTPUT,
                environment=environment,
                folder=Path(folder),
            )
        except ProgramFailed as error:
            raise ModelError(f"{program} could not convert {path}", found=str(error)) from error
        if printed.status == 0 and output.is_file():
            return output.read_bytes()
    text = f"{printed.errors}\n{printed.output}"
    word = _WORD.findall(text)
    if word:
        kept = keep(str(path), text)
        what, _, hint = word[-1].partition(" | ")
        where = f" The whole text is in {kept}." if kept is not None else ""
        raise ModelError(
            f"{program} could not convert {path}",
            found=visible(what, most=400),
            hint=f"{visible(hint)}{where}".strip(),
        )
    raise told(
        str(path),
        f"{program} could not convert {path}",
        printed.errors,
        text,
        hint="Replace what is named, or convert with your own script and pass the .tflite.",
    )
