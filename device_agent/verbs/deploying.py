"""The verbs of the agent that change or check what is deployed: each takes parsed options and returns its answer."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, cast

from device_agent.errors import AgentError, ArmletError, DataError, SignatureError, StoreError
from device_agent.package import signature
from device_agent.record.release import MAX_BLOBS, MAX_ENVIRONMENT, Release, Slot
from device_agent.record.schema import parse_json
from device_agent.run.array_input import json_line_from_stdin
from device_agent.run.fresh_process import call_child
from device_agent.run.idle_check import DAMAGED, be_idle, drop_damaged, make_again
from device_agent.run.idle_check import look as look_at_start
from device_agent.run.installed import environment
from device_agent.store import quick_starts as starts
from device_agent.store.durable import is_full
from device_agent.store.store import Store, board_store, default_home
from device_agent.verbs.health import unfit

if TYPE_CHECKING:
    from device_agent.run.loaded import LoadedModel
    from device_agent.store.layout import Layout

# numpy and the runtime are imported where they are needed: `missing` and `install` of what is there already
# answer before numpy would have been imported on a slow board.


def slot_json(store: Store, slot: Slot) -> dict[str, Any]:
    """A slot with the size and digest of its current package; those are None where its manifest is damaged."""
    record = slot.to_json()
    record.pop("schema")
    try:
        current = store.release(slot.current) if slot.current else None
    except StoreError:
        current = None
    record["package_sha256"] = current.package_sha256 if current else None
    record["package_bytes"] = current.size if current else None
    record["title"] = current.title if current else None
    return record


def missing(options: Namespace) -> dict[str, Any]:
    """Answers which blobs of a list the board lacks, and whether the release runs already."""
    digests = json_line_from_stdin()
    if not isinstance(digests, list) or len(digests) > MAX_BLOBS:
        raise AgentError("`missing` reads a list of SHA-256", found=type(digests).__name__)
    store = board_store()
    lacking = store.blobs.missing(digests)
    runs = proved = False
    if options.release and not lacking:
        with store.locked():
            store.adopt(options.name, options.release)
            runs = _runs_as_it_should(store, options.name, options.release)
            proved = runs and _was_checked_here(store, options.name, options.release)
            if proved:
                if options.keep is not None:
                    store.keep(options.name, options.keep)
                store.collect()  # a deploy that was cut after it confirmed has not done so
        if proved:
            drop_damaged(store, store.release(options.release))
    return {
        "missing": list(lacking),
        "partial": store.blobs.partial(lacking),
        "current": proved,
        "recheck": runs and not proved,
    }


def _runs_as_it_should(store: Store, name: str, release_id: str) -> bool:
    """Whether a release is current, whole, and signed as this board wants it: then there is nothing to do."""
    slot = store.slot_or_fresh(name)
    if slot.current != release_id or slot.trial is not None or not store.has_release(release_id):
        return False
    release = store.release(release_id)
    try:
        require_signature(store, release)
    except SignatureError:
        return False  # `install` says so
    return not store.blobs.missing(release.blobs)


def _was_checked_here(store: Store, name: str, release_id: str) -> bool:
    """Whether a release passed its health check in the environment of this process."""
    return environment()[:MAX_ENVIRONMENT] in store.slot_or_fresh(name).checked_under.get(release_id, ())


def install(options: Namespace) -> dict[str, Any]:
    """Takes a release from standard input, tries it, and confirms it or goes back.

    Standard input: the line {"release": manifest, "blobs": [[sha256, size, offset], ...]}, then the bytes of those
    blobs, each from its offset on (what `missing` said had arrived of it).
    """
    header = json_line_from_stdin()
    if not isinstance(header, dict) or not isinstance(header.get("blobs"), list):
        raise AgentError("`install` reads a release and a list of blobs", found=repr(header)[:80])
    release = Release.from_bytes(json.dumps(header.get("release")).encode())
    blobs = []
    for blob in header["blobs"]:
        if not isinstance(blob, list) or len(blob) != 3 or not all(type(n) is int for n in blob[1:]):
            raise AgentError("a blob is a SHA-256, a size and an offset", found=repr(blob)[:80])
        if not 0 <= blob[2] <= blob[1]:
            raise AgentError("a blob begins before its end", found=repr(blob)[:120])
        blobs.append((blob[0], blob[1], blob[2]))
    stream = cast(io.BufferedIOBase, sys.stdin.buffer)
    return _install(board_store(), release, lambda: (stream, blobs), options)


def import_layout(options: Namespace) -> dict[str, Any]:
    """Installs the releases of an OCI image layout, one after the other, as `install` does; the first that is sent back
    ends it with an error."""
    from device_agent.store.layout import Layout

    installed = []
    with Layout(options.layout) as layout:
        releases = layout.releases()
        unknown = set(options.names) - {release.name for release in releases}
        if unknown:
            raise AgentError(
                f"the layout holds no release of {sorted(unknown)[0][:64]}",
                expected="one of " + ", ".join(release.name for release in releases),
            )
        for release in releases:
            if options.names and release.name not in options.names:
                continue
            installed.append(_import_release(layout, release, options))
    return {"releases": installed}


def _import_release(layout: Layout, release: Release, options: Namespace) -> dict[str, Any]:
    store = board_store()
    answer = _install(store, release, lambda: layout.stream(store.blobs.missing(release.blobs)), options)
    if answer["state"] == "reverted":
        raise AgentError(
            f"the board tried {release.name} and went back to what ran before",
            expected="its health check to pass",
            found=answer["reason"],
        )
    return answer


def _install(
    store: Store,
    release: Release,
    arriving: Callable[[], tuple[io.BufferedIOBase, list[tuple[str, int, int]]]],
    options: Namespace,
) -> dict[str, Any]:
    """One lock around all of it, so that two deploys cannot mix; the old release answers the whole time.

    ``arriving``: where the blobs that the board lacks come from, and (sha256, size, offset) of each.
    """
    answer: dict[str, Any] = {"name": release.name, "release": release.id, "check": None, "reason": ""}
    with store.locked():
        store.collect(sparing=release.blobs)  # what an earlier transfer left may fill the disk
        try:
            store.blobs.receive(*arriving())
        except StoreError as error:
            if is_full(error):  # then the beginning of a package is the last thing that it is there for
                with contextlib.suppress(StoreError):
                    store.collect()
            raise
        _refuse_unless_acceptable(store, release)
        runs = _runs_as_it_should(store, release.name, release.id)
        damaged = starts.require_whole(store.starts, release.package_sha256)
        if runs and _was_checked_here(store, release.name, release.id):
            if damaged:
                with contextlib.suppress(StoreError):
                    store.happened(release.name, "mended", release.id, DAMAGED)
                make_again(release)
            if options.keep is not None:
                store.keep(release.name, options.keep)
            store.collect()
            return {**answer, "state": "unchanged"}
        slot = store.slot_or_fresh(release.name)
        store.add_release(release)
        store.begin_trial(release.id, options.keep)
        answer["was_current"] = runs
        answer["check"], answer["reason"] = check_in_child(store, release.id, options)
        if answer["check"] is not None:
            answer["reason"] = unfit(
                answer["check"],
                old_seconds=slot.inference_seconds.get(slot.current or ""),
                max_seconds=_stricter(options.max_inference_seconds, release.max_inference_seconds),
                max_memory_bytes=_stricter(options.max_memory_bytes, release.max_memory_bytes),
            )
        if answer["reason"]:
            store.revert(release.name, answer["reason"])
            store.collect()
            return {**answer, "state": "reverted"}
        prepared = answer["check"].get("prepared")
        if prepared is not None:
            store.remember_threads(release.name, prepared["threads"])
            store.remember_kernels(release.name, prepared["kernels"])
        if options.keep_on_trial and not runs:
            store.passed(release.name, answer["check"]["inference_seconds"], environment())
            state = "trial"
        else:
            store.confirm(release.name, answer["check"]["inference_seconds"], environment())
            state = "unchanged" if runs else "confirmed"
        store.collect()
    return {**answer, "state": state}


def _stricter(asked: float | None, signed: float | None) -> Any:
    """The smaller limit of those that there are; None where there is none."""
    known = [limit for limit in (asked, signed) if limit is not None]
    return min(known) if known else None


def _refuse_unless_acceptable(store: Store, release: Release) -> None:
    """Raises SignatureError for a release that this board's policy does not take, and keeps the reason."""
    try:
        require_signature(store, release)
        require_newer(store, release)
    except SignatureError as error:
        with contextlib.suppress(StoreError):  # a full disk must not hide the refusal
            store.refused(release.name, release.id, str(error))
        store.collect()  # what was sent for nothing
        raise


