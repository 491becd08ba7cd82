"""The difference of two packages: sections by digest, and the bytes that a push would send."""

from __future__ import annotations

import numpy as np
import pytest

from device_agent.errors import PackageError
from sdk.package.diff import compare_packages
from sdk.package.pack import pack
from tests.device_agent.package.package_samples import clustered, flatbuffer

RNG = np.random.default_rng(2)
BODY = clustered(RNG, 40000, 16, 0.5)
HEADS = [clustered(RNG, 4000, 16, 0.0) for _ in range(2)]


def packed(*tensors: np.ndarray, name: str = "m") -> bytes:
    return pack(
        flatbuffer([(str(i), "float32", data) for i, data in enumerate(tensors)]), metadata={"name": name}
    )


def test_a_retrained_head_sends_the_head_and_the_header() -> None:
    before, after = packed(BODY, HEADS[0]), packed(BODY, HEADS[1])
    diff = compare_packages(before, after)
    assert [change.kind for change in diff.changes] == ["same", "changed"]
    assert not diff.same_model
    assert not diff.skeleton_changed
    assert diff.sent_size < len(after) / 4
    assert diff.sent_size + diff.kept_size == len(after) == diff.size_after


def test_the_same_package_sends_nothing() -> None:
    package = packed(BODY)
    diff = compare_packages(package, package)
    assert diff.sent_size == 0
    assert diff.same_model
    assert [change.kind for change in diff.changes] == ["same"]


def test_new_metadata_send_header_and_skeleton() -> None:
    diff = compare_packages(packed(BODY), packed(BODY, name="another"))
    assert diff.same_model
    assert diff.metadata_changed
    assert diff.skeleton_changed
    assert 0 < diff.sent_size < 600


def test_sections_that_come_and_go_are_named() -> None:
    small, large = packed(BODY), packed(BODY, HEADS[0])
    assert [change.kind for change in compare_packages(small, large).changes] == ["same", "added"]
    gone = compare_packages(large, small).changes
    assert [(change.kind, change.index, change.size_after) for change in gone][1:] == [("removed", 1, None)]


def test_a_section_that_moved_is_the_same() -> None:
    diff = compare_packages(packed(BODY, HEADS[0]), packed(HEADS[0], BODY))
    assert {change.kind for change in diff.changes} == {"same"}


def test_a_broken_package_is_refused() -> None:
    with pytest.raises(PackageError):
        compare_packages(packed(BODY), packed(BODY)[:-1])
