"""Makes a board ready: the runtime's environment, the agent and its decoder, pushed once and proved to work.

    ~/.armlet/                      0700
        env/<digest>/               numpy and a TFLite runtime, as pip --target would lay them out
        agent/<digest>/device_agent/  the agent, with the C decoder for this processor beside it
        accepted/<digest>.json      written when the smoke test of a pair of the two has passed: what it answered
        python                      runs python3 with the environment of the last deploy, before one of that which was
                                    accepted last, for edge applications
        store/                      what is deployed (device_agent.store.store)

The board needs python3 and sshd, nothing else. Trees are named by the digest of their content and appear whole or not
at all; those that are there already are not sent. An environment is used only after its smoke test: until then, and if
it fails, the earlier one goes on running.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import device_agent
from device_agent.record.kinds import Words
from device_agent.record.measurement import DELEGATES
from device_agent.record.schema import find_object, limits, read, record
from device_agent.record.visible import visible
from device_agent.record.wire import Failure
from sdk.board.facts import FACTS_SCRIPT, MAX_FACTS_BYTES, Facts, parse_facts
from sdk.deploy.provision.wheels import (
    NUMPY_ARCHITECTURES,
    Environment,
    Runtime,
    Tree,
    choose_runtime,
    fetch_environment,
    pack_tree,
    whole_environment,
)
from sdk.errors import ProvisionError, RemoteError
from sdk.tools.progress import Progress, silent

if TYPE_CHECKING:
    from sdk.board.ssh.command import Connection

#: Unpacking and syncing 75 MB on a slow SD card behind a slow link.
PUSH_SECONDS = 1800.0
#: The first import of numpy and the runtime on a slow board compiles their bytecode.
SMOKE_SECONDS = 300.0
#: Room that stays free on the board's disk.
SPARE_DISK_BYTES = 32 << 20
MAX_ANSWER_BYTES = 1 << 16
MAX_TEXT = 200

#: Starts the command behind the agent's folder, unless each kind of tree is there once: a board that is new has nothing
#: to remove, and Python takes a second to start on a slow one.
_PRUNE_WHERE_THERE_ARE_MORE = """\
for folder in env agent accepted; do
    [ "$(ls -A "$1/$folder" | wc -l)" -le 1 ] || { shift; exec "$@"; }
done
"""

KERNEL_FILE = "device_agent/package/_huffman.so"  # device_agent.package.kernel looks for it beside itself
DELEGATE_FILE = "device_agent/run/kernels/_delegate.so"  # as device_agent.run.kernels.delegate does


if TYPE_CHECKING:
    Said = str
else:
    Said = Words(MAX_TEXT)


@record(takes_unknown=True)
@dataclass(frozen=True)
class Proof:
    """The answer of a smoke test; kept on the board beside the trees that passed it."""

    runtime: Said
    runtime_version: Said
    numpy_version: Said
    delegate: str = field(metadata=limits(choices=DELEGATES))
    decode_kernels: tuple[Said, ...]


@dataclass(frozen=True)
class Provisioned:
    """A board that is ready. ``command`` begins every call of the agent; what it needs is in there."""

    facts: Facts
    command: tuple[str, ...]
    runtime: str
    runtime_version: str
    numpy_version: str
    #: "xnnpack", "none" or "unknown", as the smoke test found it.
    delegate: str
    #: Decoders that work there, the fastest first.
    decode_kernels: tuple[str, ...]
    #: What was sent; 0 when all of it was there.
    sent_bytes: int
    #: Whether the runtime's wheels are those of the lock; else somebody named its version.
    pinned: bool = True


def read_facts(connection: Connection) -> Facts:
    """One round trip. Raises RemoteError when the board does not answer like a machine with a shell."""
    done = connection.run(["sh", "-c", FACTS_SCRIPT], timeout_seconds=30, max_output_bytes=MAX_FACTS_BYTES)
    return parse_facts(done.stdout.decode("utf-8", "replace"))


#: The bytes of a shared library for the board, or what makes them when told the architecture ("aarch64"); None: none.
Library = bytes | Callable[[str], bytes | None] | None


def agent_tree(kernel: bytes | None = None, delegate: bytes | None = None) -> Tree:
    """The agent's modules, and the shared libraries of its C decoder and its kernels, where there are some."""
    root = Path(device_agent.__file__).parent
    files = {
        f"device_agent/{module.relative_to(root).as_posix()}": (module.read_bytes(), False)
        for module in sorted(root.rglob("*.py"))
    }
    if kernel is not None:
        files[KERNEL_FILE] = (kernel, True)
    if delegate is not None:
        files[DELEGATE_FILE] = (delegate, True)
    return pack_tree(files)


