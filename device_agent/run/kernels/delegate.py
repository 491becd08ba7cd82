"""The delegate (delegate.c), loaded into the runtime; what it says of the operators that it runs.

A library that does not load, is of another version, or meets a runtime whose structures it does not know, is not
used: :class:`KernelsUnavailable` says why.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import weakref
from pathlib import Path
from typing import Any, NamedTuple, Sequence

from device_agent.errors import AgentError
from device_agent.package.pushed_library import PushedLibrary

VERSION = 3  # armlet_kernels_version of delegate.c
VARIABLE = "ARMLET_DELEGATE"  # environment: path of the shared library
FILE = "_delegate.so"  # beside this module

#: What runs a model's operators: chosen at the deploy by time; the runtime alone; the delegate wherever it can.
CHOICES = ("auto", "runtime", "armlet")
#: Environment of a process: which of them it uses where a call says "auto".
CHOICE_VARIABLE = "ARMLET_KERNELS"
#: The environment of a process that shall leave everything to the runtime.
RUNTIME_ALONE = {CHOICE_VARIABLE: "runtime"}
#: Distributions and the versions (major and minor) whose structures tflite.h describes.
KNOWN_RUNTIMES = {"tflite-runtime": ("2.14",), "ai-edge-litert": ("2.3",)}
#: More operators than this are not listed.
MAX_OPERATORS = 4096

_LIBRARY = PushedLibrary(VARIABLE, Path(__file__).with_name(FILE))
use, find = _LIBRARY.use, _LIBRARY.find


class KernelsUnavailable(AgentError):
    """The delegate was asked for, and there is none, or it does not work with this machine or runtime."""


class OperatorReport(NamedTuple):
    """One operator that runs in the delegate.

    ``node``: its number in the graph, -1 in a graph that another operator runs, such as WHILE; ``code``:
    BuiltinOperator; ``block``: rows that share a zero; ``centroids``: 0 where weights stand as floats; ``weights`` and
    ``kept``: elements, and those that are not zero; ``packed_bytes`` of the weights in memory; ``seconds`` of one call,
    None where none was timed.
    """

    node: int
    code: int
    block: int
    centroids: int
    weights: int
    kept: int
    packed_bytes: int
    seconds: float | None

    @property
    def float_bytes(self) -> int:
        """Bytes of the weights as floats."""
        return 4 * self.weights


class _Report(ctypes.Structure):
    """``Report`` of images.h."""

    _fields_ = (
        ("node", ctypes.c_int32),
        ("code", ctypes.c_int32),
        ("block", ctypes.c_uint32),
        ("centroids", ctypes.c_uint32),
        ("weights", ctypes.c_uint64),
        ("kept", ctypes.c_uint64),
        ("bytes", ctypes.c_uint64),
        ("nanoseconds", ctypes.c_uint64),
        ("calls", ctypes.c_uint64),
    )


class Delegate:
    """A delegate for one interpreter. ``handle`` goes to the runtime's ``Interpreter(experimental_delegates=...)``.

    ``runtime`` and ``version`` are the distribution's; ``module`` holds its ``load_delegate``. ``everything`` claims
    layers that have few zeros, too. Raises KernelsUnavailable.
    """

    def __init__(self, runtime: str, version: str, module: str, *, everything: bool = False) -> None:
        path = find()
        if path is not None:
            require_known(runtime, version)
        self._library = load_library(path)
        # Asked for in words: the environment is for programs that load the library themselves.
        options = {"kernels": "armlet", **({"claim": "everything"} if everything else {})}
        try:
            self.handle: Any = importlib.import_module(module).load_delegate(path, options)
            pointer = self.handle._get_native_delegate_pointer()  # noqa: SLF001 - no public method gives it
        except (ImportError, AttributeError, OSError, ValueError, RuntimeError) as error:
            raise KernelsUnavailable(
                "the runtime does not load the kernels of Armlet", found=" ".join(str(error).split())[:300]
            ) from error
        self._pointer = ctypes.c_void_p(pointer)

    def outlive(self, interpreter: Any) -> None:
        """Lets go of the delegate after the interpreter, in whatever order the collector of cycles ends the two.

        The runtime's classes rely on counts of references: ended the other way round, they read freed memory.
        """
        weakref.finalize(interpreter, _let_go, self.handle).atexit = False

    def operators(self) -> tuple[OperatorReport, ...]:
        """What runs here, in the order of the graph; () where the delegate claimed nothing."""
        reports = (_Report * MAX_OPERATORS)()
        count = self._library.armlet_operators(self._pointer, reports, MAX_OPERATORS)
        found = [
            OperatorReport(
                r.node,
                r.code,
                r.block,
                r.centroids,
                r.weights,
                r.kept,
                r.bytes,
                r.nanoseconds * 1e-9 / r.calls if r.calls else None,
            )
            for r in reports[: min(count, MAX_OPERATORS)]
        ]
        return tuple(sorted(found))

    def supply(self, address: int, size: int, flat: int) -> bool:
        """Hands over a flat, the weights whose floats are the ``size`` bytes at an address of the model, before the
        interpreter is made (:mod:`device_agent.run.kernels.supply`); False where memory is short."""
        return bool(self._library.armlet_supply(self._pointer, address, size, flat))

    def end_supply(self, outputs: Sequence[int]) -> int:
        """When the interpreter is made, with the numbers of its outputs: writes the floats that the runtime needs; how
        many flats were packed."""
        numbers = (ctypes.c_int32 * max(len(outputs), 1))(*outputs)
        return int(self._library.armlet_end_supply(self._pointer, numbers, len(outputs)))

    def time_operators(self, on: bool = True) -> None:
        """Begins to time the operators of every inference, from zero, or ends it."""
        self._library.armlet_time_operators(self._pointer, int(on))


def _let_go(handle: Any) -> None:
    """Nothing: until it was called, the handle was held."""


def require_known(runtime: str, version: str) -> None:
    """Raises KernelsUnavailable where the structures of this runtime are not known to be those of tflite.h."""
    known: Sequence[str] = KNOWN_RUNTIMES.get(runtime, ())
    if ".".join(version.split(".")[:2]) not in known:
        raise KernelsUnavailable(
            "the kernels of Armlet do not know this runtime",
            expected=", ".join(f"{name} {one}" for name, ones in KNOWN_RUNTIMES.items() for one in ones),
            found=f"{runtime} {version}",
        )


def load_library(path: str | None = None) -> Any:
    """The library at a path, or where :func:`find` finds it; raises KernelsUnavailable."""
    path = path or find()
    if path is None:
        raise KernelsUnavailable(
            "there are no kernels of Armlet here",
            hint=f"Deploy again, which brings them, or set {VARIABLE} to the library's path.",
        )
    try:
        library = ctypes.CDLL(path)
        version = ctypes.c_uint32.in_dll(library, "armlet_kernels_version").value
        library.armlet_operators.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint32]
        library.armlet_operators.restype = ctypes.c_uint32
        library.armlet_time_operators.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
        library.armlet_time_operators.restype = None
        library.armlet_supply.argtypes = [*[ctypes.c_void_p] * 2, ctypes.c_uint64, ctypes.c_void_p]
        library.armlet_end_supply.argtypes = [*[ctypes.c_void_p] * 2, ctypes.c_uint32]
        library.flat_start.restype = ctypes.c_void_p
        library.flat_add.argtypes = [*[ctypes.c_void_p] * 2, ctypes.c_uint64]
        library.flat_free.argtypes = [ctypes.c_void_p]
        library.flat_free.restype = None
    except (OSError, ValueError, AttributeError) as error:
        raise KernelsUnavailable("the kernels of Armlet do not load", found=f"{path}: {error}") from error
    if version != VERSION:
        raise KernelsUnavailable(
            "the kernels of Armlet are of another version",
            expected=str(VERSION),
            found=f"{version} in {path}",
        )
    return library


def asked(kernels: str = "auto") -> str:
    """One of :data:`CHOICES`: ``kernels``, or for "auto" what the environment says. Raises KernelsUnavailable."""
    chosen = os.environ.get(CHOICE_VARIABLE, "auto") if kernels == "auto" else kernels
    if chosen not in CHOICES:
        raise KernelsUnavailable("unknown kernels", expected=", ".join(CHOICES), found=repr(chosen)[:80])
    return chosen


def are_there() -> bool:
    """Whether a library is found that loads; whether a runtime takes it is another question."""
    with contextlib.suppress(KernelsUnavailable):
        return load_library() is not None
    return False
