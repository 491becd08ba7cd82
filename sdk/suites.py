"""Sets of networks that papers measured, and what they found. Pure data.

ShuffleNet V1 (arXiv 1707.01083v2), table 8: one thread of a Snapdragon 820, milliseconds an inference at three sizes of
the input. The paper's "MFLOPs" are multiply-accumulates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

Size = tuple[int, int]  # height, width


@dataclass(frozen=True)
class Member:
    """One network of a suite: a name for tables, its name and options in the zoo, the paper's milliseconds by size."""

    name: str
    network: str
    options: Mapping[str, Any] = field(default_factory=dict)
    paper_milliseconds: Mapping[Size, float] = field(default_factory=dict)


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

SUITES: Mapping[str, Suite] = MappingProxyType({SHUFFLENET_PAPER.name: SHUFFLENET_PAPER})


def parse_size(text: str) -> Size:
    """``480x640`` as (height, width); ``224`` is a square. Raises ValueError."""
    numbers = [int(part) for part in text.lower().split("x")]
    if len(numbers) not in (1, 2) or min(numbers) < 1 or max(numbers) > 1 << 16:
        raise ValueError(text)
    return (numbers[0], numbers[-1])


def size_text(size: Size) -> str:
    """(480, 640) as "480x640"."""
    return f"{size[0]}x{size[1]}"
