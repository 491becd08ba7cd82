"""Finds the weights in the bytes of a .tflite by walking its flatbuffer.

The walk is bounded and distrustful: it follows only what it needs (model -> buffers, subgraphs -> tensors), checks
every offset, and gives up quietly on anything odd, because a model that cannot be walked can still be packed whole.
Field numbers are those of TensorFlow's schema.fbs, version 3.
"""

from __future__ import annotations

from dataclasses import dataclass

from sdk.graph.embedded.flatbuffer import BrokenFlatbuffer, Flatbuffer
from sdk.graph.enums import TENSOR_TYPES
from sdk.graph.records import NUMPY_DTYPES

#: Bytes of an element where they are not numpy's: complex numbers are two, two of int4 are in a byte.
_WIDTHS = {"COMPLEX64": 4, "COMPLEX128": 8, "STRING": 1, "INT4": 1, "BFLOAT16": 2}
#: By the number of a tensor's type: its name, and bytes of an element as the packer sees it.
ELEMENT_TYPES: dict[int, tuple[str, int]] = {
    number: (name.lower(), _WIDTHS[name] if name in _WIDTHS else NUMPY_DTYPES[name].itemsize)
    for number, name in enumerate(TENSOR_TYPES)
    if name in _WIDTHS or name in NUMPY_DTYPES
}


@dataclass(frozen=True)
class BufferSpan:
    """Data of buffer number ``buffer``: ``size`` bytes at ``offset`` of the .tflite, as the first tensor uses it.

    ``dtype`` is TFLite's name ("" where no tensor uses the buffer), ``width`` the bytes of an element.
    """

    buffer: int
    offset: int
    size: int
    dtype: str
    width: int
    shape: tuple[int, ...]
    name: str


@dataclass(frozen=True)
class _Use:
    dtype: str
    width: int
    shape: tuple[int, ...]
    name: str


def weight_buffers(tflite: bytes) -> tuple[BufferSpan, ...]:
    """Every non-empty buffer, by offset, none overlapping another; () for bytes that are not a readable .tflite."""
    try:
        return _walk(Flatbuffer(tflite))
    except BrokenFlatbuffer:
        return ()


def _walk(data: Flatbuffer) -> tuple[BufferSpan, ...]:
    if data.data[4:8] != b"TFL3":
        raise BrokenFlatbuffer
    model = data.follow(0)
    uses: dict[int, _Use] = {}
    for subgraph in data.tables(model, 2):
        for tensor in data.tables(subgraph, 0):
            _note_use(data, tensor, uses)
    found = []
    for number, buffer in enumerate(data.tables(model, 4)):
        start, size = data.vector(buffer, 0)
        external = data.scalar(buffer, 1, "<Q")
        if size == 0 and external > 1:  # 0 and 1 stand for "in the vector"
            start, size = external, data.scalar(buffer, 2, "<Q")
        if size and start + size <= len(data.data):
            use = uses.get(number, _Use("", 1, (), ""))
            found.append(BufferSpan(number, start, size, use.dtype, use.width, use.shape, use.name))
    return _disjoint(found)


def _note_use(data: Flatbuffer, tensor: int, uses: dict[int, _Use]) -> None:
    dtype, width = ELEMENT_TYPES.get(data.scalar(tensor, 1, "<B"), ("", 1))
    start, rank = data.vector(tensor, 0)
    name_start, name_size = data.vector(tensor, 3)
    if rank > 64 or name_size > 1 << 16:
        raise BrokenFlatbuffer
    shape = tuple(data.read("<i", start + 4 * axis) for axis in range(rank))
    name = data.data[name_start : name_start + name_size].decode("utf-8", "replace")
    uses.setdefault(data.scalar(tensor, 2, "<I"), _Use(dtype, width, shape, name))


def _disjoint(found: list[BufferSpan]) -> tuple[BufferSpan, ...]:
    """In the order of their offsets, without those that overlap one already taken (two buffers may share bytes)."""
    result: list[BufferSpan] = []
    for span in sorted(found, key=lambda span: (span.offset, -span.size)):
        if not result or span.offset >= result[-1].offset + result[-1].size:
            result.append(span)
    return tuple(result)
