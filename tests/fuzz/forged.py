"""Packages that someone forged: everything may be wrong but the digests, which a forger also puts right.

    python -m tests.fuzz.forged SECONDS [SEED]

compares the reader in C with the one in Python on as many as come up, and writes down those on which they differ.
"""

from __future__ import annotations

import hashlib
import lzma
import platform
import random
import sys
import tempfile
import time
import zlib
from collections import Counter
from pathlib import Path

from device_agent.errors import PackageError
from device_agent.package.codec import contents
from device_agent.package.codec.format import MAX_TFLITE_SIZE, ResultDigestMismatch
from sdk.package.coding import varint
from tests.fuzz.make_seeds import seeds
from tests.golden.make_golden import build, prepared

_SECTIONS = list(seeds().values())
_METADATA = (
    b'{"a": [1, 2.5e3, -0, {"b": null}], "c": "\\u00e9\\n\xc3\xa9"}',
    b' {"x":[[],{},[{}]],"y":NaN , "z":-Infinity}\n',
    b'{"e":1.5E-7,"t":true,"f":false}',
    b"{}",
)
_JSON_BYTES = b'{}[]",:0123456789.eE-+ntf\\u \xc3\xa9\xed\xa0\x80'


def forged(rng: random.Random) -> bytes:
    """A package, right or wrong; where its sections decode, the digest of the result is right too."""
    blobs, spans = [b""], []
    for number in range(1, rng.randint(0, 3) + 1):
        blob, size = _section(rng)
        if rng.random() < 0.1:
            size = max(1, size + rng.choice((-1, 1)))
        blobs.append(blob)
        gap = rng.randint(0, 20)
        if rng.random() < 0.3 and size > 2:  # a bundle
            cut = rng.randint(1, size - 1)
            spans += [(gap, cut, 2 * number), (rng.randint(0, 3), size - cut, 2 * number)]
        else:
            spans.append((gap, size, 2 * number))
        if rng.random() < 0.2:  # a repeat
            of = rng.randrange(len(spans))
            spans.append((rng.randint(0, 5), spans[of][1] if rng.random() < 0.95 else 7, 2 * of + 1))
    tail = rng.randint(0, 30)
    metadata = _metadata(rng)
    blobs[0] = _skeleton(rng, metadata + rng.randbytes(sum(gap for gap, _, _ in spans) + tail))
    model = bytes(sum(gap + size for gap, size, _ in spans) + tail)
    version = rng.choice((2, 3, 3))
    made = build(blobs, spans, model=model, metadata_size=len(metadata), version=version)
    decoded = _decoded(made)
    if decoded is None:
        return made
    return build(blobs, spans, model=decoded, metadata_size=len(metadata), version=version)


def _decoded(package: bytes) -> bytes | None:
    """What the sections decode to, whatever its digest; None where they do not."""
    try:
        opened = contents.open_package(package, MAX_TFLITE_SIZE)
        out = bytearray(opened.table.tflite_size)
        contents.decode(package, opened, memoryview(out), None)
    except ResultDigestMismatch:
        return bytes(out)
    except PackageError:
        return None
    return bytes(out)


def _section(rng: random.Random) -> tuple[bytes, int]:
    """-> (coded, decoded size)."""
    if rng.random() < 0.4:
        seed = rng.choice(_SECTIONS)
        blob = _damaged(rng, seed[3:]) if rng.random() < 0.5 else seed[3:]
        return blob, int.from_bytes(seed[:3], "little") or 1
    width_log2 = rng.choice((0, 0, 0, 1, 2, 3))
    count = max(1, rng.choice((rng.randint(1, 200), rng.randint(1, 9000))) >> width_log2)
    fields, stream = _lz(rng, _content(rng, count << width_log2))
    if rng.random() < 0.1:
        fields = _damaged(rng, fields)
    head = bytes([1, fields[0] if fields else 0, width_log2]) + varint(count) + fields[1:]
    return head + (_damaged(rng, stream) if rng.random() < 0.7 else stream), count << width_log2


