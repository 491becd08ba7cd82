"""Functions on saved runs: read, render, compare."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from device_agent.record.measurement import Measurement
from device_agent.record.schema import family, parse_json
from sdk.api.file_requests import CompareRuns
from sdk.api.measuring import size_suite, suites
from sdk.api.measuring.size_suite import SizeRun
from sdk.api.measuring.suites import SuiteRun
from sdk.api.values import PathLike
from sdk.errors import DataError, ReportError
from sdk.explain import compare, tuning, verdict
from sdk.explain.run import ModelRecord, Report
from sdk.explain.soaking import run as soaking
from sdk.explain.soaking.run import SoakReport
from sdk.explain.speed import predictions
from sdk.explain.speed.predictions import Predictions
from sdk.explain.tuning import Tuned
from sdk.report import summary
from sdk.report.conditions import problems_of
from sdk.tools.option import build
from sdk.tools.shown import Shown
from sdk.tools.system.files import read_file, write_file

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from sdk.api.keywords import CompareRunsOptions

#: A file of a run may be this large: a suite of 30 measurements with 100,000 samples each takes 60 MB.
MAX_RUN_BYTES = 128 << 20


@dataclass(frozen=True)
class Larger:
    """A package that became larger."""

    model: str
    old_bytes: int
    new_bytes: int

    @property
    def share(self) -> float:
        """The growth as a share of the old size."""
        return self.new_bytes / self.old_bytes - 1.0


@dataclass(frozen=True)
class Against(Shown):
    """A new run against an old one, model by model, each with the verdict on it. ``slower`` are those slower by more
    than ``limit``, doubt excluded: the whole 95 % interval of the ratio lies above it.
    """

    comparisons: tuple[compare.Comparison, ...]
    limit: float
    warnings: tuple[str, ...]
    verdicts: tuple[verdict.Verdict, ...]
    larger: tuple[Larger, ...] = ()  # packages that grew by more than was allowed

    @property
    def fails(self) -> bool:
        """Whether a model became slower, or larger where that counts."""
        return self.answer == verdict.SLOWER or bool(self.larger)

    @property
    def answer(self) -> verdict.Answer:
        """The answer for all models: slower if one is, else can't tell if one can't be told."""
        return verdict.overall(self.verdicts)

    @property
    def slower(self) -> tuple[compare.Comparison, ...]:
        """The models that are slower by more than ``limit``."""
        return self._those(verdict.SLOWER)

    @property
    def cannot_tell(self) -> tuple[compare.Comparison, ...]:
        """The models for which the answer is can't tell."""
        return self._those(verdict.CANNOT_TELL)

    def _those(self, answer: verdict.Answer) -> tuple[compare.Comparison, ...]:
        judged = zip(self.comparisons, self.verdicts, strict=True)
        return tuple(c for c, found in judged if found.answer == answer)

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        judged = list(zip(self.comparisons, self.verdicts, strict=True))
        return {
            "answer": self.answer,
            "limit": self.limit,
            "slower": [{"model": c.candidate, "threads": c.threads} for c in self.slower],
            "cannot_tell": [
                {"model": c.candidate, "threads": c.threads, "what_would_settle_it": found.settle}
                for c, found in judged
                if found.answer == verdict.CANNOT_TELL
            ],
            "larger": [asdict(one) for one in self.larger],
            "comparisons": [c.to_json() for c in self.comparisons],
            "warnings": list(self.warnings),
        }


#: What ``-o`` of a command that measures keeps.
Kept = Report | SuiteRun | SizeRun | Tuned | SoakReport | Predictions
_RECORDS = {
    family(schema): cls
    for schema, cls in (
        (suites.SCHEMA, SuiteRun),
        (size_suite.SCHEMA, SizeRun),
        (tuning.SCHEMA, Tuned),
        (soaking.SCHEMA, SoakReport),
        (predictions.SCHEMA, Predictions),
    )
}


def read_run(path: PathLike) -> Report:
    """The report that ``sdk bench -o`` wrote. Raises DataError when the file holds something else."""
    return Report.from_json(_read_json(path, "a run that `sdk bench -o` wrote"))


def read_record(path: PathLike) -> Kept:
    """The record that ``sdk bench -o``, ``sdk tune -o`` or ``sdk predict -o`` wrote: a run, a soak, a suite, a table
    of sizes, the result of a tuning, predictions. Raises DataError otherwise, FileError where it cannot be read."""
    record = _read_json(path, "what `sdk bench -o`, `sdk tune -o` or `sdk predict -o` wrote")
    kind = family(record.get("schema")) if isinstance(record, dict) else ""
    return _RECORDS.get(kind, Report).from_json(record)


