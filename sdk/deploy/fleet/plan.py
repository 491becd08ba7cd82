"""How a rollout over many boards proceeds, as options of `sdk deploy --inventory`.

Nothing heavy is imported here, because `sdk --help` reads it.
"""

from __future__ import annotations

import math
import re
from argparse import ArgumentTypeError
from collections.abc import Sequence
from dataclasses import dataclass

from sdk.errors import RolloutError
from sdk.tools.option import option
from sdk.tools.values import count, positive

MANY_BOARDS = "many boards"


@dataclass(frozen=True)
class Portion:
    """This many boards, or such a share of them."""

    count: int = 0
    share: float | None = None

    @classmethod
    def parse(cls, text: str) -> Portion:
        """``"3"`` or ``"25%"``. Raises RolloutError."""
        match = re.fullmatch(r"(\d{1,6}(?:\.\d{1,6})?)(%?)", text.strip())
        value = float(match[1]) if match else -1.0
        if match and match[2] and 0 < value <= 100:
            return cls(share=value / 100.0)
        if match and not match[2] and value.is_integer():
            return cls(count=int(value))
        raise RolloutError(
            "this is not a number of boards", expected="a number, or a share such as 25%", found=text[:40]
        )

    def of(self, total: int) -> int:
        """How many of ``total`` boards; a share is rounded up."""
        wanted = self.count if self.share is None else math.ceil(self.share * total - 1e-9)
        return min(wanted, total)

    def __str__(self) -> str:
        return str(self.count) if self.share is None else f"{self.share * 100:g}%"


def portion(text: str) -> Portion:
    """``3`` or ``25%`` of a command line."""
    try:
        return Portion.parse(text)
    except RolloutError as error:
        raise ArgumentTypeError(str(error)) from None


@dataclass(frozen=True)
class RolloutPlan:
    """How a rollout proceeds. It stops when more than ``max_failures`` boards failed, or any of the canary."""

    canary: Portion = option(
        Portion(count=1),
        help="boards that go first, a number or a share such as 5%% (default: {default})",
        parse=portion,
        metavar="N",
        group=MANY_BOARDS,
        on_command_line=None,
        rare=True,
    )
    batch: Portion = option(
        Portion(share=0.25),
        help="boards per batch after that, a number or a share (default: {default})",
        parse=portion,
        metavar="N",
        group=MANY_BOARDS,
        on_command_line=None,
        rare=True,
    )
    max_failures: int = option(
        0,
        help="boards that may fail before the rollout is stopped (default: {default})",
        parse=count,
        metavar="N",
        group=MANY_BOARDS,
        on_command_line=None,
        rare=True,
    )
    #: "revert": take back what was confirmed; "stop": leave it for somebody to look at.
    on_failure: str = option(
        "revert",
        help="what to do with boards that confirmed it, when the rollout stops (default: {default})",
        choices=("revert", "stop"),
        group=MANY_BOARDS,
        on_command_line=None,
        rare=True,
    )
    parallel: int = option(
        16,
        help="boards to talk to at once (default: {default})",
        parse=positive,
        metavar="N",
        group=MANY_BOARDS,
        on_command_line=None,
        rare=True,
    )

    def __post_init__(self) -> None:
        if self.batch.of(1 << 20) < 1 or self.max_failures < 0 or self.parallel < 1:
            raise RolloutError(
                "this is not a plan for a rollout",
                expected="a batch of 1 board or more, 0 failures or more, 1 board at once or more",
                found=f"batch {self.batch}, {self.max_failures} failures, {self.parallel} at once",
            )
        if self.on_failure not in ("revert", "stop"):
            raise RolloutError("on failure", expected="revert or stop", found=self.on_failure)

    def waves(self, names: Sequence[str]) -> list[tuple[str, tuple[str, ...]]]:
        """(title, boards) in order: the first boards are the canary, the rest follows in batches."""
        first = self.canary.of(len(names))
        waves = [("canary", tuple(names[:first]))] if first else []
        rest = names[first:]
        size = max(1, self.batch.of(len(names)))
        waves += [
            (f"batch {number}", tuple(rest[start : start + size]))
            for number, start in enumerate(range(0, len(rest), size), start=1)
        ]
        return waves