def bootstrap_source() -> str:
    """The text that the board's python3 runs to unpack a tree."""
    return Path(device_agent.__file__).with_name("bootstrap.py").read_text(encoding="utf-8")


def _check_home(facts: Facts) -> None:
    """Raises ProvisionError where nothing in the home folder may run."""
    if facts.noexec:
        raise ProvisionError(
            "the home folder on the board is mounted noexec, so no library in it can be loaded",
            expected="a home whose files may run",
            found=f"noexec at {facts.home}",
            hint=f"Remount it: sudo mount -o remount,exec MOUNTPOINT (`findmnt -T {facts.home}` names it, /etc/fstab "
            "keeps it), or log in as a user whose home is elsewhere.",
        )


def provision(
    connection: Connection,
    *,
    facts: Facts | None = None,
    kernel: Library = None,
    delegate: Library = None,
    runtime: str | None = None,
    version: str | None = None,
    preferred: Sequence[tuple[str, str]] = (),
    progress: Progress | None = None,
) -> Provisioned:
    """Makes the board behind ``connection`` ready, sending what is not there yet.

    ``kernel`` is the C decoder's shared library; None leaves decoding to numpy. ``delegate`` is that of Armlet's
    kernels; None leaves all operators to the runtime. ``runtime`` names one, with a ``version`` also one that is not
    pinned, and overrides ``preferred`` (name, version), the board file's order. Raises ProvisionError, RemoteError or
    ConnectionFailed.
    """
    report = progress or silent
    report("look at the board", 0, 0)
    facts = facts or read_facts(connection)
    _check_home(facts)
    chosen = choose_runtime(facts, name=runtime, version=version, preferred=preferred)
    environment = fetch_environment(chosen, facts, progress=progress)
    libraries = [made(facts.wheel_architecture) if callable(made) else made for made in (kernel, delegate)]
    agent = agent_tree(*libraries)

    root = posixpath.join(facts.home, ".armlet")
    env_path = posixpath.join(root, "env", environment.digest)
    agent_path = posixpath.join(root, "agent", agent.digest)
    packages = [env_path]
    if facts.wheel_architecture not in NUMPY_ARCHITECTURES and facts.numpy_folder is not None:
        packages.append(facts.numpy_folder)  # after ours: nothing else is taken from there
    python_path = ":".join([agent_path, *packages])
    command = (
        "env",
        f"PYTHONPATH={python_path}",
        f"ARMLET_HOME={root}",
        "python3",
        "-sS",  # no packages but those named: what runs is what was tested
        "-m",
        "device_agent",
    )
    pair = hashlib.sha256(f"{environment.digest}\n{agent.digest}\n".encode()).hexdigest()
    accepted = posixpath.join(root, "accepted", f"{pair}.json")
    proof = _proof(connection, accepted, [env_path, agent_path, posixpath.join(root, "python")])
    sent = 0
    if proof is None or not _proves_something(proof):
        _check_disk(facts, environment, agent)
        trees = _Trees(connection, root, chosen, facts, environment, agent)
        sent, answer = trees.bring(command, report)
        proof = json.dumps({**answer, "environment": environment.digest, "agent": agent.digest}).encode()
        connection.put(_launcher(python_path, root), posixpath.join(root, "python"), mode=0o700)
        connection.put(proof, accepted)
        # What it says does not matter: an old tree that stays is not a reason to refuse a board that works.
        connection.run(
            ["sh", "-c", _PRUNE_WHERE_THERE_ARE_MORE, "sh", root, *command, "prune"],
            max_output_bytes=MAX_ANSWER_BYTES,
        )
    return replace(_provisioned(facts, command, environment, proof, sent), pinned=chosen.pinned)


