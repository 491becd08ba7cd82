"""``known_hosts`` files: which keys a host is known by, and which are revoked (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT).

They are read here: paramiko fails over a line with a marker and knows no patterns, and ``ssh-keygen -F`` reports a
revoked key only under the names on its line. Host certificates are not supported: a line ``@cert-authority`` is passed
over.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import paramiko

REVOKED = "@revoked"


@dataclass(frozen=True)
class KnownKeys:
    """The known keys of one host. ``revoked`` holds keys in base64 that are always refused."""

    keys: tuple[paramiko.PKey, ...]
    revoked: frozenset[str]
    #: The file that the first of the keys stands in; None: there is no key.
    file: Path | None = None


def known_keys(host: str, files: Iterable[Path]) -> KnownKeys:
    """The keys that ``host`` (as in the files: ``name`` or ``[name]:port``) is known by, in the order of the files."""
    from paramiko.hostkeys import HostKeyEntry

    host = host.lower()  # as ssh does, before names are hashed too
    keys, revoked = [], set()
    first = None
    for file in files:
        for marker, names, kind, key in _lines(file):
            if marker == REVOKED:
                revoked.add(key)  # for whichever hosts: nobody is to be trusted for a key that was given up
            elif not marker and _names(host, names):
                try:
                    entry = HostKeyEntry.from_line(f"{host} {kind} {key}")
                except Exception:  # of the library of each kind of key, for bytes that are none
                    continue
                if entry is not None and entry.key is not None:
                    keys.append(entry.key)
                    first = first or file
    return KnownKeys(tuple(keys), frozenset(revoked), first)


def _lines(file: Path) -> Iterator[tuple[str, str, str, str]]:
    """Marker ("" where there is none), names, kind and key of every line of a file that has them."""
    try:
        text = file.read_text("utf-8", "replace")
    except OSError:
        return  # most people have one of the four files that ssh looks at
    for line in text.splitlines():
        fields = line.split()
        marker = fields.pop(0) if fields and fields[0].startswith("@") else ""
        if len(fields) >= 3 and not fields[0].startswith("#"):
            yield marker, fields[0], fields[1], fields[2]


def _names(host: str, patterns: str) -> bool:
    """Whether a list of names, patterns and hashes stands for a host; one that begins with ! takes it out again."""
    from paramiko.hostkeys import HostKeys

    found = False
    for pattern in patterns.split(","):
        if pattern.startswith("|1|"):
            # A hash that is none raises; so does one that was cut.
            try:
                found = found or HostKeys.hash_host(host, pattern) == pattern
            except (AssertionError, ValueError):
                continue
        elif _matches(host, pattern.removeprefix("!")):
            if pattern.startswith("!"):
                return False
            found = True
    return found


def _matches(host: str, pattern: str) -> bool:
    expression = re.escape(pattern.lower()).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(expression, host) is not None
