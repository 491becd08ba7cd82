"""Functions on many boards at once: rollout, status, rollback.

Each board has one connection at a time, and at most ``parallel`` boards are connected at once. The parts that all
boards share (the package, its golden pair, the wheels, the decoder) are made once.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sdk.api.boards.deploying import package_of
from sdk.api.boards.fleet_results import (
    FleetBoard,
    FleetBoardRollback,
    FleetBoardStatus,
    FleetDeployment,
    FleetRollback,
    FleetStatus,
)
from sdk.api.boards.releases import agent_of, status_of
from sdk.api.boards.runtimes import with_a_runtime
from sdk.api.files.golden import remembered_golden
from sdk.api.files.packing import title_of
from sdk.api.files.signatures import signed_release
from sdk.api.release_requests import DeployFleet, FleetQuery, RollbackFleet
from sdk.api.results import SlotStatus
from sdk.api.values import PathLike
from sdk.deploy.fleet.hosts import FleetHost, Inventory
from sdk.deploy.fleet.inventory import load_inventory
from sdk.deploy.fleet.journal import Journal
from sdk.deploy.fleet.plan import RolloutPlan
from sdk.deploy.fleet.rollout import GOOD, Outcome, Rollout
from sdk.deploy.provision.provisioning import prefer, read_facts
from sdk.deploy.session import Session, open_connection, open_session
from sdk.deploy.target import Target
from sdk.errors import ArmletError, ConnectionFailed
from sdk.package.release import PreparedRelease, prepare, release_name
from sdk.tools.option import build
from sdk.tools.progress import Progress, silent

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from sdk.api.keywords import DeployFleetOptions, FleetQueryOptions, RollbackFleetOptions

_Result = TypeVar("_Result")


def deploy_fleet(
    inventory: PathLike,
    source: PathLike,
    *,
    progress: Progress = silent,
    **options: Unpack[DeployFleetOptions],
) -> FleetDeployment:
    """Deploys a package (or any model) to every board of an inventory: a canary first, then batches.

    The rollout stops when a canary or more than ``plan.max_failures`` boards fail, and what it confirmed is taken back.
    The same call again goes on where it was interrupted. ``board`` is the type of boards for which the inventory names
    none; ``keep`` how many releases of the name each keeps (None: as its board's file says, else as before); ``golden``
    replaces the input and answer that :func:`sdk.api.files.golden.golden_pair` makes. ``watch`` is called with every
    change, from any thread. Raises ArmletError where the rollout cannot begin; boards that fail are in the record.
    ``options``: see :class:`sdk.api.release_requests.DeployFleet`. Raises TypeError for others.
    """
    request = build(DeployFleet, options, function="deploy_fleet")
    plan = request.plan or RolloutPlan()
    fleet = load_inventory(Path(inventory), board=request.board).select(request.group)
    release = _release_of(source, request, progress)
    hosts = {host.name: host for host in fleet.hosts}
    connections = _Connections()
    push = _Push(release, request, hosts, connections)
    begun = time.monotonic()
    addresses = {name: host.address for name, host in hosts.items()}
    with Journal(release.id, Path(inventory), request.group) as journal:
        rollout = Rollout(
            addresses,
            plan,
            journal,
            deploy=push.deploy,
            revert=push.revert,
            abort=connections.close,
            watch=request.watch,
        )
        outcomes = rollout.run()
        return FleetDeployment(
            name=release.name,
            release=release.id,
            package_sha256=release.package_sha256,
            package_bytes=release.package_bytes,
            inventory=str(inventory),
            group=request.group,
            plan=_plan_json(plan),
            ended=_ended(rollout, outcomes),
            stopped=rollout.stopped,
            resumed=journal.resumed_from is not None,
            seconds=time.monotonic() - begun,
            boards=tuple(_board(hosts[outcome.name], outcome) for outcome in outcomes),
            notes=fleet.notes,
        )


def fleet_status(
    inventory: PathLike, *, progress: Progress = silent, **options: Unpack[FleetQueryOptions]
) -> FleetStatus:
    """The releases on every board of an inventory, and the room on its disk.

    ``options``: see :class:`sdk.api.release_requests.FleetQuery`. Raises TypeError for others.
    """
    request = build(FleetQuery, options, function="fleet_status")
    fleet = load_inventory(Path(inventory), board=request.board).select(request.group)

    def ask(host: FleetHost) -> FleetBoardStatus:
        known: dict[str, Any] = {
            "name": host.name,
            "board": host.board,
            "address": host.address,
            "groups": host.groups,
            "vars": dict(host.vars),
        }
        try:
            with open_connection(host.board, _target(host, request.accept_new_host_key)) as (
                kind,
                connection,
            ):
                free = read_facts(connection).free_disk_bytes
                return FleetBoardStatus(**known, status=status_of(kind, connection), free_disk_bytes=free)
        except (ArmletError, OSError) as error:
            return FleetBoardStatus(**known, reason=str(error))

    boards = _all(fleet, ask, request.parallel, "ask the boards", progress)
    return FleetStatus(str(inventory), request.group, boards, fleet.notes)


def rollback_fleet(
    inventory: PathLike, name: str, *, progress: Progress = silent, **options: Unpack[RollbackFleetOptions]
) -> FleetRollback:
    """Goes back to the release before the current one, or to the one whose id begins with ``to``, on every board of
    an inventory that has it.

    ``options``: see :class:`sdk.api.release_requests.RollbackFleet`. Raises TypeError for others.
    """
    request = build(RollbackFleet, options, function="rollback_fleet")
    fleet = load_inventory(Path(inventory), board=request.board).select(request.group)

    def go_back(host: FleetHost) -> FleetBoardRollback:
        try:
            with open_connection(host.board, _target(host, request.accept_new_host_key)) as (
                kind,
                connection,
            ):
                slot = SlotStatus.from_answer(
                    agent_of(kind, connection).rollback(release_name(name), request.reason, to=request.to)
                )
                return FleetBoardRollback(host.name, host.board, host.address, slot)
        except (ArmletError, OSError) as error:
            return FleetBoardRollback(host.name, host.board, host.address, reason=str(error))

    boards = _all(fleet, go_back, request.parallel, "go back", progress)
    return FleetRollback(name, str(inventory), request.group, boards, fleet.notes)


# -- inside ---------------------------------------------------------------------------------------------------------


def _release_of(source: PathLike, request: DeployFleet, progress: Progress) -> PreparedRelease:
    name, package = package_of(source, progress, name=request.name, packing=request.packing)
    signed = signed_release(source, package)
    if signed is not None and request.name in (None, signed.name) and request.golden is None:
        return signed.prepared(package)
    progress("golden answer", 0, 0)
    return prepare(
        package,
        name,
        golden=request.golden or remembered_golden(package),
        title=request.name or title_of(package),
    )


class _Connections:
    """Those that are open, so that all of them can be closed at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: set[Any] = set()
        self._closed = False

    @contextlib.contextmanager
    def session(self, host: FleetHost, accept: bool, progress: Progress) -> Iterator[Session]:
        if self._closed:
            raise ConnectionFailed(f"{host.name} is not connected", found="Ctrl-C")
        with open_session(host.board, _target(host, accept), progress) as session:
            with self._lock:
                self._open.add(session.connection)
            try:
                yield session
            finally:
                with self._lock:
                    self._open.discard(session.connection)

    def close(self) -> None:
        # Called from a signal's handler, which may hold the lock already: so without it.
        self._closed = True
        for connection in list(self._open):
            connection.close()


@dataclass(frozen=True)
class _Push:
    """One release to the boards of a fleet, one board at a time, from any thread."""

    release: PreparedRelease
    request: DeployFleet
    hosts: Mapping[str, FleetHost]
    connections: _Connections

    def deploy(
        self, name: str, installing: Callable[[], None], stage: Callable[[str], None]
    ) -> dict[str, Any]:
        accept, keep = self.request.accept_new_host_key, self.request.keep
        with self.connections.session(self.hosts[name], accept, _stages(stage)) as session:
            session, deployed, _ = with_a_runtime(
                session,
                _target(self.hosts[name], accept),
                _stages(stage),
                lambda at: at.agent.install(
                    self.release,
                    limits=self.request.limits,
                    keep=at.board.keep_releases if keep is None else keep,
                    before_install=installing,
                    progress=_stages(stage),
                ),
            )
            prefer(session.connection, session.provisioned)
            return {
                "state": deployed.state,
                "sent_bytes": deployed.sent_bytes,
                "provisioned_bytes": session.provisioned.sent_bytes,
                "largest_difference": deployed.largest_difference,
                "runtime": session.provisioned.runtime,
                "runtime_version": session.provisioned.runtime_version,
            }

    def revert(self, name: str, reason: str) -> bool:
        accept = self.request.accept_new_host_key
        with self.connections.session(self.hosts[name], accept, silent) as session:
            return session.agent.take_back(self.release, reason)


def _target(host: FleetHost, accept_new_host_key: bool) -> Target:
    return Target(
        host=None if host.here else host.host,
        port=host.port,
        user=host.user,
        key=host.key,
        known_hosts=host.known_hosts,
        accept_new_host_key=accept_new_host_key,
        runtime=host.runtime,
    )


def _stages(stage: Callable[[str], None]) -> Progress:
    """A progress callback that tells of a stage when it begins, and not of every block that is sent."""
    last = [""]

    def report(name: str, done: int, total: int) -> None:
        if name != last[0]:
            last[0] = name
            stage(name)

    return report


def _all(
    fleet: Inventory,
    work: Callable[[FleetHost], _Result],
    parallel: int,
    stage: str,
    progress: Progress,
) -> tuple[_Result, ...]:
    """What ``work`` makes of every board, in order."""
    progress(stage, 0, len(fleet.hosts))
    with ThreadPoolExecutor(parallel, thread_name_prefix="board") as pool:
        futures = [pool.submit(work, host) for host in fleet.hosts]
        for done, _ in enumerate(as_completed(futures), 1):
            progress(stage, done, len(fleet.hosts))
    return tuple(future.result() for future in futures)


def _ended(rollout: Rollout, outcomes: Sequence[Outcome]) -> str:
    if rollout.interrupted:
        return "interrupted"
    if rollout.stopped:
        return "stopped"
    return "succeeded" if all(outcome.state in GOOD for outcome in outcomes) else "incomplete"


def _plan_json(plan: RolloutPlan) -> dict[str, Any]:
    return {**vars(plan), "canary": str(plan.canary), "batch": str(plan.batch)}


def _board(host: FleetHost, outcome: Outcome) -> FleetBoard:
    details: Mapping[str, Any] = outcome.details
    return FleetBoard(
        name=host.name,
        board=host.board,
        address=host.address,
        groups=host.groups,
        vars=dict(host.vars),
        wave=outcome.wave,
        state=outcome.state,
        reason=outcome.reason,
        seconds=outcome.seconds,
        **details,
    )
