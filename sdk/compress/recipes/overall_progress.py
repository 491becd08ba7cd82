"""How far the whole work is, told while its parts report how far they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from sdk.tools.progress import WHOLE, Progress

STEPS = 1000  # of the whole

# About how long stages take beside each other, on MobileNet V1 with a thousand images and on LeNets with 60,000.
SHARES: Mapping[str, float] = {
    "channels": 20,
    "solve": 300,
    "distil": 17,  # an epoch
    "sensitivity": 20,
    "calibrate": 100,
    "train": 200,
    "prune": 1,
    "cluster": 3,
    "pack": 3,
    "check": 5,
}


class Journey:
    """A progress callback in front of another: it passes every report on, and adds how much of the whole is done.

    ``stages`` are all expected stages in their order; last stages that do not come were not needed. Where ``spent`` is
    given, it returns the share of the time that is over, because work goes on until all of it is.
    """

    def __init__(
        self,
        report: Progress,
        stages: Sequence[str] = (),
        spent: Callable[[], float] | None = None,
        shares: Mapping[str, float] = SHARES,
    ) -> None:
        self.report, self.spent, self.shares = report, spent, shares
        self.stages = list(stages)
        self._at = 0

    def __call__(self, stage: str, done: int, total: int) -> None:
        self.report(stage, done, total)
        if self.spent is not None:
            self.report(WHOLE, int(STEPS * min(max(self.spent(), 0.0), 1.0)), STEPS)
        elif stage in self.stages[self._at :]:
            self._at = self.stages.index(stage, self._at)
            behind = sum(self._share(s) for s in self.stages[: self._at])
            here = self._share(stage) * (done / total if total else 0.0)
            self.report(WHOLE, int(STEPS * (behind + here) / sum(map(self._share, self.stages))), STEPS)
            if total and done >= total:
                self._at += 1

    def _share(self, stage: str) -> float:
        return self.shares.get(stage, 1)