def require_signature(store: Store, release: Release) -> None:
    """Raises SignatureError unless the manifest of a release is signed as this board wants it, if it does."""
    allowed_signers = signature.policy_of(default_home())
    if allowed_signers is None:
        return
    signature.require_policy(allowed_signers)
    if release.signature_sha256 is None:
        raise SignatureError(
            "this board takes signed releases only",
            expected=f"a signature by a key of its {signature.ALLOWED_SIGNERS}",
            found="none",
            hint="`sdk sign PACKAGE` makes one; then deploy again.",
        )
    signature.verify(release.signed_bytes, store.blobs.path(release.signature_sha256), allowed_signers)


def require_newer(store: Store, release: Release) -> None:
    """Raises SignatureError where a board that wants signatures has confirmed a release of a larger number under this
    name. Going back on the board (the verb `rollback`) is another matter."""
    if signature.policy_of(default_home()) is None:
        return
    known = store.slot_or_fresh(release.name).number
    if release.number is None or (release.number < known and not release.downgrade):
        raise SignatureError(
            "the release is older than one that this board has confirmed"
            if release.number is not None
            else "the signed release has no number",
            expected=f"a number of {max(known, 1)} or more",
            found="none" if release.number is None else str(release.number),
            hint="Sign it again; `sdk sign --allow-downgrade` where the board is to take an older one.",
        )


