"""A run as data frames: one row per model, or one per sample with its loading and its turn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from device_agent.record.intervals import Turn
from device_agent.record.measurement import Measurement
from sdk.api.measuring.runs import read_run
from sdk.api.values import PathLike
from sdk.errors import DataError
from sdk.explain.run import Report
from sdk.report.summary import COLUMNS, summary

if TYPE_CHECKING:
    import pandas


def samples_frame(run: Report | PathLike) -> pandas.DataFrame:
    """The samples of a run as a data frame of pandas, one row each, in the order in which they were taken.

    ``run`` is a report, or the file that ``sdk bench -o`` wrote. Columns: ``model``; ``self_test``, True for the first
    model measured once more; ``threads``; ``loading`` and ``turn`` (the round of that loading), numbered from 0;
    ``turn_begun``, seconds after the beginning of the run; ``sample``, its number within the turn; ``seconds``. A
    record without turns has one. Raises DataError where pandas is not installed, or for another file.
    """
    pandas = _pandas()
    report = run if isinstance(run, Report) else read_run(run)
    parts = [
        pandas.DataFrame({"model": name, "self_test": again, "threads": timed.threads, **_columns(timed)})
        for name, again, timed in _measurements(report)
    ]
    return pandas.concat(parts, ignore_index=True)


def load_run(run: Report | PathLike) -> pandas.DataFrame:
    """A run as a data frame of pandas: one row per model and number of threads.

    ``run`` is a report, or the file that ``sdk bench -o`` wrote. Columns: :data:`sdk.report.summary.COLUMNS`, in
    seconds, bytes and shares. Raises DataError where pandas is not installed, or for another file.
    """
    return _pandas().DataFrame(
        summary(run if isinstance(run, Report) else read_run(run)), columns=list(COLUMNS)
    )


def _pandas() -> Any:
    try:
        import pandas
    except ImportError as error:
        raise DataError(
            "a data frame needs pandas",
            expected="the package pandas",
            found=str(error),
            hint="Install the extra for data frames: pip install 'armlet[frames]'.",
        ) from error
    return pandas


def _measurements(report: Report) -> Iterator[tuple[str, bool, Measurement]]:
    """Name, whether it is the self-test, and the measurement; of every model on every number of threads."""
    for model in report.models:
        for timed in model.measurements:
            yield model.name, False, timed
    for timed in report.again:
        yield report.models[0].name, True, timed


def _columns(timed: Measurement) -> dict[str, Any]:
    """The columns of one measurement, (samples,) each."""
    turns = timed.turns or (Turn(0, 0, 0.0, len(timed.samples_seconds)),)
    counts = [turn.samples for turn in turns]
    return {
        "loading": np.repeat([turn.loading for turn in turns], counts),
        "turn": np.repeat([turn.round for turn in turns], counts),
        "turn_begun": np.repeat([turn.seconds for turn in turns], counts),
        "sample": np.concatenate([np.arange(count) for count in counts]),
        "seconds": np.asarray(timed.samples_seconds, np.float64),
    }
