"""Keeps the board from filling up with environments and agents that were replaced.

``accepted/*.json`` are written by the host (sdk.deploy.provision.provisioning) when a pair of trees has passed its
smoke test, and name both. The newest few pairs are kept, so that several hosts may share a board; trees that no
kept pair names are removed. An agent whose modules all lie in one folder, as before there were rooms, goes at once.
"""

from __future__ import annotations

import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from device_agent.errors import ArmletError
from device_agent.record.named_kinds import Sha256
from device_agent.record.schema import parse_json, read, record

#: Pairs of environment and agent that stay.
KEPT = 4
#: A tree that is named nowhere may be about to be accepted; after this many seconds it is not.
ABANDONED_SECONDS = 3600.0
MAX_JSON_BYTES = 1 << 16

_DIGEST = re.compile(r"[0-9a-f]{64}")


@record(what="a pair of trees", takes_unknown=True)
@dataclass(frozen=True)
class Pair:
    """What ``accepted/*.json`` says beside the answer to the smoke test: which trees passed it together."""

    environment: Sha256
    agent: Sha256


def prune(home: Path, kept: int = KEPT) -> int:
    """Removes old pairs and the trees that only they named; how many trees were removed."""
    accepted = sorted(
        (home / "accepted").glob("*.json"), key=lambda path: path.lstat().st_mtime, reverse=True
    )
    named: set[str] = set()
    for number, path in enumerate(accepted):
        digests = _digests(path)
        if number < kept and digests and not any(_is_flat(home / "agent" / digest) for digest in digests):
            named |= digests
        else:
            path.unlink()
    removed = 0
    for folder in (home / "env", home / "agent"):
        for tree in folder.iterdir() if folder.is_dir() else ():
            old = time.time() - tree.lstat().st_mtime > ABANDONED_SECONDS
            if _DIGEST.fullmatch(tree.name) and tree.name not in named and old:
                # Out of the way first: a tree that is there is taken for whole.
                doomed = tree.with_name(f".removing-{tree.name}")
                tree.rename(doomed)
                shutil.rmtree(doomed, ignore_errors=True)
                removed += 1
            elif tree.name.startswith(".removing-"):
                shutil.rmtree(tree, ignore_errors=True)
    return removed


def _is_flat(tree: Path) -> bool:
    """Whether an agent's modules lie in one folder, as they did before there were rooms."""
    return (tree / "device_agent" / "verbs.py").is_file()


def _digests(path: Path) -> set[str]:
    """The trees that a pair names; empty when the file does not say."""
    try:
        with open(path, "rb") as file:
            pair = read(Pair, parse_json(file.read(MAX_JSON_BYTES)))
    except (OSError, ArmletError):
        return set()
    return {pair.environment, pair.agent}
