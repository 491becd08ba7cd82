"""A body of ``multipart/form-data`` (RFC 7578), as ``curl -F image=@cat.png`` and web pages send it: an image, options.

The bytes are a stranger's. One file under the name ``image`` is the picture, encoded; every other field is one of the
options that may stand behind the "?" of the address.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Mapping

from device_agent.errors import DataError
from device_agent.record.visible import visible

TYPE = "multipart/form-data"
IMAGE = "image"
MAX_FIELDS = 16
#: Bytes of the headers of one field, and of the value of an option.
MAX_SHORT_BYTES = 1024

_BOUNDARY = re.compile(r';\s*boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))', re.IGNORECASE)
_NAME = re.compile(rb';\s*name="([^"\r\n]{0,80})"', re.IGNORECASE)


@dataclass(frozen=True)
class Form:
    """``image``: the bytes of an encoded picture. ``options``: the other fields."""

    image: bytes
    options: Mapping[str, str]


def read_form(body: Any, content_type: str) -> Form:
    """The fields of a body. Raises DataError for what is none, has no image, or two fields of one name."""
    found = _BOUNDARY.search(content_type)
    if found is None:
        raise DataError(
            "the form does not say where its fields end", expected="a boundary of 1 to 70 characters"
        )
    mark = b"\r\n--" + (found.group(1) or found.group(2)).encode("latin-1", "replace")
    # The first boundary has no line before it; the last one is followed by two dashes.
    first, *parts = (b"\r\n" + bytes(body)).split(mark, MAX_FIELDS + 2)
    if first.strip() or len(parts) < 2 or not parts[-1].startswith(b"--"):
        raise DataError(
            "the form is not whole",
            expected=f"1 to {MAX_FIELDS} fields between boundaries, and the last boundary behind them",
            found=f"{len(parts)} boundaries",
        )
    fields: dict[str, bytes] = {}
    for part in parts[:-1]:
        name, value = _field(part)
        if name in fields:
            raise DataError("a field of the form is given twice", found=visible(name, most=80))
        fields[name] = value
    if not fields.get(IMAGE):
        raise DataError(
            "the form has no image",
            expected=f"a file under the name `{IMAGE}`, as curl -F {IMAGE}=@FILE sends it",
            found=visible(", ".join(fields) or "no field", most=200),
        )
    image = fields.pop(IMAGE)
    if any(len(value) > MAX_SHORT_BYTES for value in fields.values()):
        raise DataError("a field of the form is too long", expected=f"at most {MAX_SHORT_BYTES} bytes")
    return Form(image, {name: value.decode("utf-8", "replace") for name, value in fields.items()})


def _field(part: bytes) -> tuple[str, bytes]:
    """Name and value of what stands between two boundaries."""
    end = part.find(b"\r\n\r\n", 0, MAX_SHORT_BYTES)
    if end < 0 or part[:2] != b"\r\n":
        raise DataError(
            "a field of the form has no end of its headers", expected=f"within {MAX_SHORT_BYTES} bytes"
        )
    for line in part[2:end].split(b"\r\n"):
        if line.lower().startswith(b"content-disposition:"):
            found = _NAME.search(line)
            if found is not None:
                return found.group(1).decode("utf-8", "replace"), part[end + 4 :]
    raise DataError(
        "a field of the form has no name", expected='Content-Disposition: form-data; name="image"'
    )
