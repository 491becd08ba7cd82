"""The process in which the host runs a stranger's model: ``python -m sdk.graph.on_host.interpreter_child``.

TFLite itself crashes on some files, so it does not run in the user's process. Messages go both ways over standard input
and output: one line of JSON, then the bytes of the arrays that it lists. Whatever the runtime prints goes to standard
error.

First message: ``{"bytes": n, "threads": n, "delegates": bool, "shapes": {name: shape}, "memory": bytes}`` and the
model. Answer: ``{"inputs": [...], "outputs": [...]}``, as TensorInfo. Each message after that is one inference:
``{"arrays": [[dtype, shape], ...], "reset": bool}`` and its inputs; the answer lists the outputs. A message with
``{"bytes": n}`` and a model replaces the model, under the first message's options.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from typing import Any, BinaryIO

import numpy as np

from device_agent.tensors.descriptions import describe
from device_agent.tensors.state import keeps_resources, keeps_state


def main() -> int:
    """Answers until standard input ends; the exit status is 0 also where a model is refused."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the runtime prints is not an answer
    requests = sys.stdin.buffer
    first = json.loads(requests.readline())
    _limit_memory(first["memory"])
    try:
        model = _Loaded(requests.read(first["bytes"]), first)
    except _REFUSED as error:
        _send(answers, {"refused": _line(error)})
        return 0
    _send(answers, model.description())
    for line in iter(requests.readline, b""):
        message = json.loads(line)
        if "bytes" in message:
            try:
                model = _Loaded(requests.read(message["bytes"]), first)
                _send(answers, model.description())
            except _REFUSED as error:
                _send(answers, {"refused": _line(error)})
            continue
        arrays = [_read(requests, *kind) for kind in message["arrays"]]
        try:
            outputs = model.run(arrays, message["reset"])
        except _REFUSED as error:
            _send(answers, {"refused": _line(error)})
            continue
        _send(answers, {"arrays": [[a.dtype.str, list(a.shape)] for a in outputs]}, outputs)
    return 0


def prepare() -> None:
    """Imports the runtime beforehand; where there is none, a model's answer says so."""
    with contextlib.suppress(ImportError):
        import ai_edge_litert.interpreter  # noqa: F401


_REFUSED = (ValueError, RuntimeError, MemoryError, OverflowError, SystemError, ImportError)


class _Loaded:
    """One interpreter, which is made again where a state has to be forgotten."""

    def __init__(self, tflite: bytes, options: dict[str, Any]) -> None:
        self.tflite, self.options = tflite, options
        self.fresh = False
        self.load()
        self.keeps_state = keeps_state(self.interpreter)
        self.keeps_resources = keeps_resources(self.interpreter)

    def load(self) -> None:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        kind = {} if self.options["delegates"] else {"experimental_op_resolver_type": resolver}
        self.interpreter = Interpreter(model_content=self.tflite, num_threads=self.options["threads"], **kind)
        self._resize()
        self.interpreter.allocate_tensors()
        self.fresh = True

    def _resize(self) -> None:
        shapes = self.options["shapes"]
        for detail in self.interpreter.get_input_details() if shapes else ():
            shape = shapes.get(str(detail["index"]))
            if shape is not None:
                self.interpreter.resize_tensor_input(detail["index"], shape)

    def description(self) -> dict[str, Any]:
        inputs, outputs = describe(self.interpreter)
        return {
            "inputs": [[i.name, list(i.shape), _code(i.dtype), i.scale, i.zero_point] for i in inputs],
            "outputs": [[o.name, list(o.shape), _code(o.dtype), o.scale, o.zero_point] for o in outputs],
            "tensors": self._tensor_shapes(),
            "keeps_state": self.keeps_state,
        }

    def _tensor_shapes(self) -> list[list[Any]]:
        """Number and shape of every tensor; a delegate takes operators out of the graph, and shapes with them."""
        if self.options["delegates"]:
            return []
        details = self.interpreter.get_tensor_details()
        return [[int(d["index"]), [int(n) for n in d["shape"]]] for d in details]

    def run(self, arrays: list[np.ndarray], reset: bool) -> list[np.ndarray]:
        if reset and not self.fresh and self.keeps_state:
            if self.keeps_resources:
                self.load()
            else:
                self.interpreter.reset_all_variables()
        self.fresh = False
        for detail, array in zip(self.interpreter.get_input_details(), arrays, strict=True):
            self.interpreter.set_tensor(detail["index"], array)
        self.interpreter.invoke()
        outputs = [
            np.asarray(self.interpreter.get_tensor(detail["index"]))
            for detail in self.interpreter.get_output_details()
        ]
        if any(output.dtype.kind not in "fiubc" for output in outputs):
            raise ValueError("an output holds text; numbers can be compared and sent")
        return outputs


def _code(dtype: Any) -> str:
    kind = np.dtype(dtype)
    return kind.str if kind.kind in "fiubc" else "text"


def _read(stream: BinaryIO, dtype: str, shape: list[int]) -> np.ndarray:
    kind = np.dtype(dtype)
    size = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
    return np.frombuffer(stream.read(size), kind).reshape(shape)


def _send(stream: BinaryIO, message: dict[str, Any], arrays: list[np.ndarray] | None = None) -> None:
    stream.write(json.dumps(message).encode() + b"\n")
    for array in arrays or ():
        stream.write(array.tobytes())
    stream.flush()


def _line(error: BaseException) -> str:
    return f"{' '.join(str(error).split()) or type(error).__name__}"[:500]


def _limit_memory(size: int) -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):  # systems without such limits
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (size, size))


if __name__ == "__main__":
    sys.exit(main())
