"""Networks of the zoo at several sizes of the input, measured on a board; beside them what a paper measured."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from device_agent.record.kinds import Many, Named, Text
from device_agent.record.named_kinds import Positive
from device_agent.record.named_kinds import Threads as ThreadCount
from device_agent.record.schema import Held, limits, read, record, write
from sdk import models
from sdk.api.board_requests import RunSuite
from sdk.api.files.golden import golden_pair
from sdk.api.measuring.measure import measure
from sdk.deploy.session import Session, open_scratch_session
from sdk.errors import DataError, ModelError
from sdk.explain.run import Report
from sdk.explain.suites import SUITES, Member, Size, Suite, chosen_members, size_text
from sdk.graph.on_host.sources.keras_files import forget_keras_models, from_keras
from sdk.graph.reader import read_graph
from sdk.graph.writer import write_graph
from sdk.tools.option import build
from sdk.tools.progress import Progress, silent
from sdk.tools.shown import Shown
from sdk.tools.system.quiet import quiet_tensorflow

SCHEMA = "armlet.suite/1"


@dataclass(frozen=True)
class SuiteRow:
    """One network at one size, on a number of threads. Speed-ups are against the first network there; the paper's are
    None where it did not measure that.
    """

    name: str
    size: str
    threads: ThreadCount
    macs: int
    median_seconds: Positive
    theoretical_speedup: Positive
    measured_speedup: Positive
    paper_seconds: Positive | None = None
    paper_speedup: Positive | None = None


if TYPE_CHECKING:
    from typing_extensions import Unpack

    from sdk.api.keywords import RunSuiteOptions

    SizedReports = tuple[tuple[str, Report], ...]
else:
    SizedReports = Many(Named((("size", Text()), ("report", Held(Report)))), least=1, most=64)


@record(SCHEMA, "a suite", DataError, order=("suite", "source", "rows", "runs"))
@dataclass(frozen=True)
class SuiteRun(Shown):
    """A suite on a board: one report for each size, in which the networks were measured interleaved."""

    suite: str
    source: str
    runs: SizedReports
    rows: tuple[SuiteRow, ...] = field(metadata=limits(least=1, most=4096))

    def to_json(self) -> dict[str, Any]:
        """JSON-ready: the rows, and the reports with their raw samples."""
        return write(self)

    @classmethod
    def from_json(cls, record: Any) -> SuiteRun:
        """Reads what :meth:`to_json` wrote. Raises DataError that names the first field that is wrong."""
        return read(cls, record)


def run_suite(
    board: str,
    suite: str | Suite,
    *,
    progress: Progress = silent,
    **options: Unpack[RunSuiteOptions],
) -> SuiteRun:
    """Builds the suite's networks with fresh weights (their times do not depend on them) and measures them.

    ``networks`` picks some by their names in the zoo. ``options``: see :class:`sdk.api.board_requests.RunSuite`.
    Raises TypeError for others, and ModelError for an unknown suite or network.
    """
    request = build(RunSuite, options, function="run_suite")
    chosen = _suite(suite) if isinstance(suite, str) else suite
    if request.networks is not None:
        chosen = replace(chosen, members=chosen_members(chosen.members, request.networks))
    runs: list[tuple[str, Report]] = []
    rows: list[SuiteRow] = []
    with open_scratch_session(board, request, progress) as session:
        for size in request.sizes or chosen.sizes:
            deployed = [_deploy(session, member, size, progress) for member in chosen.members]
            report = measure(session, deployed, request, progress=progress)
            runs.append((size_text(size), report))
            rows += suite_rows(chosen, size, report)
    return SuiteRun(chosen.name, chosen.source, tuple(runs), tuple(rows))


def _suite(name: str) -> Suite:
    suite = SUITES.get(name)
    if not isinstance(suite, Suite):
        latency = ", ".join(name for name, suite in SUITES.items() if isinstance(suite, Suite))
        raise ModelError("unknown suite", expected=latency, found=name)
    return suite


def _deploy(session: Session, member: Member, size: Size, progress: Progress) -> tuple[str, bytes]:
    progress(f"build {member.name} at {size_text(size)}", 0, 0)
    with quiet_tensorflow():
        keras_model = models.build(member.network, input_size=size, **member.options)
    # Written as it is: packing fresh weights would take longer than measuring them, and says nothing.
    tflite = write_graph(read_graph(from_keras(keras_model)))
    del keras_model
    forget_keras_models()
    name = re.sub(r"[^A-Za-z0-9.]+", "-", f"{member.name}-{size_text(size)}").lower()
    session.agent.deploy(tflite, name, golden=golden_pair(tflite), progress=progress)
    return name, tflite


def suite_rows(suite: Suite, size: Size, report: Report) -> list[SuiteRow]:
    """The networks of one size, on the first number of threads, then on the next. A paper measured one thread."""
    rows = []
    for number in range(len(report.models[0].measurements)):
        first = report.models[0]
        first_median = first.measurements[number].median
        for member, model in zip(suite.members, report.models, strict=True):
            timed = model.measurements[number]
            paper, first_paper = (
                m.paper_milliseconds.get(size) if timed.threads == 1 else None
                for m in (member, suite.members[0])
            )
            rows.append(
                SuiteRow(
                    name=member.name,
                    size=size_text(size),
                    threads=timed.threads,
                    macs=model.macs,
                    median_seconds=timed.median,
                    theoretical_speedup=first.macs / model.macs,
                    measured_speedup=first_median / timed.median,
                    paper_seconds=paper / 1e3 if paper else None,
                    paper_speedup=first_paper / paper if paper and first_paper else None,
                )
            )
    return rows
