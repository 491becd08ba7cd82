"""A model that runs on the host, in a process of its own: named inputs to named outputs.

TFLite aborts or corrupts memory on some files. Then that process ends, and the caller gets one error that names the
signal; time and memory are bounded as well.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from device_agent.record.visible import visible
from device_agent.tensors.tensor import TensorInfo, by_name, shape_text
from sdk.errors import ModelError, RuntimeFailed
from sdk.graph.on_host.model_processes import start_process
from sdk.graph.on_host.refusals import hint_for
from sdk.tools.system.pipes import Blocks

#: How long loading and one inference may take; the slowest network of the zoo needs a second.
LOAD_SECONDS = 120.0
RUN_SECONDS = 120.0
#: Of the machine's memory, the share that the process may address.
MEMORY_SHARE = 0.75
#: An answer's line has at most this many bytes, and its arrays together.
MAX_LINE_BYTES = 1 << 24
MAX_ARRAY_BYTES = 1 << 31
#: The process may always address this many bytes.
LEAST_MEMORY_BYTES = 4 << 30
#: Of what the runtime prints, the end that is looked at.
SAID_BYTES = 4000


class HostModel:
    """A ``.tflite`` in the host's TFLite runtime. A context manager; :meth:`close` ends its process.

    ``delegates``: with XNNPACK, as the runtime chooses by itself; without it, its reference kernels answer. ``shapes``:
    by position, for inputs that get another shape than that of the file. ``inputs`` and ``outputs`` are the runtime's
    descriptions. Raises ModelError when the runtime refuses the model, RuntimeFailed when it crashes or takes too long.
    """

    def __init__(
        self,
        tflite: bytes,
        *,
        threads: int = 1,
        delegates: bool = True,
        shapes: Mapping[int, Sequence[int]] | None = None,
        run_seconds: float = RUN_SECONDS,
    ) -> None:
        self._run_seconds = run_seconds
        self._arrived = bytearray()
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        self._process = start_process(self._said)
        assert self._process.stdout is not None
        self._blocks = Blocks(self._process.stdout)
        try:
            first = {
                "bytes": len(tflite),
                "threads": threads,
                "delegates": delegates,
                "shapes": {str(index): list(shape) for index, shape in (shapes or {}).items()},
                "memory": _memory_limit(),
            }
            self._send(first, [tflite])
            answer = self._answer("loads the model", LOAD_SECONDS)
        except BaseException:
            self.close()
            raise
        self._describe(answer)

    def replace(self, tflite: bytes) -> None:
        """Puts another model in the place of this one, in the same process: sooner than a new process. Raises as the
        first did; where it was refused, the model of before answers on."""
        self._send({"bytes": len(tflite)}, [tflite])
        self._describe(self._answer("loads the model", LOAD_SECONDS))

    def _describe(self, answer: Mapping[str, Any]) -> None:
        self.inputs = tuple(_info(one) for one in answer["inputs"])
        self.outputs = tuple(_info(one) for one in answer["outputs"])
        #: Whether an inference leaves something in the model that the next one sees.
        self.keeps_state = bool(answer["keeps_state"])
        #: Without delegates the shape of every tensor of the first subgraph, by number.
        self.tensor_shapes = {
            int(number): tuple(int(n) for n in shape) for number, shape in answer["tensors"]
        }

    def run(self, arrays: Any, *, reset: bool = False) -> dict[str, np.ndarray]:
        """Every output by name, each in its own shape such as (1, 1000) and in its own dtype.

        ``arrays``: every input, by name or in order, in its own shape; real values become stored ones. With ``reset``
        a model with a state forgets what came before. Raises ModelError or DataError.
        """
        stored = []
        for info, array in zip(self.inputs, by_name(self.inputs, arrays, "input"), strict=True):
            array = np.asarray(array)
            if array.shape != info.shape:
                raise ModelError(
                    f"the input {visible(info.name, most=80)} has another shape",
                    expected=shape_text(info.shape),
                    found=shape_text(array.shape),
                )
            stored.append(np.ascontiguousarray(info.to_stored(array)).reshape(info.shape))
        message = {"arrays": [[a.dtype.str, list(a.shape)] for a in stored], "reset": reset}
        self._send(message, [a.tobytes() for a in stored])
        answer = self._answer("runs the model", self._run_seconds)
        outputs = self._arrays(answer["arrays"], self._run_seconds)
        return dict(zip((info.name for info in self.outputs), outputs, strict=True))

    def run_real(self, arrays: Any, *, reset: bool = False) -> dict[str, np.ndarray]:
        """As :meth:`run`, of the same shapes such as (1, 1000), with real values.

        Real values are float32, or of an output's own type where it holds plain integers.
        """
        stored = self.run(arrays, reset=reset)
        return {info.name: info.to_real(stored[info.name]) for info in self.outputs}

    def close(self) -> None:
        """Ends the process."""
        if self._process.poll() is None:
            self._process.kill()
        self._blocks.stop()
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                assert stream is not None
                stream.close()
        self._process.wait()
        self._said.close()

    def __enter__(self) -> HostModel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- messages -----------------------------------------------------------------------------------------------

    def _send(self, message: Mapping[str, Any], parts: Sequence[bytes]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            for part in parts:
                self._process.stdin.write(part)
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended; the answer that does not come says how
        except ValueError:  # closed, because it failed before
            raise self._failed("is asked again", "it had ended") from None

    def _answer(self, what: str, seconds: float) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while (end := self._arrived.find(b"\n")) < 0:
            if len(self._arrived) > MAX_LINE_BYTES:
                raise self._failed(f"answers nonsense while it {what}", "a line without an end")
            self._wait(deadline, what, seconds)
        line = bytes(self._arrived[:end])
        del self._arrived[: end + 1]
        answer: dict[str, Any] = json.loads(line)
        if "refused" in answer:
            said = visible(str(answer["refused"]), most=300)
            if "No module named 'ai_edge_litert'" in said:
                raise ModelError(
                    "the host has no TFLite runtime to answer with",
                    expected="the package ai-edge-litert",
                    hint="Install it with: pip install 'armlet[deploy]'.",
                )
            raise ModelError("the TFLite interpreter refuses the model", found=said, hint=hint_for(said))
        return answer

    def _arrays(self, kinds: Sequence[Any], seconds: float) -> list[np.ndarray]:
        deadline = time.monotonic() + seconds
        arrays = []
        for code, shape in kinds:
            dtype = np.dtype(code)
            size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
            if size > MAX_ARRAY_BYTES:
                raise ModelError(
                    "an output is too large", expected=f"{MAX_ARRAY_BYTES} bytes", found=str(size)
                )
            while len(self._arrived) < size:
                self._wait(deadline, "runs the model", seconds)
            arrays.append(np.frombuffer(bytes(self._arrived[:size]), dtype).reshape(shape))
            del self._arrived[:size]
        return arrays

    def _wait(self, deadline: float, what: str, seconds: float) -> None:
        """Adds what the process has written. Raises ModelError when it has ended, or is too slow."""
        arrived = self._blocks.next(deadline)
        if arrived is None:
            raise self._failed(f"takes too long while it {what}", f"no answer within {seconds:g} s")
        _, block = arrived
        if not block:
            raise self._failed(f"crashes while it {what}", self._how_it_ended())
        self._arrived += block

    def _how_it_ended(self) -> str:
        status = self._process.wait()
        if status >= 0:
            return f"exit status {status}{self._last_words()}"
        with contextlib.suppress(ValueError):
            return f"signal {signal.Signals(-status).name}{self._last_words()}"
        return f"signal {-status}"

    def _last_words(self) -> str:
        """The last line that the runtime printed, without its notices."""
        self._said.seek(0, os.SEEK_END)
        self._said.seek(max(0, self._said.tell() - SAID_BYTES))
        lines = [line.strip() for line in self._said.read().decode("utf-8", "replace").splitlines()]
        told = [line for line in lines if line and not line.startswith(("INFO", "WARNING"))]
        return f": {visible(told[-1], most=200)}" if told else ""

    def _failed(self, what: str, found: str) -> RuntimeFailed:
        self.close()
        return RuntimeFailed(
            f"the TFLite runtime {what}",
            expected="a model that it runs",
            found=found,
            hint="This is a fault of the model or of the runtime. Nothing was sent to a board.",
        )


def _memory_limit() -> int:
    """Bytes of addresses that the process may use."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not POSIX
        return LEAST_MEMORY_BYTES
    return max(LEAST_MEMORY_BYTES, int(MEMORY_SHARE * total))


def _info(said: Sequence[Any]) -> TensorInfo:
    name, shape, code, scale, zero_point = said
    dtype = np.dtype(object) if code == "text" else np.dtype(code)
    return TensorInfo(str(name), tuple(int(n) for n in shape), dtype, float(scale), int(zero_point))
