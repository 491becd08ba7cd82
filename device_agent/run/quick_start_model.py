"""A model that starts from :mod:`device_agent.store.quick_starts`: nothing is decoded and nothing packed, both
files are mapped."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Callable

import numpy as np

from device_agent.errors import AgentError
from device_agent.run.litert_api import Buffer, CompiledModel
from device_agent.run.runtime import Model, RuntimeIdentity
from device_agent.store.quick_starts import QuickStart
from device_agent.tensors.tensor import TensorInfo


class QuickStartModel(Model):
    """As :class:`device_agent.run.runtime.Model`, from a start that was made before."""

    def __init__(self, start: QuickStart, *, threads: int = 1) -> None:
        if threads < 1:
            raise AgentError("the number of threads is wrong", expected="1 or more", found=str(threads))
        begun = time.perf_counter()
        name, _, version = start.runtime.partition(" ")
        self.identity = RuntimeIdentity(name, version, np.__version__)
        self.threads = threads
        self.content: Buffer = start.map_model()
        self._supply = None
        self.weight_cache: str | None = str(start.weights_path)
        compiled = CompiledModel(self.content, threads=threads, weight_cache=self.weight_cache)
        self.inputs = _infos(compiled.inputs, start.inputs)
        self.outputs = _infos(compiled.outputs, start.outputs)
        self._interpreter: Any = _Arrays(compiled)
        self._input_indices = tuple(range(len(self.inputs)))
        self._output_indices = tuple(range(len(self.inputs), len(self.inputs) + len(self.outputs)))
        self._armlet = None  # a start is made for the runtime's own kernels
        self.delegate = "xnnpack"  # who else would have packed the weights
        self.invoke: Callable[[], None] = compiled.run
        self.init_seconds = time.perf_counter() - begun

    @property
    def is_stateful(self) -> bool:
        """False: no start is made of a model with a state."""
        return False

    def reset(self) -> None:
        """Does nothing: there is no state."""

    @staticmethod
    def pack(tflite: bytes, weights: Path) -> None:
        """Lets XNNPACK write its packed weights to a file."""
        CompiledModel(tflite, weight_cache=str(weights)).close()

    def require_same_answers(self, reference: Model) -> None:
        """Raises AgentError unless one inference on the inputs of ``reference`` gives the very same outputs."""
        if [(i.shape, i.dtype) for i in self.inputs] != [(i.shape, i.dtype) for i in reference.inputs]:
            raise AgentError("a compiled model takes other inputs than the interpreter")
        for position in range(len(self.inputs)):
            self.set_input(reference.get_input(position), position)
        self.invoke()
        reference.invoke()
        for position, info in enumerate(reference.outputs):
            if reference.get_output(position).shape != info.shape:
                raise AgentError("the shape of an output depends on the input")
            if self.get_output(position).tobytes() != reference.get_output(position).tobytes():
                raise AgentError("a compiled model gives other answers than the interpreter")


class _Arrays:
    """The part of ``Interpreter`` that :class:`Model` uses, over a compiled model; inputs are numbered first."""

    def __init__(self, compiled: CompiledModel) -> None:
        self._compiled = compiled  # its memory is what the arrays are views of
        self._arrays = (*compiled.inputs, *compiled.outputs)

    def set_tensor(self, index: int, array: np.ndarray) -> None:
        self._arrays[index][...] = array

    def tensor(self, index: int) -> Callable[[], np.ndarray]:
        return lambda: self._arrays[index]

    def get_tensor(self, index: int) -> np.ndarray:
        return self._arrays[index].copy()


def _infos(
    arrays: tuple[np.ndarray, ...], recorded: tuple[tuple[str, float, int], ...]
) -> tuple[TensorInfo, ...]:
    if len(arrays) != len(recorded):
        raise AgentError("a compiled model has another number of values", found=str(len(arrays)))
    return tuple(
        TensorInfo(name, array.shape, array.dtype, scale, zero_point)
        for array, (name, scale, zero_point) in zip(arrays, recorded)
    )
