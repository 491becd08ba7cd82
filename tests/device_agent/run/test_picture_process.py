"""Pictures are decoded in a child that may hang, die or ask for all memory: the parent gets an error and goes on."""

from __future__ import annotations

import io
import sys
import time

import numpy as np
import pytest
from PIL import Image

from device_agent.errors import DataError
from device_agent.image import pictures
from device_agent.run import picture_process
from device_agent.run.picture_process import PictureProcess


def encoded(pixels: np.ndarray, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


@pytest.fixture
def decoder():
    process = PictureProcess()
    yield process
    process.close()


def test_a_child_gives_the_same_pixels_and_the_same_errors(decoder: PictureProcess) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (37, 53, 3), np.uint8)
    for data in (encoded(pixels), encoded(pixels, "JPEG", progressive=True)):
        np.testing.assert_array_equal(decoder.decode(data, 30), pictures.decode(data))
    child = decoder.child
    for broken in (b"", b"no picture", encoded(pixels)[:200]):
        with pytest.raises(DataError) as here:
            pictures.decode(broken)
        with pytest.raises(DataError) as there:
            decoder.decode(broken, 30)
        assert str(there.value) == str(here.value)
    assert decoder.child is child


def test_a_child_that_hangs_or_dies_is_replaced(decoder: PictureProcess, monkeypatch) -> None:
    pixels = np.zeros((8, 8, 3), np.uint8)
    right = encoded(pixels)
    decoder.decode(right, 30)
    child = decoder.child
    assert child is not None
    child.send_signal(19)  # SIGSTOP
    start = time.monotonic()
    with pytest.raises(DataError, match=r"in time.*none"):
        decoder.decode(right, 0.2)
    assert time.monotonic() - start < 5
    assert child.poll() is not None
    np.testing.assert_array_equal(decoder.decode(right, 30), pixels)
    assert decoder.child is not None
    decoder.child.kill()
    decoder.child.wait()
    with pytest.raises(DataError, match="died of it"):
        decoder.decode(right, 30)
    np.testing.assert_array_equal(decoder.decode(right, 30), pixels)


def test_memory_of_the_child_is_bounded(decoder: PictureProcess, monkeypatch) -> None:
    large = encoded(np.zeros((4000, 4000, 3), np.uint8))  # 46 kB; just below the most pixels
    assert decoder.decode(large, 60).shape == (4000, 4000, 3)
    decoder.close()
    monkeypatch.setattr(picture_process, "python_command", lambda module: tight(20))
    with pytest.raises(DataError, match=r"at most 20 MB|died of it|cannot be decoded"):
        decoder.decode(large, 60)


def tight(megabytes: int) -> list[str]:
    """A child that may take less."""
    program = (
        "import os, socket; from device_agent.run import picture_process as p; "
        f"p.MOST_MEMORY_BYTES = {megabytes} << 20; p.serve(socket.socket(fileno=os.dup(0)))"
    )
    return [sys.executable, "-c", program]


def test_scans_of_a_jpeg_are_counted_before_it_is_decoded() -> None:
    data = encoded(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8), "JPEG", progressive=True)
    head, scan = data[:-2], data[data.rindex(b"\xff\xda") : -2]
    assert 1 < data.count(b"\xff\xda") < 20
    many = head + scan * pictures.MAX_JPEG_SCANS + data[-2:]
    with pytest.raises(DataError, match=r"too many scans.*at most 128"):
        pictures.decode(many)
    pictures.decode(head + scan * 50 + data[-2:])  # odd, and harmless
