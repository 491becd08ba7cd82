"""Weights of a package that go to the delegate without their zeros: their floats never stand in memory.

A section is decoded piece by piece. Each piece counts in the digest of the model, and what is not zero of it is kept in
a flat (source/columns/flat.c); its place in the .tflite is memory that nobody touches. The delegate packs fully
connected layers from flats, and writes the floats to their place where anything else reads them.
"""

from __future__ import annotations

import ctypes
from typing import Any, Callable

import numpy as np

from device_agent.package import kernel as decoders
from device_agent.package import reader
from device_agent.package.codec.contents import Opened, decode, decode_section, describe, open_package
from device_agent.package.codec.format import DENSE, MAX_TFLITE_SIZE, SPARSE
from device_agent.run.kernels.delegate import Delegate, KernelsUnavailable, load_library

#: Smaller sections are decoded to floats: two pages or less would be saved.
LEAST_BYTES = 1 << 16


class Supply:
    """What one model is loaded with: ``content``, the .tflite without the floats of its flats.

    ``package`` is what it was decoded from. A flat belongs to the delegate that it was offered to.
    """

    def __init__(self, package: bytes, content: bytes, library: Any) -> None:
        self.content = content
        self._package, self._library = package, library
        self._flats: list[tuple[int, int, int]] = []  # offset and bytes of the floats, and the flat
        self._is_offered = False

    def add(self, offset: int, size: int, flat: int) -> None:
        """Takes a flat for the ``size`` bytes at ``offset`` of the content."""
        self._flats.append((offset, size, flat))

    @property
    def size(self) -> int:
        """Bytes of the floats that have flats."""
        return sum(size for _, size, _ in self._flats)

    def offer(self, delegate: Delegate) -> None:
        """Hands the flats to a delegate, before its interpreter is made from ``content``; once."""
        assert not self._is_offered
        self._is_offered = True
        while self._flats:
            offset, size, flat = self._flats.pop()
            if not delegate.supply(_address(self.content) + offset, size, flat):
                self._library.flat_free(flat)
                raise MemoryError

    def unpack(self) -> bytes:
        """The whole .tflite, decoded again."""
        return reader.unpack(self._package).tflite

    def __del__(self) -> None:
        for _, _, flat in self._flats:
            self._library.flat_free(flat)


def unpack(data: bytes, *, kernel: str = "auto") -> tuple[reader.Unpacked, Supply | None]:
    """As :func:`device_agent.package.reader.unpack`, with flats for the weights that have many zeros.

    The ``tflite`` of the result is then the supply's content. None where there is nothing to supply, or no library.
    """
    opened = open_package(data, MAX_TFLITE_SIZE)
    numbers = _sections_of_floats(opened)
    if not numbers or kernel not in ("auto", "c"):
        return reader.unpack(data, kernel=kernel), None
    try:
        decoder, library = decoders.load(), load_library()
    except (decoders.KernelUnavailable, KernelsUnavailable):
        return reader.unpack(data, kernel=kernel), None
    content = bytes(opened.table.tflite_size)  # zeros that take no memory before they are written to
    # Nobody has seen these bytes yet; a runtime takes a model as bytes alone.
    out = memoryview((ctypes.c_uint8 * len(content)).from_address(_address(content))).cast("B")
    supply = Supply(data, content, library)
    streamed = {number: _streamed(number, opened, out, decoder, supply, library) for number in numbers}
    decode(data, opened, out, decoder, streamed)
    unpacked = reader.Unpacked(content, describe(data, opened), "c")
    return unpacked, supply if supply.size else None


def _address(content: bytes) -> int:
    return ctypes.cast(ctypes.c_char_p(content), ctypes.c_void_p).value or 0


def _sections_of_floats(opened: Opened) -> list[int]:
    """Numbers of sections that hold one large tensor of four-byte elements with a code of their own."""
    spans = [span.section for span in opened.table.spans]
    return [
        number
        for number, (entry, content) in enumerate(zip(opened.table.sections, opened.contents))
        if entry.size >= LEAST_BYTES
        and spans.count(number) == 1
        and content.layout in (DENSE, SPARSE)
        and content.width == 4
    ]


def _streamed(
    number: int, opened: Opened, out: memoryview, decoder: decoders.Kernel, supply: Supply, library: Any
) -> Callable[[memoryview, Callable[[Any], Any]], None]:
    """How a section is decoded: to a flat, or to its place in ``out`` where it has few zeros."""
    (span,) = (span for span in opened.table.spans if span.section == number)

    def stream(blob: memoryview, update: Callable[[Any], Any]) -> None:
        flat = library.flat_start()
        fits = bool(flat)

        def take(piece: np.ndarray) -> None:
            nonlocal fits
            update(piece)
            fits = fits and bool(library.flat_add(flat, piece.ctypes.data, piece.size // 4))

        try:
            came = decoder.decode_pieces(np.frombuffer(blob, np.uint8), span.size, take)
            if came and fits:
                supply.add(span.offset, span.size, flat)
                flat = None
                return
        finally:
            library.flat_free(flat)
        place = out[span.offset : span.offset + span.size]
        decode_section(blob, opened.contents[number], np.frombuffer(place, np.uint8), decoder)
        if not came:
            update(place)

    return stream
