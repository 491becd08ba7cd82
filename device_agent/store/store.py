"""The board's store: blobs by SHA-256, releases as small manifests, and for each name what runs now.

    store/                      directories 0700, files 0600
        lock                    held while anything is changed
        blobs/<sha256>          checked against its name, fsynced, then renamed into place; never changed after
        releases/<id>.json      a manifest: which blobs make one package; <id> is the SHA-256 of the manifest
        starts/<package>-.../   decoded and packed for a quick start (quick_starts.py); made when it is missed
        slots/<name>.json       which release of <name> is current, previous and on trial, and what happened
        scratch/<token>/        the same for models that are measured and then gone (scratch.py)

A package is a list of parts (blobs) that are joined; a new release that shares parts with an old one needs only the
others. Activation follows mcuboot's "test, then confirm" (``docs/design.md``, "Boot swap types"), with one difference:
while a release is on trial, ``current`` still names the old one, so there is nothing to swap back. A slot is one
file that is replaced in one rename: cut anywhere, it says either what it said before or what it says after.

Every write goes temp name -> data -> fsync -> rename -> fsync of the directory. Reading needs no lock.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import os
import time
from pathlib import Path
from typing import Any, Collection, Iterator, Mapping

from device_agent.errors import StoreError
from device_agent.record.release import (
    MAX_JSON_BYTES,
    NAME,
    KernelChoice,
    Release,
    Slot,
    ThreadChoice,
    check_digest,
    check_keep,
    check_name,
)
from device_agent.record.schema import read
from device_agent.store import quick_starts as starts
from device_agent.store import scratch as places
from device_agent.store.blobs import Blobs
from device_agent.store.durable import named_errors, write_durably

#: How long to wait for the lock.
LOCK_SECONDS = 10.0


def default_home() -> Path:
    """The agent's folder on the board, in which the store is: ``$ARMLET_HOME``, else ``~/.armlet``."""
    return Path(os.environ.get("ARMLET_HOME") or os.path.expanduser("~/.armlet"))


def board_store() -> Store:
    """The store of this login user, in the scratch place that the caller of this process asked for, if it did."""
    return Store(default_home() / "store", os.environ.get(places.VARIABLE) or None)


