"""The address of a board and its runtime, as options that every command on a board takes.

Nothing heavy is imported here, because `sdk --help` reads it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sdk.tools.option import option
from sdk.tools.values import positive, version


@dataclass(frozen=True, kw_only=True)
class Address:
    """How to reach a board. None: as ssh and the board's file say."""

    host: str | None = option(None, help="address of the board, or a name of ~/.ssh/config")
    port: int | None = option(None, help="port of its SSH server (default: 22)", parse=positive, rare=True)
    user: str | None = option(
        None, help="login name (default: as ~/.ssh/config or the board's file says)", rare=True
    )
    key: Path | None = option(
        None, help="private key (default: the SSH agent and the usual files)", parse=Path
    )
    accept_new_host_key: bool = option(
        False, help="trust the key of a host that is not in known_hosts; a changed key is always refused"
    )
    known_hosts: Path | None = None  # from Python alone


@dataclass(frozen=True, kw_only=True)
class Target(Address):
    """How to reach a board, and what to run there. None: as ssh and the board's file say."""

    runtime: str | None = option(
        None,
        help="default: as the board's file says",
        choices=("tflite-runtime", "ai-edge-litert"),
        rare=True,
    )
    runtime_version: str | None = option(
        None,
        help="version of --runtime; one that Armlet does not pin by its hash must be named here",
        parse=version,
        metavar="X.Y.Z",
        rare=True,
    )
    kernels: str = option(
        "auto",
        help="kernels for layers with zeros: the runtime's, Armlet's, or those that a deploy found to be faster "
        "(default: {default}; a model that is only measured runs in the runtime)",
        choices=("auto", "runtime", "armlet"),
        rare=True,
    )
    kernel: str = option("auto", help="decoder on the board", choices=("auto", "c", "numpy"), rare=True)
