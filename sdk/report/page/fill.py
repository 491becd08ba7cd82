"""Fills a template of page.py: escaping on, style and script put in. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup as Markup

from device_agent.record.visible import visible
from sdk.report.page.template import HEAD, SCRIPT, STYLE


@dataclass(frozen=True)
class Cell:
    """One figure: which, its raw value, and the text that people read. ``style``: a CSS class, such as "good"."""

    field: str
    value: Any
    text: str
    left: bool = False
    wrap: bool = False
    style: str = ""
    shade: str = ""  # an attribute of its own, as Markup


def fill(template: str, **values: Any) -> str:
    """The page; a name that the template uses and nobody gives is an error. Text is escaped unless it is Markup."""
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_as_shown,
    )
    return environment.from_string(HEAD + template).render(
        style=Markup(STYLE), script=Markup(SCRIPT), **values
    )


def _as_shown(value: Any) -> Any:
    """Text without characters that nobody sees, in which no line ends between a number and its percent sign."""
    if type(value) is not str:
        return value
    return visible(value, lines=True).replace(" %", "\N{NO-BREAK SPACE}%")
