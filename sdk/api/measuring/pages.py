"""Pages of results that no file of a run holds."""

from __future__ import annotations

from pathlib import Path

from sdk.api.boards.evaluating import Evaluation
from sdk.api.measuring.runs import pages_need_jinja
from sdk.api.values import PathLike
from sdk.explain.layers import LayerLosses
from sdk.tools.system.files import write_file


def write_page(result: Evaluation | LayerLosses, path: PathLike) -> None:
    """The result as one HTML file that needs nothing else. Raises ReportError without Jinja2."""
    with pages_need_jinja():
        from sdk.report.page import evaluated, layers
    page = layers.render(result) if isinstance(result, LayerLosses) else evaluated.render(result)
    write_file(Path(path), page.encode())