def _read_json(path: PathLike, expected: str) -> Any:
    data = read_file(Path(path), expected, most=MAX_RUN_BYTES)
    return parse_json(data, what=str(path), error=DataError, expected=expected, most=MAX_RUN_BYTES)


def write_run(result: Kept, path: PathLike) -> None:
    """Keeps a result, raw samples included."""
    write_file(Path(path), json.dumps(result.to_json()).encode() + b"\n")


@contextmanager
def pages_need_jinja() -> Iterator[None]:
    """For the import of what makes pages. Raises ReportError where Jinja2 is not installed."""
    try:
        yield
    except ImportError as error:
        raise ReportError(
            "HTML reports need Jinja2",
            found=str(error),
            hint="Install it with: pip install 'armlet[deploy]'.",
        ) from error


def write_html(result: Kept, path: PathLike) -> None:
    """The result as one HTML file that needs nothing else. Raises DataError for a table of sizes, which has no page."""
    with pages_need_jinja():
        from sdk.report.page import predicted, run, soak, suite, tuned
    if isinstance(result, SizeRun):
        raise DataError("a table of sizes has no page", expected="a run, or a suite that was measured")
    if isinstance(result, Tuned):
        page = tuned.render(result)
    elif isinstance(result, SoakReport):
        page = soak.render(result)
    elif isinstance(result, Predictions):
        page = predicted.render(result)
    else:
        page = suite.render(result) if isinstance(result, SuiteRun) else run.render(result)
    write_file(Path(path), page.encode())


def write_tables(result: Kept, *, markdown: PathLike | None = None, csv: PathLike | None = None) -> None:
    """The run, or predictions, as a table, a row per model and number of threads.

    Raises DataError for a file that is not a run of models.
    """
    if markdown is None and csv is None:
        return
    if not isinstance(result, (Report, Predictions)):
        wanted = "what `sdk bench MODEL ... -o` or `sdk predict MODEL ... -o` wrote"
        raise DataError("this record has no table to export", expected=wanted)
    if markdown is not None:
        write_file(Path(markdown), summary.as_markdown(result).encode())
    if csv is not None:
        write_file(Path(csv), summary.as_csv(result).encode())


def compare_runs(old: PathLike, new: PathLike, **options: Unpack[CompareRunsOptions]) -> Against:
    """Models that both runs measured, by name and number of threads. Raises DataError when there are none.

    ``options``: see :class:`sdk.api.file_requests.CompareRuns`. Raises TypeError for others.
    """
    request = build(CompareRuns, options, function="compare_runs")
    limit = request.limit
    before, after = read_run(old), read_run(new)
    known = {(m.name, t.threads): (m, t) for m in before.models for t in m.measurements}
    comparisons: list[compare.Comparison] = []
    verdicts: list[verdict.Verdict] = []
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
            pair = _contender(was, was_timed), _contender(model, timed)
            warnings += compare.differences(*pair)
            smallest = max(_smallest_told(report, timed.threads) for report in (before, after))
            [comparison] = compare.compare(pair[0], pair[1:], smallest_told=smallest)
            comparisons.append(comparison)
            verdicts.append(verdict.judge(was_timed, timed, comparison, limit))
    if not comparisons:
        raise DataError(
            "the two runs have no model in common",
            expected=", ".join(m.name for m in before.models),
            found=", ".join(m.name for m in after.models),
        )
    warnings += [f"{name} on {threads} threads is only in the old run" for name, threads in known]
    for name, report in (("old", before), ("new", after)):
        warnings += [f"{name} run: {problem}" for problem in problems_of([report])]
    larger = () if request.size_limit is None else _larger(before, after, request.size_limit)
    return Against(tuple(comparisons), limit, tuple(dict.fromkeys(warnings)), tuple(verdicts), larger)


def _larger(before: Report, after: Report, limit: float) -> tuple[Larger, ...]:
    """The packages that both runs measured and that grew by more than ``limit``, a share."""
    sizes = {m.name: m.package_bytes for m in before.models}
    grown = (Larger(m.name, sizes[m.name], m.package_bytes) for m in after.models if sizes.get(m.name))
    return tuple(one for one in grown if one.share > limit)


def _smallest_told(report: Report, threads: int) -> float:
    """The smallest difference that the self-test of a run could tell; 0 where there was none."""
    again = {timed.threads: timed for timed in report.again}
    first = {timed.threads: timed for timed in report.models[0].measurements}
    return compare.smallest_told(first[threads], again[threads]) if threads in again.keys() & first else 0.0


def _contender(model: ModelRecord, timed: Measurement) -> compare.Contender:
    return compare.Contender(model.name, model, timed, model.original_sha256)
