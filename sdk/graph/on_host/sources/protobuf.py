"""The fields of a protobuf message without its schema, enough to tell whose message it is.  Pure."""

from __future__ import annotations

#: Of a message at most this many fields are looked at.
MAX_FIELDS = 4000

#: Number of a field and its value: a number, or the bytes of a text or of a message.
Field = tuple[int, "int | bytes"]


def fields_of(data: bytes) -> tuple[list[Field], bool]:
    """The fields at the top of the message, and whether they fill ``data`` to its end.

    A field that ends behind ``data``, as in the head of a larger file, is given as far as it goes.
    """
    found: list[Field] = []
    at = 0
    while at < len(data) and len(found) < MAX_FIELDS:
        key, at = _number(data, at)
        if key < 0 or key >> 3 == 0:
            return found, False
        kind = key & 7
        if kind == 0:
            value, at = _number(data, at)
            if value < 0:
                return found, False
            found.append((key >> 3, value))
        elif kind == 2:
            size, at = _number(data, at)
            if size < 0:
                return found, False
            found.append((key >> 3, data[at : at + size]))
            at += size
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        else:
            return found, False
    return found, at == len(data)


def _number(data: bytes, at: int) -> tuple[int, int]:
    """The varint at ``at``, and where it ends; -1 where there is none."""
    value = 0
    for place in range(10):
        if at + place >= len(data):
            return -1, at
        byte = data[at + place]
        value |= (byte & 127) << (7 * place)
        if byte < 128:
            return value, at + place + 1
    return -1, at


def message_kind(head: bytes) -> str:
    """Whose message begins so: "onnx", "frozen", "saved_model", "coreml", "caffe", or "" for none that is known."""
    fields, _ = fields_of(head)
    if not fields:
        return ""
    number, value = fields[0]
    if number == 1 and isinstance(value, int):
        return _versioned(value, fields)
    if number == 1 and isinstance(value, bytes):
        node, _ = fields_of(value)
        texts = dict(node)
        if isinstance(texts.get(1), bytes) and isinstance(texts.get(2), bytes) and _is_text(texts[2]):
            return "frozen"  # GraphDef: its nodes, each with a name and an operation
        if _is_text(value) and any(n in (2, 100) for n, _ in fields[1:]):
            return "caffe"  # NetParameter: a name, then layers
    return ""


def _versioned(version: int, fields: list[Field]) -> str:
    numbers = {number for number, _ in fields}
    if version == 1 and 2 in numbers and numbers <= {1, 2}:
        meta = next(value for number, value in fields if number == 2)
        if isinstance(meta, bytes) and not _is_text(meta):
            inner = {number for number, _ in fields_of(meta)[0]}
            if inner & {1, 2} and inner <= set(range(1, 8)):
                return "saved_model"  # SavedModel: its version, then MetaGraphDefs
    if 0 < version < 64 and numbers <= {1, 2, 3, 4, 5, 6, 7, 8, 14, 20, 25, 26}:
        if 2 in numbers and _is_text(dict(fields)[2]):
            return "onnx"  # ModelProto: ir_version, producer_name, ...
        if 7 in numbers or 8 in numbers:
            return "onnx"
    if 0 < version < 32 and 2 in numbers:
        return "coreml"  # Model: specificationVersion, then its description
    return ""


def _is_text(value: int | bytes) -> bool:
    return isinstance(value, bytes) and 0 < len(value) < 200 and all(32 <= byte < 127 for byte in value)
