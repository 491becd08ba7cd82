"""What mkdocs needs to know of this project: pages that link out of docs/, and the reference, made from the code.

In a checkout a page links to a source file or a benchmark's record where it lies.  The site has to hold what it links
to, so each such file is copied to ``repository/`` (a Markdown file becomes a page, a folder a list of its files), and
the link is led there.
"""

from __future__ import annotations

import argparse
import posixpath
import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
KEPT_IN = "repository"

_ROLE = re.compile(r":(?:func|class|mod|data|meth|attr|exc):<code>~?")
_LINK = re.compile(r"(?<=\]\()(?!https?:|mailto:|#)([^)#\s]+)")


def on_files(files: Files, config: Any) -> Files:
    """Adds the reference, and what the pages link to outside of docs/."""
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    for uri, content in (("reference/commands.md", _commands_page()), ("reference/host.md", _host_page())):
        files.append(File.generated(config, uri, content=content))
    to_read = [(f.src_uri, f"docs/{f.src_uri}", f.content_string) for f in files.documentation_pages()]
    while to_read:
        page, place, text = to_read.pop()
        for link in _LINK.findall(text):
            target = _outside(place, link)
            uri = None if target is None else _uri(target)
            if target is None or uri is None or files.get_file_from_path(uri) is not None:
                continue
            if (ROOT / target).is_dir():
                file = File.generated(config, uri, content=_list_of(target))
            elif (ROOT / target).is_file():
                file = File.generated(config, uri, abs_src_path=str(ROOT / target))
            else:
                raise FileNotFoundError(f"{page} links to {link}, which does not exist")
            files.append(file)
            if uri.endswith(".md"):
                to_read.append(
                    (uri, f"{target}/index.md" if (ROOT / target).is_dir() else target, file.content_string)
                )
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Leads links out of docs/ to the copies."""
    uri = page.file.src_uri
    place = uri[len(KEPT_IN) + 1 :] if uri.startswith(f"{KEPT_IN}/") else f"docs/{uri}"

    def led(match: re.Match[str]) -> str:
        target = _outside(place, match[1])
        if target is None:
            return match[1]
        return posixpath.relpath(_uri(target), posixpath.dirname(uri) or ".")

    return _LINK.sub(led, markdown)


def on_page_content(html: str, **_: Any) -> str:
    """Takes the roles off what docstrings refer to (``:func:`name```), which Markdown does not know."""
    return _ROLE.sub("<code>", html)


def _outside(place: str, link: str) -> str | None:
    """The file of the checkout that a link of the page at ``place`` means, or None for one in docs/."""
    target = posixpath.normpath(posixpath.join(posixpath.dirname(place), link))
    return None if target.startswith("docs/") else target


def _uri(target: str) -> str:
    uri = f"{KEPT_IN}/{target}"
    return f"{uri}/index.md" if (ROOT / target).is_dir() else uri


def _list_of(folder: str) -> str:
    names = sorted(p.name for p in (ROOT / folder).iterdir() if p.is_file())
    return "\n".join([f"# {folder}", "", *(f"- [{name}]({name})" for name in names), ""])


def _commands_page() -> str:
    """Every command with what `--help` says of it."""
    from sdk.cli import build_parser

    lines = ["# Commands", "", "What `sdk COMMAND --help` prints, for all of them.", ""]
    for name, parser in _leaves("sdk", build_parser()):
        lines += [f"## {name}", "", "```text", parser.format_help().rstrip(), "```", ""]
    return "\n".join(lines)


def _leaves(name: str, parser: argparse.ArgumentParser) -> list[tuple[str, argparse.ArgumentParser]]:
    groups = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]  # noqa: SLF001
    if not groups:
        return [(name, parser)]
    return [
        leaf
        for group in groups
        for word, sub in group.choices.items()
        for leaf in _leaves(f"{name} {word}", sub)
    ]


def _host_page() -> str:
    """Every public name of ``sdk``, what the functions return, and the errors."""
    import sdk
    import sdk.api.results
    import sdk.errors

    def entry(value: Any) -> list[str]:
        return [f"::: {value.__module__}.{value.__qualname__}", ""]

    public = [getattr(sdk, name) for name in sdk.__all__ if name != "__version__"]
    lines = ["# Python, on the host", "", sdk.__doc__ or "", "", "## Functions", ""]
    for value in public:
        if not isinstance(value, type):
            lines += entry(value)
    lines += ["## Records", ""]
    records = [
        v for v in vars(sdk.api.results).values() if getattr(v, "__module__", "") == sdk.api.results.__name__
    ]
    for value in [v for v in (*public, *records) if isinstance(v, type) and not issubclass(v, Exception)]:
        lines += entry(value)
    lines += ["## Errors", "", *entry(sdk.ArmletError)]
    for value in vars(sdk.errors).values():
        if isinstance(value, type) and value.__module__ == sdk.errors.__name__:
            lines += entry(value)
    return "\n".join(lines)
