"""Pages of results that no file of a run holds."""

from __future__ import annotations

from pathlib import Path

from sdk.api.boards.evaluating import Evaluation
from sdk.api.values import PathLike
from sdk.errors import ReportError
from sdk.tools.system.files import write_file


def write_evaluation(result: Evaluation, path: PathLike) -> None:
    """What host and board reached as one HTML file that needs nothing else. Raises ReportError without Jinja2."""
    try:
        from sdk.report.page import evaluated
    except ImportError as error:
        raise ReportError(
            "HTML reports need Jinja2",
            found=str(error),
            hint="Install the host extra: pip install 'armlet[host]'.",
        ) from error
    write_file(Path(path), evaluated.render(result).encode())
