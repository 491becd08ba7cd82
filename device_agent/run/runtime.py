"""One small interface over the TFLite runtimes that a board may have.

``ai-edge-litert`` (module ``ai_edge_litert``) is the successor of ``tflite-runtime`` (module ``tflite_runtime``);
both have the same ``Interpreter`` class. Armlet puts exactly one of them into the environment of a board, so the
order in ``MODULES`` matters only where somebody installed both in one folder.
"""

from __future__ import annotations

import importlib
import mmap
import platform
import time
import traceback
from dataclasses import dataclass
from typing import Any, Callable, Sequence

import numpy as np

from device_agent.errors import AgentError, RuntimeUnavailable
from device_agent.run.installed import MODULES, by_place, version_of
from device_agent.run.kernels.delegate import Delegate, OperatorReport
from device_agent.run.kernels.supply import Supply
from device_agent.tensors.descriptions import describe
from device_agent.tensors.state import keeps_resources, keeps_state, operators_of
from device_agent.tensors.tensor import by_name, shape_text

#: Bytes 4 to 8 of every .tflite file (flatbuffers' file identifier, ``schema.fbs`` of TensorFlow Lite).
FILE_IDENTIFIER = b"TFL3"
#: Layers that XNNPACK takes wherever it is used.
_LAYERS = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"})


@dataclass(frozen=True)
class RuntimeIdentity:
    """Which runtime is installed: distribution name, its version, and numpy's."""

    name: str
    version: str
    numpy_version: str


def find_runtime() -> tuple[RuntimeIdentity, Callable[..., Any]]:
    """The runtime that is installed and its ``Interpreter`` class.

    Raises RuntimeUnavailable when none is installed, with what each import said.
    """
    said = []
    for module_name, distribution in by_place(MODULES):
        try:
            module = importlib.import_module(module_name)
            interpreter = importlib.import_module(module_name + ".interpreter").Interpreter
        except ImportError as error:
            said.append(f"{distribution}: {error}")
            continue
        version = version_of(distribution, module_name)
        if version == "unknown":  # a tree without its .dist-info still runs; the version is only a label
            version = str(getattr(module, "__version__", version))
        return RuntimeIdentity(distribution, version, np.__version__), interpreter
    raise RuntimeUnavailable(
        "no TFLite runtime can be imported",
        expected=" or ".join(distribution for _, distribution in MODULES),
        found="; ".join(said),
        hint="Deploy with `sdk deploy`, which installs one, or install one where the agent runs.",
    )


