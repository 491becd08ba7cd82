"""Keys that an SSH agent holds, of the agent and the identities that the configuration names."""

from __future__ import annotations

import base64
import contextlib
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import paramiko

AGENT_SECONDS = 10.0
#: The end of the name of every kind of certificate.
_CERTIFIED = "-cert-v01@openssh.com"


def open_agent(where: str | None, only: Sequence[Path] | None) -> Any:
    """An agent for paramiko's client: at the socket ``where`` (None: ``$SSH_AUTH_SOCK``), offering the keys of these
    identities (None: all that it has). Where nobody answers it has none."""
    from paramiko.agent import AgentSSH
    from paramiko.pkey import PublicBlob

    class KeyAgent(AgentSSH):
        def __init__(self) -> None:
            super().__init__()
            path = where or os.environ.get("SSH_AUTH_SOCK")
            if not path or not hasattr(socket, "AF_UNIX"):  # which Python on Windows lacks
                return
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.settimeout(AGENT_SECONDS)
            try:
                connection.connect(os.path.expanduser(path))
            except OSError:  # an agent that has gone
                connection.close()
                return
            self._connect(connection)

        def get_keys(self) -> tuple[paramiko.AgentKey, ...]:
            keys = super().get_keys()
            for key in keys:
                if key.get_name().endswith(_CERTIFIED):
                    key.public_blob = PublicBlob(
                        key.get_name(), key.blob
                    )  # offered whole, not as the key in it
            if only is None:
                return tuple(keys)
            wanted = {blob for path in only if (blob := public_key_of(path)) is not None}
            return tuple(key for key in keys if key.asbytes() in wanted)

        def close(self) -> None:
            self._close()

    return KeyAgent()


def is_security_key(identity: Path) -> bool:
    """Whether an identity is a handle of a hardware key (``ed25519-sk``), which only an agent can sign with."""
    beside = identity if identity.suffix == ".pub" else identity.with_name(identity.name + ".pub")
    with contextlib.suppress(OSError, ValueError):
        return beside.read_text("ascii").startswith("sk-")
    return False


def public_key_of(identity: Path) -> bytes | None:
    """The public half of an identity, from the ``.pub`` file beside it or from it, where it is one itself."""
    beside = identity if identity.suffix == ".pub" else identity.with_name(identity.name + ".pub")
    with contextlib.suppress(OSError, ValueError, IndexError):
        return base64.b64decode(beside.read_text("ascii").split()[1], validate=True)
    return None