@dataclass(frozen=True)
class _Trees:
    """What a board is to have: an environment and an agent, in its agent's folder ``root``."""

    connection: Connection
    root: str
    runtime: Runtime
    facts: Facts
    environment: Environment
    agent: Tree

    def bring(self, command: Sequence[str], report: Progress) -> tuple[int, dict[str, Any]]:
        """Sends what is not there and runs the smoke test; bytes that were sent, and what it answered.

        Where the test fails, the trees that were there already are checked, and damaged ones are sent again.
        """
        sent = self._push(report)
        report("smoke test", 0, 0)
        try:
            return sent, _smoke_test(self.connection, command)
        except ProvisionError:
            if not check_trees(self.connection, self.root)[1]:
                raise
        sent += self._push(report)
        return sent, _smoke_test(self.connection, command)

    def _push(self, report: Progress) -> int:
        where = posixpath.join(self.root, "env", self.environment.digest)
        sent = 0
        if self.connection.run(["test", "-d", where], timeout_seconds=30).status != 0:
            whole = whole_environment(self.runtime, self.facts, self.environment, report)
            sent = _push(
                self.connection, where, whole.archive, whole.archive_sha256, report, "push the runtime"
            )
        where = posixpath.join(self.root, "agent", self.agent.digest)
        archive, sha256 = self.agent.archive, self.agent.archive_sha256
        return sent + _push(self.connection, where, archive, sha256, report, "push the agent")


def check_trees(connection: Connection, root: str) -> tuple[int, tuple[str, ...]]:
    """How many environments and agents are in the agent's folder on a board, and which of them were damaged: those are
    gone now, and sent again when they are needed."""
    done = connection.run(
        ["python3", "-sS", "-c", bootstrap_source(), "--check", root],
        timeout_seconds=PUSH_SECONDS,
        max_output_bytes=MAX_ANSWER_BYTES,
    )
    answer = _json_line(done.stdout)
    count, damaged = answer.get("trees"), answer.get("damaged")
    if (
        type(count) is not int
        or not isinstance(damaged, list)
        or not all(isinstance(d, str) for d in damaged)
    ):
        raise ProvisionError(
            "the board could not look at its environments",
            found=done.stderr_tail() or f"exit status {done.status}",
        )
    return count, tuple(visible(one, most=MAX_TEXT) for one in damaged)


def _check_disk(facts: Facts, environment: Environment, agent: Tree) -> None:
    needed = environment.unpacked_bytes + agent.unpacked_bytes + SPARE_DISK_BYTES
    if facts.free_disk_bytes is not None and facts.free_disk_bytes < needed:
        raise ProvisionError(
            "the board's disk is too full for the runtime",
            expected=f"{needed >> 20} MB free",
            found=f"{facts.free_disk_bytes >> 20} MB in {facts.home}",
        )


def _push(
    connection: Connection,
    destination: str,
    archive: bytes | Path,
    sha256: str,
    report: Progress,
    stage: str,
) -> int:
    """Sends a tree unless it is there; the bytes sent. A file is streamed: many boards may be served at once."""
    if connection.run(["test", "-d", destination], timeout_seconds=30).status == 0:
        return 0
    size = archive.stat().st_size if isinstance(archive, Path) else len(archive)
    report(stage, 0, size)
    done = connection.run(
        ["python3", "-sS", "-c", bootstrap_source(), destination, sha256, str(size)],
        stdin=archive,
        timeout_seconds=PUSH_SECONDS,
        max_output_bytes=MAX_ANSWER_BYTES,
        sent=lambda count: report(stage, count, size),
    )
    answer = _json_line(done.stdout)
    if done.status != 0 or not isinstance(answer.get("unpacked"), bool):
        raise ProvisionError(
            "the board could not unpack what was pushed",
            found=_failure(answer).what or done.stderr_tail() or f"exit status {done.status}",
        )
    return size


def _smoke_test(connection: Connection, command: Sequence[str]) -> dict[str, Any]:
    done = connection.run(
        [*command, "smoke"], timeout_seconds=SMOKE_SECONDS, max_output_bytes=MAX_ANSWER_BYTES
    )
    answer = _json_line(done.stdout)
    if done.status != 0:
        failure = _failure(answer)
        said = "; found ".join(t[:MAX_TEXT] for t in (failure.what, failure.found) if t)
        raise ProvisionError(
            "the runtime does not work on the board, and is not used",
            expected="the smoke test to pass",
            found=said or done.stderr_tail() or f"exit status {done.status}",
            hint=failure.hint and failure.hint[:MAX_TEXT],
        )
    return answer