class Store:
    """One store, in one folder, which is made when it is not there. ``scratch``: the token of a place of its own for
    what names stand for, beside that of the board (:mod:`device_agent.store.scratch`)."""

    def __init__(self, folder: Path | str, scratch: str | None = None) -> None:
        self.folder = Path(folder)
        self.blobs = Blobs(self.folder / "blobs")
        self._releases = self.folder / "releases"
        self._slots = self._board_slots = self.folder / "slots"
        self._place: int | None = None
        #: Where :mod:`device_agent.store.quick_starts` keeps what makes releases start quickly; not there before
        #: the first.
        self.starts = self.folder / "starts"
        with named_errors("make the store"):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in (self.blobs.folder, self._releases, self._slots):
                folder.mkdir(mode=0o700, exist_ok=True)
            if scratch is not None:
                self._slots = places.scratch_folder(self.folder, scratch)
                self._place = places.open_place(self._slots)  # as long as this process lives

    # -- the lock -----------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def locked(self, wait_seconds: float | None = None) -> Iterator[None]:
        """Holds the store's lock, inside which everything is changed. The kernel drops it with the process."""
        with named_errors("lock the store"):
            descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            wait_seconds = LOCK_SECONDS if wait_seconds is None else wait_seconds
            deadline = time.monotonic() + wait_seconds
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() >= deadline:
                        holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip("\0\n ")
                        raise StoreError(
                            "another deploy is changing this board's store",
                            expected=f"it to finish within {wait_seconds:g} s",
                            found=f"process {holder or 'unknown'} holding the lock",
                            hint="Wait for it, then deploy again.",
                        ) from None
                    time.sleep(0.05)
            # For the message above, in the other process; a full disk must not make this a failure.
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, str(os.getpid()).encode(), 0)
            yield
        finally:
            os.close(descriptor)

    # -- releases -----------------------------------------------------------------------------------------------

    def add_release(self, release: Release) -> str:
        """Stores the manifest of a release, all of whose blobs are here; its id."""
        lacking = self.blobs.missing(release.blobs)
        if lacking:
            raise StoreError(
                "a release lacks blobs",
                expected=f"{len(release.blobs)} blobs",
                found=f"{len(lacking)} missing",
            )
        data = release.to_bytes()
        Release.from_bytes(data)  # nothing is written that would be refused when it is read
        if not self.has_release(release.id):
            with named_errors("store a release"):
                write_durably(self._releases / f"{release.id}.json", data)
        return release.id

    def has_release(self, release_id: str) -> bool:
        """Whether the manifest of a release is here and whole."""
        try:
            self.release(release_id)
        except StoreError:
            return False
        return True

    def release(self, release_id: str) -> Release:
        """The manifest with this id. Raises StoreError where it is missing or damaged."""
        data = self._read_json(
            self._releases / f"{check_digest(release_id)}.json", f"release {release_id[:12]}"
        )
        if hashlib.sha256(data).hexdigest() != release_id:
            raise StoreError("the manifest of a release is damaged", expected=release_id, found="other bytes")
        return Release.from_bytes(data)

    def read_package(self, release: Release) -> bytes:
        """The package of a release: its parts joined, every digest checked."""
        data = b"".join(self.blobs.read(digest) for digest, _ in release.parts)
        found = hashlib.sha256(data).hexdigest()
        if found != release.package_sha256:
            raise StoreError(
                "the parts of a release do not make its package",
                expected=f"sha256 {release.package_sha256}",
                found=f"sha256 {found}",
            )
        return data

    # -- slots --------------------------------------------------------------------------------------------------

    def names(self) -> tuple[str, ...]:
        """Every name that something was deployed under, in alphabetical order."""
        return tuple(sorted(path.stem for path in self._slots.glob("*.json") if NAME.fullmatch(path.stem)))

    def slot_path(self, name: str) -> Path:
        """The file that is replaced whenever what ``name`` stands for changes."""
        return self._slots / f"{check_name(name)}.json"

    def slot(self, name: str) -> Slot:
        """The slot of ``name``; an empty one when nothing was ever deployed under it."""
        path = self.slot_path(name)
        if not path.exists():
            return Slot(name)
        return self._read_slot(path, name)

    def slot_or_fresh(self, name: str) -> Slot:
        """As :meth:`slot`; one that cannot be read must not stand in the way of the deploy that repairs it."""
        try:
            try:
                return self.slot(name)
            except StoreError as error:
                if not isinstance(error.__cause__, OSError):
                    raise
                return self.slot(name)  # a card that did not answer once has lost nothing
        except StoreError as error:
            return Slot(name).after("lost", None, str(error), unix_seconds=time.time())

    def current(self, name: str) -> Release:
        """The release that runs under ``name``."""
        slot = self.slot(name)
        if slot.current is None:
            known = ", ".join(self.names()) or "nothing"
            hint = f"A file is opened by its path: ./{name}" if os.path.exists(name) else "Deploy it first."
            raise StoreError(f"nothing is deployed under the name {name}", found=known, hint=hint)
        return self.release(slot.current)

    def begin_trial(self, release_id: str, keep: int | None = None) -> Slot:
        """Puts a release on trial in the slot of its name; ``current`` stays what it is.

        ``keep``: how many releases the slot keeps from its next confirmation on; None: as many as before.
        """
        release = self.release(release_id)
        slot = self.slot_or_fresh(release.name)
        if slot.trial is not None:
            cut = "interrupted before its health check was finished"
            slot = slot.after("reverted", slot.trial, cut, unix_seconds=time.time())
        keep = slot.keep if keep is None else check_keep(keep)
        return self._save(dataclasses.replace(slot, trial=release_id, keep=keep))

    def passed(self, name: str, inference_seconds: float, environment: str | None = None) -> Slot:
        """The release on trial stays there, its health check passed; remembers what an inference of it took."""
        slot = self._on_trial(name)
        return self._save(slot.checked(str(slot.trial), inference_seconds, environment))

    def confirm(
        self, name: str, inference_seconds: float | None = None, environment: str | None = None
    ) -> Slot:
        """The release on trial becomes the current one; those before it are kept, as many as the slot says."""
        slot = self._on_trial(name)
        slot = slot.checked(str(slot.trial), inference_seconds, environment)
        reason = f"checked again under {environment}" if environment and slot.trial == slot.current else ""
        release = self.release(str(slot.trial))
        if release.number is not None:
            slot = dataclasses.replace(
                slot, number=release.number if release.downgrade else max(release.number, slot.number)
            )
        return self._save(
            slot.after(
                "confirmed",
                slot.trial,
                reason,
                unix_seconds=time.time(),
                current=slot.trial,
                trial=None,
                **self._kept(slot, slot.trial),
            )
        )

    def _kept(self, slot: Slot, current: str | None) -> dict[str, Any]:
        """``previous`` and ``older`` of a slot whose current release is to be ``current``.

        A damaged release is left out: there is no way back to it, and it must not keep others from being removed.
        """
        before = [r for r in dict.fromkeys((slot.current, *slot.before)) if r not in (None, current)]
        whole = [r for r in before if r is not None and self.has_release(r)][: slot.keep - 1]
        return {"previous": whole[0] if whole else None, "older": tuple(whole[1:])}

    def keep(self, name: str, keep: int) -> Slot:
        """From now on ``name`` keeps this many releases; what is too many goes with the next :meth:`collect`."""
        slot = self.slot(name)
        if slot.keep == check_keep(keep):
            return slot
        slot = dataclasses.replace(slot, keep=keep)
        return self._save(dataclasses.replace(slot, **self._kept(slot, slot.current)))

    def revert(self, name: str, reason: str) -> Slot:
        """Ends the trial without a change of ``current``, and keeps the reason."""
        slot = self._on_trial(name)
        return self._save(slot.after("reverted", slot.trial, reason, unix_seconds=time.time(), trial=None))

    def refused(self, name: str, release_id: str, reason: str) -> Slot:
        """Keeps why a release was not even tried; what ``name`` stands for stays what it is.

        The same refusal again (a deploy in a loop) is one event: it must not push the others out of the history.
        """
        return self.happened(name, "refused", release_id, reason)

    def happened(self, name: str, event: str, release_id: str, reason: str) -> Slot:
        """Keeps an event that changes nothing of what ``name`` stands for; the last one again counts once.

        Raises StoreError where the slot cannot be read: then nothing is worth writing over it.
        """
        slot = self.slot(name)
        told = slot.after(event, release_id, reason, unix_seconds=time.time())
        if slot.history and {**slot.history[-1], "unix_seconds": 0} == {
            **told.history[-1],
            "unix_seconds": 0,
        }:
            told = dataclasses.replace(told, history=(*slot.history[:-1], told.history[-1]))
        return self._save(told)

    def remember_threads(self, name: str, choice: Mapping[str, Any]) -> Slot:
        """Keeps the threads that the release on trial is to run with (:mod:`device_agent.measuring.threads`)."""
        slot = self._on_trial(name)
        known = {**slot.threads, str(slot.trial): read(ThreadChoice, choice)}
        return self._save(dataclasses.replace(slot, threads=known))

    def remember_kernels(self, name: str, choice: Mapping[str, Any], release_id: str | None = None) -> Slot:
        """Keeps the kernels that a release of the slot, by default the one on trial, is to run with
        (:mod:`device_agent.measuring.kernel_choice`)."""
        slot = self._on_trial(name) if release_id is None else self.slot(name)
        known = {**slot.kernels, release_id or str(slot.trial): read(KernelChoice, choice)}
        return self._save(dataclasses.replace(slot, kernels=known))

    def _on_trial(self, name: str) -> Slot:
        slot = self.slot(name)
        if slot.trial is None:
            raise StoreError(f"nothing is on trial under the name {name}")
        return slot

    def rollback(
        self,
        name: str,
        reason: str = "asked for",
        *,
        to: str | None = None,
        or_to_nothing: bool = False,
    ) -> Slot:
        """An earlier release becomes the current one again: ``to``, else the previous one. What was newer is let go.

        With ``or_to_nothing`` a name that has no previous release stands for nothing again, as before its first deploy.
        """
        slot = self.slot(name)
        if slot.current is None or (slot.previous is None and not or_to_nothing):
            raise StoreError(f"there is no earlier release of {name} to go back to")
        to = slot.previous if to is None else to
        if to is None:
            back: tuple[str, ...] = ()
        else:
            self._require_whole(to, slot)
            back = slot.before[slot.before.index(to) + 1 :]
        pointers = {
            "current": to,
            "previous": back[0] if back else None,
            "older": back[1:],
            "trial": None,
        }
        return self._save(
            slot.after("rolled back", slot.current, reason, unix_seconds=time.time(), **pointers)
        )

    def _require_whole(self, release_id: str, slot: Slot) -> None:
        """Raises StoreError unless a release, manifest and every blob, is there for a rollback."""
        try:
            lacking = self.blobs.missing(self.release(release_id).blobs)
        except StoreError:
            lacking = (release_id,)
        if lacking:
            others = ", ".join(other[:12] for other in slot.before if other != release_id)
            raise StoreError(
                f"the release {release_id[:12]} of {slot.name} is damaged, so there is no way back to it",
                expected="every part of it",
                found=f"{len(lacking)} missing or damaged",
                hint=f"Deploy it again, or go back to another one: {others}."
                if others
                else "Deploy it again.",
            )

    def _save(self, slot: Slot) -> Slot:
        with named_errors("write a slot"):
            write_durably(self.slot_path(slot.name), slot.to_bytes())
        return slot

    def forget(self, name: str) -> None:
        """``name`` stands for nothing any more, and its history is gone; one that never was is not an error."""
        with named_errors("remove a slot"):
            try:
                os.unlink(self._slots / f"{check_name(name)}.json")
            except FileNotFoundError:
                return

    # -- upkeep -------------------------------------------------------------------------------------------------

    def collect(self, sparing: Collection[str] = ()) -> int:
        """Removes what no slot refers to, and what a cut transfer left; how many bytes were freed.

        ``sparing``: blobs that stay in any case, also where only their beginning has arrived.
        """
        if self._place is None:
            places.remove_abandoned(self.folder)
        try:
            slots = [*self._slots_of_the_board(), *self._scratch_slots()]
            needed = {r for slot in slots for r in (slot.current, slot.trial) if r is not None}
            kept = needed | {r for slot in slots for r in slot.before if self.has_release(r)}
            releases = [self.release(release_id) for release_id in kept]
            blobs = {digest for release in releases for digest in release.blobs}
        except StoreError:
            return 0  # a damaged slot or manifest does not say what it needs, so nothing is removed
        doomed = [
            path for path in self._releases.iterdir() if path.suffix != ".json" or path.stem not in kept
        ]
        blobs |= {name for digest in sparing for name in (digest, f"{digest}.part")}
        doomed += [path for path in self.blobs.folder.iterdir() if path.name not in blobs]
        doomed += [path for path in self._board_slots.iterdir() if path.suffix != ".json"]
        freed = starts.collect(self.starts, {release.package_sha256 for release in releases})
        with named_errors("clean up the store"):
            for path in doomed:
                size = path.lstat().st_size
                os.unlink(path)
                freed += size
        return freed

    def _slots_of_the_board(self) -> list[Slot]:
        paths = sorted(self._board_slots.glob("*.json"))
        return [self._read_slot(path, path.stem) for path in paths if NAME.fullmatch(path.stem)]

    def _scratch_slots(self) -> list[Slot]:
        """Those of every place; one that cannot be read stands for nothing, since it is to go anyway."""
        slots = []
        for path in places.slot_files(self.folder):
            with contextlib.suppress(StoreError):
                slots.append(self._read_slot(path, path.stem))
        return slots

    def adopt(self, name: str, release_id: str) -> None:
        """In a scratch place a release that the board runs under ``name`` is what the name stands for there, too, with
        all that is known of it: it needs no health check to be measured."""
        path = self._board_slots / f"{check_name(name)}.json"
        if self._place is None or self.slot_path(name).exists() or not path.exists():
            return
        slot = self._read_slot(path, name)
        if slot.current == release_id:
            self._save(dataclasses.replace(slot, previous=None, older=(), trial=None, history=()))

    def discard(self) -> None:
        """Removes the scratch place that this store works in; a store of the board itself has none."""
        if self._place is not None:
            places.remove_place(self._slots)

    def _read_slot(self, path: Path, name: str) -> Slot:
        slot = Slot.from_bytes(self._read_json(path, f"slot {name}"), name)
        if slot.name != name:  # what is kept next would go into the other one's file
            raise StoreError(f"slot {name} is damaged", expected=f"the name {name}", found=repr(slot.name))
        return slot

    def _read_json(self, path: Path, what: str) -> bytes:
        with named_errors(f"read {what}"):
            try:
                with open(path, "rb") as file:
                    data = file.read(MAX_JSON_BYTES + 1)
            except FileNotFoundError:
                raise StoreError(f"the store has no {what}") from None
        if len(data) > MAX_JSON_BYTES:
            raise StoreError(f"{what} is too large", expected=f"at most {MAX_JSON_BYTES} bytes")
        return data
