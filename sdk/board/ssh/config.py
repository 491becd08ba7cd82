"""The user's and the system's ssh configuration, as ssh reads them: with ``Include``, the first value of each wins.

paramiko parses ``Host`` and ``Match`` and expands tokens, and knows no ``Include``: the files that one names are put
where it stands, before paramiko sees the text (ssh_config(5)).
"""

from __future__ import annotations

import glob
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sdk.errors import ConnectionFailed

USER_CONFIG = "~/.ssh/config"
SYSTEM_CONFIG = Path("/etc/ssh/ssh_config")
#: As in OpenSSH's readconf.c.
MAX_DEPTH = 16
MAX_BYTES = 1 << 20


def lookup(host: str, config: Path | str | None, system: Path = SYSTEM_CONFIG) -> Mapping[str, Any]:
    """What the files say of ``host``, keys in lower case. None reads no file, and a file other than the usual one is
    the only one that is read, as with ``ssh -F``. Raises ConnectionFailed."""
    if config is None:
        return {}
    path = Path(config).expanduser()
    files = [path, system] if str(config) == USER_CONFIG else [path]
    # What stands before the first `Host` of a file is for every host, and the file before may end in another's block.
    texts = [f"Host *\n{_expanded(file, 0)}" for file in files if file.is_file()]
    if not texts:
        return {}
    import paramiko

    try:
        return paramiko.SSHConfig.from_text("\n".join(texts)).lookup(host)
    except Exception as error:  # of paramiko, and of the library by which it runs `Match exec`
        raise ConnectionFailed(f"{path} cannot be read", found=str(error)) from None


def _expanded(file: Path, depth: int) -> str:
    """The text of a file with those that it includes. Raises ConnectionFailed."""
    if depth > MAX_DEPTH:
        raise ConnectionFailed(
            "the ssh configuration includes itself", expected=f"at most {MAX_DEPTH} levels", found=str(file)
        )
    try:
        with file.open("rb") as opened:
            text = opened.read(MAX_BYTES).decode("utf-8", "surrogateescape")
    except OSError as error:
        raise ConnectionFailed(f"{file} cannot be read", found=error.strerror or str(error)) from None
    lines = []
    block = "Host *"
    for line in text.splitlines():
        keyword, _, rest = line.strip().replace("=", " ", 1).partition(" ")
        if keyword.lower() in ("host", "match"):
            block = line.strip()
        if keyword.lower() != "include":
            lines.append(line)
            continue
        for included in _included(rest, file):
            lines.append(_expanded(included, depth + 1))
        lines.append(block)  # the included file may have begun blocks of its own
    return "\n".join(lines)


def _included(patterns: str, file: Path) -> list[Path]:
    """The files that an ``Include`` names: relative ones are beside the user's configuration or the system's."""
    try:
        names = shlex.split(patterns, comments=True)
    except ValueError as error:
        raise ConnectionFailed(f"{file} cannot be read", found=f"Include {patterns}: {error}") from None
    folder = SYSTEM_CONFIG.parent if SYSTEM_CONFIG.parent in file.parents else Path("~/.ssh").expanduser()
    found = []
    for name in names:
        path = Path(name).expanduser()
        found += [
            Path(match) for match in sorted(glob.glob(str(path if path.is_absolute() else folder / path)))
        ]
    return [path for path in found if path.is_file()]