def check_in_child(store: Store, release_id: str, options: Namespace) -> tuple[dict[str, Any] | None, str]:
    """The answer of the health check, or why it failed. In a child, since a runtime may crash or hang on a model.

    The child then prepares the release (:mod:`device_agent.verbs.release_setup`). If that ends it, the check has
    passed all the same: its findings are in a file.
    """
    passed = store.folder / "passed.json"
    arguments = ["check", release_id, "--passed", str(passed)]
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(passed)
        try:
            reply = call_child(
                [*arguments, *(["--emulated"] if options.emulated else [])], options.check_seconds
            )
        except ArmletError as error:
            found = _findings(passed, release_id)
            return found, "" if found is not None else str(error)
        return reply, ""
    finally:
        with contextlib.suppress(OSError):
            os.unlink(passed)


def _findings(passed: Path, release_id: str) -> dict[str, Any] | None:
    """What a health check found that passed before its process ended otherwise; None where it did not pass."""
    try:
        found = parse_json(passed.read_bytes())
    except (OSError, DataError):
        return None
    return found if isinstance(found, dict) and found.get("release") == release_id else None


def check(options: Namespace) -> dict[str, Any]:
    """Runs the health check of a release, and with ``--passed`` makes its start ready."""
    from device_agent.verbs import health

    store = board_store()
    release = store.release(options.release)

    def passed(found: dict[str, Any], agent: LoadedModel) -> dict[str, Any]:
        from device_agent.verbs.release_setup import prepare

        try:
            options.passed.write_text(json.dumps(found))
        except OSError:  # a full disk: then nothing may be risked that could end this process
            return {}
        return {
            "prepared": prepare(
                store,
                release,
                agent,
                emulated=options.emulated,
                inference_seconds=found["inference_seconds"],
            )
        }

    return health.check(
        store,
        release,
        threads=options.threads,
        kernel=options.kernel,
        passed=passed if options.passed else None,
    )


def look(options: Namespace) -> dict[str, Any]:
    """Reads the whole start of what runs under a name while the machine is idle; one that is damaged is made again."""
    be_idle()
    return {"name": options.name, "start": look_at_start(board_store(), options.name)}


def mend(options: Namespace) -> dict[str, Any]:
    """Makes the start of a release again, because its files are not as they were made."""
    from device_agent.run.loaded import LoadedModel

    store = board_store()
    release = store.release(options.release)
    start = LoadedModel.of_release(store, release, kernels="runtime", warm=False).keep_start(store, release)
    return {"release": release.id, "bytes": start.model.size + start.weights.size}


def confirm(options: Namespace) -> dict[str, Any]:
    """Makes the release on trial the current one. Raises StoreError, or SignatureError where it must be signed."""
    store = board_store()
    with store.locked():
        slot = store.slot(options.name)
        if slot.trial is not None:
            require_signature(store, store.release(slot.trial))
            require_newer(store, store.release(slot.trial))
        return slot_json(store, store.confirm(options.name))


def rollback(options: Namespace) -> dict[str, Any]:
    """Makes an earlier release current; with ``--only-from`` only where that release is current still."""
    store = board_store()
    with store.locked():
        slot = store.slot(options.name)
        if options.only_from and slot.current != options.only_from:
            return {**slot_json(store, slot), "rolled_back": False}
        to = named_release(slot, options.to) if options.to else slot.previous
        if to is not None and store.has_release(to):
            require_signature(store, store.release(to))
        slot = store.rollback(options.name, options.reason, to=to, or_to_nothing=options.or_to_nothing)
        return {**slot_json(store, slot), "rolled_back": True}


def named_release(slot: Slot, beginning: str) -> str:
    """The release that a rollback can reach whose id begins so. Raises StoreError where none or several do."""
    found = [release_id for release_id in slot.before if release_id.startswith(beginning)]
    if len(found) != 1:
        raise StoreError(
            f"no earlier release of {slot.name} begins with {beginning[:64]!r}"
            if not found
            else f"several earlier releases of {slot.name} begin with {beginning[:64]!r}",
            expected="one of " + ", ".join(release_id[:12] for release_id in slot.before)
            if slot.before
            else "none, since there is no earlier release",
        )
    return found[0]


def forget(options: Namespace) -> dict[str, Any]:
    """Forgets names with their releases; answers how many bytes were freed."""
    store = board_store()
    with store.locked():
        for name in options.names:
            store.forget(name)
        return {"names": options.names, "freed_bytes": store.collect()}


def discard(options: Namespace) -> dict[str, Any]:
    """Removes the scratch place of this call with all that only it needed; answers how many bytes were freed."""
    store = board_store()
    with store.locked():
        store.discard()
        return {"freed_bytes": store.collect()}
