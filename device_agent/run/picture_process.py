"""Decodes pictures of strangers in a process of its own, which may hang, crash or want all memory without harm.

Parent and child speak over a pair of sockets. The parent sends the length of a picture and its bytes; the child answers
with the sizes of two parts and the parts: an error in JSON, or the pixels. The child lives as long as its parent, and
is replaced when it does not answer in time. ``python3 -m device_agent.run.picture_process`` is the child.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import socket
import struct
import subprocess
import time
from typing import Any

import numpy as np

from device_agent.errors import AgentError, DataError
from device_agent.image import pictures
from device_agent.run.fresh_process import python_command

#: No picture may take longer, whatever the request would wait.
MOST_SECONDS = 10.0
#: Bytes beyond what the child needs before its first picture: pixels of the largest one in the forms that a decoder
#: goes through.
MOST_MEMORY_BYTES = 512 << 20

_LENGTH = struct.Struct("<Q")
#: Bytes of the error, height and width of the picture.
_ANSWER = struct.Struct("<QQQ")
_MAX_ERROR_BYTES = 1 << 14


class PictureProcess:
    """A decoder in a child, started by the first picture. For one thread at a time."""

    def __init__(self) -> None:
        #: The child that runs; None before the first picture, and after one that ended it.
        self.child: subprocess.Popen | None = None
        self._channel: socket.socket | None = None

    def decode(self, data: Any, seconds: float) -> np.ndarray:
        """The pixels (height, width, 3) uint8, as :func:`device_agent.image.pictures.decode` gives them.

        Raises DataError, also for a picture that is not decoded within ``seconds`` or that ends the child.
        """
        end = time.monotonic() + min(seconds, MOST_SECONDS)
        try:
            return self._ask(data, end)
        except socket.timeout:
            found = "none"
        except (OSError, EOFError):
            found = "the decoder died of it"
        except DataError:
            raise
        except BaseException:  # where the child stands in its answer nobody knows
            self.close()
            raise
        self.close()
        raise DataError(
            "the image cannot be decoded",
            expected="an image in time, of a decoder with bounded memory",
            found=found,
        )

    def _ask(self, data: Any, end: float) -> np.ndarray:
        channel = self._started()
        channel.settimeout(max(0.001, end - time.monotonic()))
        channel.sendall(_LENGTH.pack(len(data)))
        channel.sendall(data)
        error_size, height, width = _ANSWER.unpack(_received(channel, _ANSWER.size, end))
        if error_size:
            parts = json.loads(_received(channel, min(error_size, _MAX_ERROR_BYTES), end))
            raise DataError(
                parts["what"], expected=parts["expected"], found=parts["found"], hint=parts["hint"]
            )
        if height * width > pictures.MAX_PIXELS:
            raise EOFError
        pixels = np.frombuffer(_received(channel, 3 * height * width, end), np.uint8)
        return pixels.reshape(height, width, 3)

    def _started(self) -> socket.socket:
        if self._channel is not None:
            return self._channel
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self.child = subprocess.Popen(
                    python_command("device_agent.run.picture_process"),
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
                )
            except OSError as error:
                ours.close()
                raise AgentError("no process can be started to decode an image", found=str(error)) from None
        self._channel = ours
        return ours

    def __del__(self) -> None:
        """With the thread that it decoded for."""
        self.close()

    def close(self) -> None:
        """Ends the child; the next picture starts another."""
        if self._channel is not None:
            self._channel.close()
        if self.child is not None:
            self.child.kill()
            self.child.wait()
        self.child = self._channel = None


def _received(channel: socket.socket, count: int, end: float) -> bytearray:
    """``count`` bytes. Raises socket.timeout, and EOFError where the other side has ended."""
    data = bytearray(count)
    taken = 0
    with memoryview(data) as view:
        while taken < count:
            channel.settimeout(max(0.001, end - time.monotonic()))
            block = channel.recv_into(view[taken:])
            if not block:
                raise EOFError
            taken += block
    return data


# -- the child --------------------------------------------------------------------------------------------------------


def serve(channel: socket.socket) -> None:
    """Answers until the other side ends."""
    pictures.require_decoder()
    _bound_memory()
    while True:
        head = channel.recv(_LENGTH.size, socket.MSG_WAITALL)
        if len(head) < _LENGTH.size:
            return
        (size,) = _LENGTH.unpack(head)
        data = bytearray(size)
        if channel.recv_into(data, size, socket.MSG_WAITALL) < size:
            return
        error, pixels = _decoded(data)
        height, width = (0, 0) if error else pixels.shape[:2]
        channel.sendall(_ANSWER.pack(len(error), height, width))
        channel.sendall(error or memoryview(pixels).cast("B"))


def _decoded(data: bytearray) -> tuple[bytes, Any]:
    """An error in JSON, or pixels."""
    try:
        return b"", np.ascontiguousarray(pictures.decode(data))
    except DataError as error:
        return json.dumps(error.to_json()).encode()[:_MAX_ERROR_BYTES], None
    except MemoryError:
        most = f"one that takes at most {MOST_MEMORY_BYTES >> 20} MB"
        refused = DataError("the image cannot be decoded", expected=most)
        return json.dumps(refused.to_json()).encode(), None


def _bound_memory() -> None:
    """What the child may take from now on; and where memory runs out, it is to go before its parent."""
    with contextlib.suppress(OSError, ValueError):
        with open("/proc/self/status") as file:
            fields = dict(line.split(":", 1) for line in file)
        now = int(fields["VmData"].split()[0]) << 10
        resource.setrlimit(resource.RLIMIT_DATA, (now + MOST_MEMORY_BYTES, now + MOST_MEMORY_BYTES))
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")


if __name__ == "__main__":
    serve(socket.socket(fileno=os.dup(0)))