class Model:
    """A model that is loaded and ready to run.

    ``init_seconds`` is the time from the bytes to allocated tensors, delegates included. ``delegate`` says
    "xnnpack" when the runtime handed operators to XNNPACK, "none" when it silently did not (seen where
    /sys/devices/system/cpu is missing), "armlet" when Armlet's kernels left no layer to hand over, and "unknown" when
    the runtime does not report it. ``kernels`` "armlet" gives layers with zeros to :mod:`device_agent.run.kernels`,
    "runtime" leaves all to the runtime. With a ``supply``, for the former alone, ``data`` is its content.
    """

    def __init__(
        self, data: bytes, *, threads: int = 1, kernels: str = "runtime", supply: Supply | None = None
    ) -> None:
        if threads < 1:
            raise AgentError("the number of threads is wrong", expected="1 or more", found=str(threads))
        if data[4:8] != FILE_IDENTIFIER:
            raise AgentError(
                "these bytes are not a TFLite model",
                expected="the identifier TFL3 at byte 4",
                found=repr(bytes(data[4:8])),
            )
        self.identity, interpreter_class = find_runtime()
        self.threads = threads
        #: The interpreter reads its weights from these very bytes; with a supply, some are not there.
        self.content: bytes | mmap.mmap = data
        self._supply = supply
        self._interpreter_class = interpreter_class
        self._kernels = kernels
        self._armlet: Delegate | None = None
        start = time.perf_counter()
        interpreter = self._interpreter_of()
        self.init_seconds = time.perf_counter() - start
        #: The file that its packed weights are mapped from; None where it packed them into memory of its own.
        self.weight_cache: str | None = None
        self._interpreter = interpreter
        self.inputs, self.outputs = describe(interpreter)
        self._input_indices = tuple(int(d["index"]) for d in interpreter.get_input_details())
        self._output_indices = tuple(int(d["index"]) for d in interpreter.get_output_details())
        self.delegate = _delegate(interpreter, self.armlet_operators())
        #: Runs the graph on the inputs that are set; nothing else is timed when this is.
        self.invoke: Callable[[], None] = interpreter.invoke

    @property
    def tflite(self) -> bytes | mmap.mmap:
        """What it runs. Where weights came from a package without their floats, it is decoded again."""
        return self.content if self._supply is None else self._supply.unpack()

    def _interpreter_of(self) -> Any:
        if self._supply is not None and self._armlet is not None:  # a model that is loaded again
            self.content, self._supply = self._supply.unpack(), None
        handles = []
        if self._kernels == "armlet":
            module = self._interpreter_class.__module__
            self._armlet = Delegate(self.identity.name, self.identity.version, module)
            handles = [self._armlet.handle]
            if self._supply is not None:
                self._supply.offer(self._armlet)
        try:
            interpreter = self._interpreter_class(
                model_content=self.content, num_threads=self.threads, experimental_delegates=handles
            )
            if self._armlet is not None:
                self._armlet.outlive(interpreter)
            taken = self._end_supply(interpreter)
            interpreter.allocate_tensors()
        except SystemError as error:
            raise self._unusable(error) from error
        except (ValueError, RuntimeError) as error:
            # An interpreter that was half made ends here, before its delegate.
            traceback.clear_frames(error.__traceback__)
            raise AgentError(
                f"{self.identity.name} {self.identity.version} refused the model",
                found=" ".join(str(error).split())[:300],
            ) from error
        # A runtime that cannot use a delegate of its own takes all of them away; the floats would not be there.
        if taken and len(self.armlet_operators()) < taken:
            raise AgentError(
                f"{self.identity.name} {self.identity.version} took the model's kernels away again"
            )
        return interpreter

    def _end_supply(self, interpreter: Any) -> int:
        """Has the floats written that the runtime needs; how many tensors stay without."""
        if self._supply is None or self._armlet is None:
            return 0
        taken = self._armlet.end_supply([int(d["index"]) for d in interpreter.get_output_details()])
        if not taken:
            self._supply = None
        return taken

    def _unusable(self, error: SystemError) -> RuntimeUnavailable:
        # Built against numpy 1, tflite-runtime imports under numpy 2 and fails only when a model is loaded.
        if self.identity.name == "tflite-runtime" and int(np.__version__.split(".")[0]) >= 2:
            return RuntimeUnavailable(
                f"tflite-runtime {self.identity.version} cannot work with this numpy",
                expected="numpy below 2",
                found=f"numpy {np.__version__}",
                hint="Install numpy<2 beside it, or use ai-edge-litert.",
            )
        return RuntimeUnavailable(
            f"{self.identity.name} {self.identity.version} failed to load a model",
            found=f"{error} (numpy {np.__version__}, Python {platform.python_version()})",
        )

    def set_input(self, array: np.ndarray, position: int = 0) -> None:
        """Puts one input in place, of the shape of ``inputs[position]`` such as (1, 224, 224, 3).

        Real values become stored ones (:meth:`device_agent.tensors.tensor.TensorInfo.to_stored`). Raises AgentError
        for another shape, DataError for values that the input cannot hold.
        """
        info = self.inputs[position]
        array = np.asarray(array)
        if array.shape != info.shape:
            raise AgentError(
                f"the input has the wrong shape (input {position}, {info.name!r})",
                expected=shape_text(info.shape),
                found=shape_text(array.shape),
            )
        array = info.to_stored(array)
        self._interpreter.set_tensor(self._input_indices[position], np.ascontiguousarray(array))

    def fill_input(self, write: Callable[[np.ndarray], Any]) -> None:
        """Lets ``write`` fill the memory of the first input, which saves a copy.

        It gets the array itself, of the shape and dtype of ``inputs[0]`` such as (1, 224, 224, 3), and must not keep
        it.
        """
        write(self._interpreter.tensor(self._input_indices[0])())

    def get_input(self, position: int = 0) -> np.ndarray:
        """A copy of one input as it was set: the shape of ``inputs[position]``, and its dtype."""
        return self._interpreter.get_tensor(self._input_indices[position])

    def get_output(self, position: int = 0) -> np.ndarray:
        """A copy of one output as the graph left it: the shape of ``outputs[position]``, and its dtype."""
        return self._interpreter.get_tensor(self._output_indices[position])

    def run(self, *arrays: np.ndarray, output: int = 0) -> np.ndarray:
        """One output of an inference, by its position, in its own shape such as (1, 1000) and its own dtype.

        ``arrays``: one per input, each as :meth:`set_input` takes it. Raises AgentError or DataError.
        """
        self._run(arrays)
        return self.get_output(output)

    def run_all(self, arrays: Any) -> dict[str, np.ndarray]:
        """Every output of one inference by name, each in its own shape such as (1, 1000) and in its own dtype.

        ``arrays``: a dict with every input by name, a list in their order, or the only input; each as
        :meth:`set_input` takes it. Raises AgentError or DataError.
        """
        self._run(by_name(self.inputs, arrays, "input"))
        return {info.name: self.get_output(position) for position, info in enumerate(self.outputs)}

    def _run(self, arrays: Sequence[np.ndarray]) -> None:
        for position, array in enumerate(by_name(self.inputs, list(arrays), "input")):
            self.set_input(array, position)
        self.invoke()

    def armlet_operators(self) -> tuple[OperatorReport, ...]:
        """The operators that run in kernels of Armlet, and their times where those were asked for."""
        return () if self._armlet is None else self._armlet.operators()

    def time_armlet_operators(self, on: bool = True) -> None:
        """Begins to time the operators that run in kernels of Armlet, from zero, or ends it."""
        if self._armlet is not None:
            self._armlet.time_operators(on)

    @property
    def is_stateful(self) -> bool:
        """Whether an inference leaves something in the model that the next one sees."""
        return keeps_state(self._interpreter)

    def reset(self) -> None:
        """Forgets what earlier inferences left in the variables of a recurrent or streaming model.

        A model that keeps its state in resource variables sets them up once, when it is loaded; it is loaded again.
        """
        if keeps_resources(self._interpreter):
            self._interpreter = self._interpreter_of()
            self.invoke = self._interpreter.invoke
        elif self.is_stateful:
            self._interpreter.reset_all_variables()


def _delegate(interpreter: Any, ours: Sequence[OperatorReport]) -> str:
    """See :class:`Model`; ``ours``: the operators that run in kernels of Armlet."""
    operators = operators_of(interpreter)
    if not operators:
        return "unknown"
    made = {tensor for report in ours if report.node >= 0 for tensor in operators[report.node]["outputs"]}
    left = [operator for operator in operators if made.isdisjoint(operator["outputs"])]
    names = {operator["op_name"] for operator in left}
    # The node that stands for a delegated part of the graph is called DELEGATE, and writes what that part does. One
    # that is not Armlet's can only be XNNPACK's, on a CPU-only interpreter with default resolvers.
    if "DELEGATE" in names:
        return "xnnpack"
    return "armlet" if made and not names & _LAYERS else "none"
