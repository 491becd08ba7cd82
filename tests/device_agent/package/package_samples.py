"""Flatbuffers and tensors for the tests of the package: every type, sizes on both sides of every threshold."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from sdk.graph.enums import TENSOR_TYPES

DTYPES = {name.lower(): number for number, name in enumerate(TENSOR_TYPES)}


def flatbuffer(
    tensors: list[tuple[str, str, np.ndarray]], *, appended: bytes = b"", padding: int = 16
) -> bytes:
    """A minimal .tflite with these (name, type, data) tensors: model, one subgraph, one buffer each.

    It has no operators: enough for the packer, which looks only at tensors and buffers.
    """
    out = bytearray()

    def align(size: int) -> None:
        while len(out) % size:
            out.append(0)

    def table(fields: dict[int, tuple[str, Any]]) -> int:
        """Writes vtable and table; offsets ("<I" with a target) are patched relative. Returns the table's place."""
        count = max(fields) + 1 if fields else 0
        align(4)
        vtable = len(out)
        size = 4
        places = {}
        for number in sorted(fields):
            width = struct.calcsize(fields[number][0])
            size = (size + width - 1) // width * width
            places[number] = size
            size += width
        out.extend(struct.pack("<HH", 4 + 2 * count, size))
        out.extend(b"".join(struct.pack("<H", places.get(number, 0)) for number in range(count)))
        align(8)
        while (len(out)) % 8:
            out.append(0)
        start = len(out)
        out.extend(bytes(size))
        struct.pack_into("<i", out, start, start - vtable)
        for number, (layout, value) in fields.items():
            place = start + places[number]
            struct.pack_into(layout, out, place, value)
        return start

    def patch(table_at: int, number: int, target: int) -> None:
        vtable = table_at - struct.unpack_from("<i", out, table_at)[0]
        place = table_at + struct.unpack_from("<H", out, vtable + 4 + 2 * number)[0]
        struct.pack_into("<I", out, place, target - place)

    def vector(items: bytes, count: int, alignment: int = 4) -> int:
        while (len(out) + 4) % alignment:
            out.append(0)
        start = len(out)
        out.extend(struct.pack("<I", count) + items)
        return start

    def table_vector(count: int) -> int:
        align(4)
        return vector(bytes(4 * count), count)

    def fill(vector_at: int, targets: list[int]) -> None:
        for index, target in enumerate(targets):
            place = vector_at + 4 + 4 * index
            struct.pack_into("<I", out, place, target - place)

    out.extend(bytes(8))
    out[4:8] = b"TFL3"
    model = table({0: ("<I", 3), 2: ("<I", 0), 4: ("<I", 0)})
    struct.pack_into("<I", out, 0, model)
    subgraphs = table_vector(1)
    patch(model, 2, subgraphs)
    subgraph = table({0: ("<I", 0)})
    fill(subgraphs, [subgraph])
    tensor_vector = table_vector(len(tensors))
    patch(subgraph, 0, tensor_vector)
    made = []
    for index, (name, dtype, data) in enumerate(tensors):
        tensor = table({0: ("<I", 0), 1: ("<B", DTYPES[dtype]), 2: ("<I", index + 1), 3: ("<I", 0)})
        align(4)
        patch(tensor, 0, vector(np.array(data.shape, "<i4").tobytes(), data.ndim))
        align(4)
        patch(tensor, 3, vector(name.encode() + b"\0", len(name)))
        made.append(tensor)
    fill(tensor_vector, made)
    buffers = table_vector(len(tensors) + 1)
    patch(model, 4, buffers)
    placed = [table({})]
    for _, _, data in tensors:
        buffer = table({0: ("<I", 0)})
        raw = data.tobytes()
        patch(buffer, 0, vector(raw, len(raw), padding))
        placed.append(buffer)
    fill(buffers, placed)
    return bytes(out) + appended


def clustered(rng: np.random.Generator, count: int, centroids: int, sparsity: float) -> np.ndarray:
    """(count,) float32 from ``centroids`` values, Laplace-shaped, the given share of zeros."""
    book = np.sort(rng.standard_normal(centroids).astype(np.float32))
    near = np.clip((rng.laplace(0, 0.12, count) + 0.5) * centroids, 0, centroids - 1).astype(int)
    values = book[near]
    values[rng.random(count) < sparsity] = 0
    return values
