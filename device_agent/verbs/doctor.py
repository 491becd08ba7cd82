"""The verb that looks at everything on a board: slots, releases, blobs, quick starts, and who may sign.

It mends what it can: a quick start that is not as it was made goes, and is made again for what runs. It names what it
cannot mend, with what to do.
"""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from device_agent.errors import ArmletError, SignatureError, StoreError
from device_agent.package import signature
from device_agent.record.release import Slot
from device_agent.run.fresh_process import call_child
from device_agent.store import quick_starts as starts
from device_agent.store.store import Store, board_store, default_home

#: A start is made again within this many seconds, or not.
MEND_SECONDS = 120.0


def doctor(options: Namespace) -> dict[str, Any]:
    """Answers how many things were looked at, and what was wrong: {"what": ..., "mended": what was done, or ""}."""
    store = board_store()
    found: list[dict[str, str]] = []
    checked = {"names": 0, "releases": 0, "blobs": 0, "starts": 0}
    with store.locked():
        slots = []
        for name in store.names():
            checked["names"] += 1
            try:
                slots.append(store.slot(name))
            except StoreError as error:
                found.append({"what": f"{error}. Deploy {name} again.", "mended": ""})
        for slot in slots:
            _look_at_releases(store, slot, checked, found)
        removed = _look_at_starts(store, checked, found)
    for slot in slots:  # outside the lock: each is made by a process of its own
        _make_again(store, slot, removed, found)
    policy = signature.policy_of(default_home())
    if policy is not None:
        try:
            signature.require_policy(policy)
        except SignatureError as error:
            found.append({"what": str(error), "mended": ""})
    return {"checked": checked, "found": found}


def _look_at_releases(store: Store, slot: Slot, checked: dict[str, int], found: list[dict[str, str]]) -> None:
    """Every blob of every release that a slot keeps, against its name."""
    for release_id in slot.releases:
        checked["releases"] += 1
        what = "what runs" if release_id == slot.current else "an earlier release"
        try:
            blobs = store.release(release_id).blobs
            lacking = store.blobs.missing(blobs)
        except StoreError as error:
            found.append({"what": f"{what} of {slot.name}: {error}. Deploy it again.", "mended": ""})
            continue
        checked["blobs"] += len(blobs)
        if lacking:
            said = f"{what} of {slot.name}: {len(lacking)} of {len(blobs)} parts are damaged or missing"
            found.append({"what": f"{said}. Deploy it again: only they are sent.", "mended": ""})


def _look_at_starts(store: Store, checked: dict[str, int], found: list[dict[str, str]]) -> set[str]:
    """Every byte of every quick start; the packages whose starts were damaged and are gone."""
    removed = set()
    for folder in sorted(store.starts.iterdir()) if store.starts.is_dir() else ():
        checked["starts"] += 1
        if not starts.is_whole(folder):
            starts.remove(folder)
            removed.add(folder.name.partition("-")[0])
            found.append({"what": f"the quick start {folder.name[:12]} was damaged", "mended": "removed"})
    return removed


def _make_again(store: Store, slot: Slot, removed: set[str], found: list[dict[str, str]]) -> None:
    try:
        if slot.current is None or store.release(slot.current).package_sha256 not in removed:
            return
        call_child(["mend", slot.current], MEND_SECONDS)
        found.append({"what": f"{slot.name} had no quick start", "mended": "made again"})
    except ArmletError as error:
        found.append({"what": f"{slot.name} has no quick start: {error}", "mended": ""})
