"""Pages of results that no file of a run holds."""

from __future__ import annotations

from pathlib import Path

from sdk.api.boards.evaluating import Evaluation
from sdk.api.values import PathLike
from sdk.errors import ReportError
from sdk.explain.layers import LayerLosses
from sdk.tools.system.files import write_file


def write_page(result: Evaluation | LayerLosses, path: PathLike) -> None:
    """The result as one HTML file that needs nothing else. Raises ReportError without Jinja2."""
    try:
        from sdk.report.page import evaluated, layers
    except ImportError as error:
        raise ReportError(
            "HTML reports need Jinja2",
            found=str(error),
            hint="Install it with: pip install 'armlet[deploy]'.",
        ) from error
    page = layers.render(result) if isinstance(result, LayerLosses) else evaluated.render(result)
    write_file(Path(path), page.encode())
