"""Sets of networks that papers measured, and what they found. Pure data.

Deep Compression (arXiv 1510.00149v5): sizes of table 1; shares of weights that are kept, layer by layer, of its tables
2 to 5 (first in arXiv 1506.02626); 256 centroids for convolutions and 32 for fully connected layers, 64 in
LeNet-300-100.

ShuffleNet V1 (arXiv 1707.01083v2), table 8: one thread of a Snapdragon 820, milliseconds per inference at three sizes
of the input. The paper's "MFLOPs" are multiply-accumulates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeVar

from sdk.errors import ModelError

Size = tuple[int, int]  # height, width


@dataclass(frozen=True)
class Member:
    """One network of a suite: a name for tables, its name and options in the zoo, the paper's milliseconds by size."""

    name: str
    network: str
    options: Mapping[str, Any] = field(default_factory=dict)
    paper_milliseconds: Mapping[Size, float] = field(default_factory=dict)


@dataclass(frozen=True)
class SizeMember:
    """One network of Deep Compression: shares of weights kept by layer, in order; centroids; the paper's bytes."""

    name: str
    network: str
    kept: tuple[float, ...]
    convolution_centroids: int
    fully_connected_centroids: int
    paper_original_bytes: int
    paper_bytes: int


AMember = TypeVar("AMember", Member, SizeMember)


@dataclass(frozen=True)
class SizeSuite:
    """Networks whose size is compared; nothing runs on a board."""

    name: str
    source: str
    members: tuple[SizeMember, ...]


@dataclass(frozen=True)
class Suite:
    """Networks at sizes. The first is what the others are compared with."""

    name: str
    source: str
    members: tuple[Member, ...]
    sizes: tuple[Size, ...]


_SIZES: tuple[Size, ...] = ((224, 224), (480, 640), (720, 1280))


def _times(*milliseconds: float) -> Mapping[Size, float]:
    return MappingProxyType(dict(zip(_SIZES, milliseconds, strict=True)))


SHUFFLENET_PAPER = Suite(
    name="shufflenet-paper",
    source="Snapdragon 820, one thread (arXiv 1707.01083, table 8)",
    members=(
        Member("MobileNet V1 1.0", "mobilenet_v1", {}, _times(110.0, 612.0, 1879.2)),
        Member(
            "ShuffleNet V1 2x g3", "shufflenet_v1", {"scale": 2.0, "groups": 3}, _times(108.8, 617.0, 1857.6)
        ),
        Member(
            "ShuffleNet V1 1x g3", "shufflenet_v1", {"scale": 1.0, "groups": 3}, _times(37.8, 222.2, 684.5)
        ),
        Member(
            "ShuffleNet V1 0.5x g3", "shufflenet_v1", {"scale": 0.5, "groups": 3}, _times(15.2, 87.4, 260.1)
        ),
        Member("AlexNet", "alexnet", {}, _times(184.0, 1156.7, 3633.9)),
    ),
    sizes=_SIZES,
)

_VGG16_CONVOLUTIONS = (0.58, 0.22, 0.34, 0.36, 0.53, 0.24, 0.42, 0.32, 0.27, 0.34, 0.35, 0.29, 0.36)

DEEP_COMPRESSION = SizeSuite(
    name="deep-compression",
    source="Deep Compression (arXiv 1510.00149, table 1)",
    members=(
        SizeMember("LeNet-300-100", "lenet_300_100", (0.08, 0.09, 0.26), 64, 64, 1_070_000, 27_000),
        SizeMember("LeNet-5", "lenet_5", (0.66, 0.12, 0.08, 0.19), 256, 32, 1_720_000, 44_000),
        SizeMember(
            "AlexNet",
            "alexnet",
            (0.84, 0.38, 0.35, 0.37, 0.37, 0.09, 0.09, 0.25),
            256,
            32,
            240_000_000,
            6_900_000,
        ),
        SizeMember(
            "VGG-16", "vgg16", (*_VGG16_CONVOLUTIONS, 0.04, 0.04, 0.23), 256, 32, 552_000_000, 11_300_000
        ),
    ),
)

SUITES: Mapping[str, Suite | SizeSuite] = MappingProxyType(
    {suite.name: suite for suite in (SHUFFLENET_PAPER, DEEP_COMPRESSION)}
)


def chosen_members(members: tuple[AMember, ...], networks: Sequence[str]) -> tuple[AMember, ...]:
    """Those members whose names in the zoo are among ``networks``. Raises ModelError for a name that none has."""
    known = {member.network for member in members}
    if unknown := [name for name in networks if name not in known]:
        raise ModelError(
            "the suite has no such network", expected=", ".join(sorted(known)), found=", ".join(unknown)
        )
    return tuple(member for member in members if member.network in networks)


def parse_size(text: str) -> Size:
    """``480x640`` as (height, width); ``224`` is a square. Raises ValueError."""
    numbers = [int(part) for part in text.lower().split("x")]
    if len(numbers) not in (1, 2) or min(numbers) < 1 or max(numbers) > 1 << 16:
        raise ValueError(text)
    return (numbers[0], numbers[-1])


def size_text(size: Size) -> str:
    """(480, 640) as "480x640"."""
    return f"{size[0]}x{size[1]}"