def _content(rng: random.Random, size: int) -> bytes:
    kind = rng.randrange(4)
    if kind == 0:
        return rng.randbytes(size)
    if kind == 1:
        return bytes(rng.choices(b"abcd", k=size))
    if kind == 2:
        period = rng.randbytes(rng.randint(1, 40))
        return (period * (size // len(period) + 1))[:size]
    return bytes(rng.choices((0, 0, 0, 0, 1, 255), k=size))


def _lz(rng: random.Random, content: bytes) -> tuple[bytes, bytes]:
    """-> (codec and its own fields, stream)."""
    if rng.random() < 0.5:
        coder = zlib.compressobj(
            rng.choice((0, 1, 6, 9)), zlib.DEFLATED, -rng.randint(9, 15), rng.randint(1, 9), rng.randrange(5)
        )
        pieces = []
        for start in range(0, len(content), 97):
            pieces.append(coder.compress(content[start : start + 97]))
            if rng.random() < 0.1:
                pieces.append(coder.flush(rng.choice((zlib.Z_SYNC_FLUSH, zlib.Z_FULL_FLUSH))))
        return b"\1", b"".join(pieces) + coder.flush()
    literal_context = rng.randint(0, 4)
    literal_position, position = rng.randint(0, 4 - literal_context), rng.randint(0, 4)
    chain = {
        "id": lzma.FILTER_LZMA1,
        "lc": literal_context,
        "lp": literal_position,
        "pb": position,
        "dict_size": 1 << 16,
    }
    properties = (position * 5 + literal_position) * 9 + literal_context
    # A dictionary that is smaller than the one it was coded with makes some distances wrong.
    return bytes([2, properties, rng.choice((12, 16))]), lzma.compress(
        content, lzma.FORMAT_RAW, filters=[chain]
    )


def _skeleton(rng: random.Random, content: bytes) -> bytes:
    kind = rng.random()
    if kind < 0.3:
        blob = b"\0" + content
    elif kind < 0.5:
        stream = prepared(content)[3 + len(varint(len(content))) :]
        stream = _damaged(rng, stream) if rng.random() < 0.5 else stream
        blob = bytes([1, 3, 0]) + varint(len(content)) + stream
    else:
        fields, stream = _lz(rng, content)
        blob = bytes([1, fields[0], 0]) + varint(len(content)) + fields[1:] + stream
    return _damaged(rng, blob) if rng.random() < 0.15 else blob


def _metadata(rng: random.Random) -> bytes:
    if rng.random() < 0.4:
        return b""
    if rng.random() < 0.2:
        text = bytes(rng.choices(_JSON_BYTES, k=rng.randint(0, 12)))
        return rng.choice((b'{"a":' + text + b"}", b'{"' + text + b'":1}', text))
    text = rng.choice(_METADATA)
    return _damaged(rng, text) if rng.random() < 0.7 else text


def _damaged(rng: random.Random, blob: bytes) -> bytes:
    result, kind = bytearray(blob), rng.randrange(6)
    if not result or kind == 0:
        return bytes(result) + rng.randbytes(rng.randint(0, 5))
    if kind == 1:
        return bytes(result[: rng.randrange(len(result))])
    if kind == 2:
        start = rng.randrange(len(result))
        result[start : start + rng.randint(1, 4)] = rng.randbytes(rng.randint(0, 4))
        return bytes(result)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        result[rng.randrange(len(result))] ^= 1 << rng.randrange(8)
    return bytes(result)


def main() -> int:
    from sdk.deploy import native
    from tests.sdk.deploy.native.native_reader import NativeReader, read_in_python

    seconds, seed = float(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    rng, seen, differing = random.Random(seed), Counter[str](), 0
    with tempfile.TemporaryDirectory() as folder:
        reader = NativeReader(
            Path(native.build(Path(folder), [platform.machine()])[0].folder, "lib", "libarmlet.so")
        )
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            package = forged(rng)
            expected, found = read_in_python(package), reader.read(package)
            seen[expected[0]] += 1
            if expected != found:
                differing += 1
                path = Path(f"differs-{hashlib.sha256(package).hexdigest()[:12]}.armlet")
                path.write_bytes(package)
                print(f"{path}: {expected[0]} in Python, {found[0]} in C")
    print(f"seed {seed}: {seen.total()} packages, {differing} differ; {dict(seen)}")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
