"""Which names of hosts and users ssh takes: they reach a shell where a ProxyCommand or a ``Match exec`` holds a token
for them (``valid_hostname`` and ``valid_ruser`` of its ssh.c)."""

from __future__ import annotations

#: What ssh refuses in the name of a host, beside blanks and what cannot be printed.
_NOT_IN_NAMES = "'`\"$\\;&<>|(){}"
#: And what a line of known_hosts would read in another way.
_NOT_IN_KNOWN_HOSTS = "*?!,#@"
_NOT_IN_USERS = "'`\";&<>|(){}$"


def is_host(text: str) -> bool:
    """Whether it can be the name or the address of a host."""
    refused = _NOT_IN_NAMES + _NOT_IN_KNOWN_HOSTS
    return bool(text) and text[0] != "-" and not any(_is_blank(c) or c in refused for c in text)


def is_user(text: str) -> bool:
    """Whether it can be a login name."""
    return (
        bool(text)
        and text[0] != "-"
        and text[-1] != "\\"
        and not any(_is_blank(c) or c in _NOT_IN_USERS for c in text)
    )


def _is_blank(character: str) -> bool:
    return character.isspace() or not character.isprintable()
