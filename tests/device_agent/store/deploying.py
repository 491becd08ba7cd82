"""Deploys into a store of a test's own, as the verb does, without a process for the health check."""

from __future__ import annotations

import hashlib
import io
from typing import Any

from device_agent.record.release import Release
from device_agent.store.store import Store
from sdk.graph.writer import write_graph
from sdk.package.pack import pack
from sdk.package.release import split
from tests.sdk.graph.small_graphs import small_network

LABELS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def package(seed: int = 0, *, size: int = 8, preprocess: str | None = "tf", **stated: Any) -> bytes:
    """A package of a small network of ten classes; the seed makes other weights, so other answers."""
    metadata: dict[str, Any] = {"name": "net", "labels": LABELS}
    if preprocess is not None:
        metadata["input"] = {"preprocess": preprocess, "shape": [size, size, 3], **stated}
    return pack(write_graph(small_network(seed, size=size)), metadata=metadata)


def begin(store: Store, data: bytes, name: str = "net") -> Release:
    """A release whose parts are all there, on trial. The caller holds the lock."""
    parts = split(data)
    digests = tuple((hashlib.sha256(part).hexdigest(), len(part)) for part in parts)
    release = Release(name=name, package_sha256=hashlib.sha256(data).hexdigest(), parts=digests)
    by_digest = {digest: part for (digest, _), part in zip(digests, parts, strict=True)}
    missing = store.blobs.missing(release.blobs)
    payload = b"".join(by_digest[digest] for digest in missing)
    store.blobs.receive(io.BytesIO(payload), [(d, len(by_digest[d]), 0) for d in missing])
    store.begin_trial(store.add_release(release))
    return release


def deploy(store: Store, data: bytes, name: str = "net") -> Release:
    """Confirmed, and what nobody needs any longer collected."""
    with store.locked():
        release = begin(store, data, name)
        store.confirm(name)
        store.collect()
    return release


def revert(store: Store, data: bytes, name: str = "net") -> Release:
    """Tried, and sent back."""
    with store.locked():
        release = begin(store, data, name)
        store.revert(name, "the golden outputs do not come out")
        store.collect()
    return release