def _launcher(python_path: str, root: str) -> bytes:
    path = shlex.quote(python_path)
    return (
        "#!/bin/sh\n"
        "# Written by armlet: python3 with the agent and the runtime that were tested here last.\n"
        f"PYTHONPATH={path}${{PYTHONPATH:+:$PYTHONPATH}} ARMLET_HOME={shlex.quote(root)} "
        'exec "${ARMLET_PYTHON:-python3}" "$@"\n'
    ).encode()


def launcher_is_whole(connection: Connection, root: str) -> bool:
    """Whether the launcher in the agent's folder on a board is as it was written, and runs what is there."""
    text = connection.get(posixpath.join(root, "python"), max_bytes=MAX_ANSWER_BYTES)
    found = re.search(rb"^PYTHONPATH=(.*)\$\{PYTHONPATH:\+", text or b"", re.MULTILINE)
    if found is None or text is None:
        return False
    try:
        [path] = shlex.split(found[1].decode())
    except ValueError:
        return False
    folders = path.split(":")
    there = 'for path; do [ -d "$path" ] || exit 1; done'
    return (
        text == _launcher(path, root)
        and connection.run(["sh", "-c", there, "sh", *folders], timeout_seconds=30).status == 0
    )


def prefer(connection: Connection, provisioned: Provisioned) -> None:
    """Makes this runtime the one that edge applications on the board get, of several that were accepted."""
    variables = dict(part.split("=", 1) for part in provisioned.command if "=" in part)
    root = variables["ARMLET_HOME"]
    path, wanted = posixpath.join(root, "python"), _launcher(variables["PYTHONPATH"], root)
    if connection.get(path, max_bytes=MAX_ANSWER_BYTES) != wanted:
        connection.put(wanted, path, mode=0o700)


def _provisioned(
    facts: Facts, command: tuple[str, ...], environment: Environment, proof: bytes, sent: int
) -> Provisioned:
    answer = read(Proof, _json_line(proof), what="the board's smoke test", error=RemoteError)
    if answer.decode_kernels not in (("c", "numpy"), ("numpy",)):
        found = ", ".join(answer.decode_kernels)
        raise RemoteError("the board's smoke test names no decoder", found=found)
    if answer.runtime != environment.runtime:
        raise RemoteError(
            "the board answers with another runtime than was pushed",
            expected=environment.runtime,
            found=answer.runtime,
        )
    return Provisioned(
        facts=facts,
        command=command,
        runtime=environment.runtime,
        runtime_version=answer.runtime_version,
        numpy_version=answer.numpy_version,
        delegate=answer.delegate,
        decode_kernels=answer.decode_kernels,
        sent_bytes=sent,
    )


#: $1 the proof; it counts where all that it speaks of is there: a tree that is lost is sent again.
_PROOF_OF = """\
proof=$1; shift
for path; do if [ ! -d "$path" ] && [ ! -s "$path" ]; then exit 44; fi; done
if [ -e "$proof" ]; then cat -- "$proof"; else exit 44; fi
"""


def _proof(connection: Connection, path: str, of: Sequence[str]) -> bytes | None:
    """What is kept of a smoke test, in one round trip; None where that, or what it is ``of``, is not there."""
    done = connection.run(
        ["sh", "-c", _PROOF_OF, "sh", path, *of], timeout_seconds=30, max_output_bytes=MAX_ANSWER_BYTES
    )
    return done.stdout if done.status == 0 else None


def _proves_something(proof: bytes) -> bool:
    """Whether what was kept of a smoke test can be read; a file that a power cut emptied counts as none."""
    try:
        read(Proof, _json_line(proof), what="the board's smoke test", error=RemoteError)
    except RemoteError:
        return False
    return True


def _json_line(data: bytes) -> dict[str, Any]:
    """The object in an answer; {} when it is none: the caller then says what was found instead."""
    return find_object(data, most=MAX_ANSWER_BYTES) or {}


def _failure(answer: dict[str, Any]) -> Failure:
    return read(Failure, answer, error=RemoteError)


def fetch_runtime(
    facts: Facts,
    *,
    runtime: str | None = None,
    preferred: Sequence[tuple[str, str]] = (),
    progress: Progress | None = None,
) -> Environment:
    """Fetches the runtime for boards like ``facts`` now, so that a later :func:`provision` needs no network."""
    chosen = choose_runtime(facts, name=runtime, preferred=preferred)
    return fetch_environment(chosen, facts, progress=progress)
