"""Functions on saved runs: read one, render it, and hold a new run against an old one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdk import compare
from sdk.api.files import PathLike
from sdk.errors import DataError
from sdk.files import read_file, write_file
from sdk.report.record import ModelRecord, Report


@dataclass(frozen=True)
class Against:
    """A new run against an old one, model by model. ``slower`` are those slower by more than ``limit``, doubt
    excluded: the whole 95 % interval of the ratio lies above it.
    """

    comparisons: tuple[compare.Comparison, ...]
    limit: float
    warnings: tuple[str, ...]

    @property
    def slower(self) -> tuple[compare.Comparison, ...]:
        return tuple(c for c in self.comparisons if c.is_slower_by(self.limit))

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "limit": self.limit,
            "slower": [{"model": c.candidate, "threads": c.threads} for c in self.slower],
            "comparisons": [c.to_json() for c in self.comparisons],
            "warnings": list(self.warnings),
        }


def read_run(path: PathLike) -> Report:
    """The report that ``sdk bench -o`` wrote. Raises DataError when the file holds something else."""
    data = read_file(Path(path), "a run that `sdk bench -o` wrote")
    try:
        record = json.loads(data)
    except (ValueError, RecursionError):
        raise DataError(f"{path} is not JSON", expected="a run that `sdk bench -o` wrote") from None
    return Report.from_json(record)


def write_run(report: Report, path: PathLike) -> None:
    """Keeps a run, raw samples included."""
    write_file(Path(path), json.dumps(report.to_json()).encode() + b"\n")


def write_html(report: Report, path: PathLike) -> None:
    """The run as one HTML file that needs nothing else."""
    from sdk.report.html import render

    write_file(Path(path), render(report).encode())


def compare_runs(old: PathLike, new: PathLike, *, limit: float = 0.05) -> Against:
    """Models that both runs measured, by name and number of threads. Raises DataError when there are none."""
    before, after = read_run(old), read_run(new)
    known = {(m.name, t.threads): (m, t) for m in before.models for t in m.measurements}
    comparisons: list[compare.Comparison] = []
    warnings: list[str] = []
    if before.board != after.board:
        warnings.append(f"another board: {before.board} and {after.board}")
    for model in after.models:
        for timed in model.measurements:
            if (model.name, timed.threads) not in known:
                warnings.append(f"{model.name} on {timed.threads} threads is only in the new run")
                continue
            was, was_timed = known.pop((model.name, timed.threads))
            if was_timed.tflite_sha256 != timed.tflite_sha256:
                warnings.append(f"{model.name}: another model of that name")
            comparisons += compare.compare(_contender(was, was_timed), [_contender(model, timed)])
    if not comparisons:
        raise DataError(
            "the two runs have no model in common",
            expected=", ".join(m.name for m in before.models),
            found=", ".join(m.name for m in after.models),
        )
    warnings += [f"{name} on {threads} threads is only in the old run" for name, threads in known]
    warnings += [warning for c in comparisons for warning in c.warnings]
    return Against(tuple(comparisons), limit, tuple(dict.fromkeys(warnings)))


def _contender(model: ModelRecord, timed: Any) -> compare.Contender:
    return compare.Contender(model.name, model, timed)
