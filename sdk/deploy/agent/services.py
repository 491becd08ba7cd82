"""Models that a board serves as services of its systemd, asked of its agent; answers are checked before believed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from device_agent.record.release import ReleaseName
from device_agent.record.schema import limits, record
from device_agent.record.visible import visible
from sdk.deploy.agent.answers import MAX_TEXT, Words, read_answer
from sdk.deploy.agent.remote_agent import RemoteAgent
from sdk.package.release import check_name
from sdk.tools.shown import Shown

#: A start may take as long as its unit allows (device_agent.serve.systemd_unit), and a stop comes before it.
SERVICE_SECONDS = 300.0
MAX_SERVICES = 1000


@dataclass(frozen=True)
class Service(Shown):
    """One model as a service. ``state`` is systemd's: active, inactive, failed, ..."""

    name: str
    unit: str
    socket: str
    state: str
    detail: str
    result: str
    restarts: int | None
    enabled: bool
    #: Whether it says itself that it takes requests; None where it does not run or does not answer.
    ready: bool | None
    #: Id of the release that answers.
    release: str | None

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


@dataclass(frozen=True)
class InstalledService:
    """The result of `sdk deploy --service`. ``advice`` is for the person at the terminal."""

    service: Service
    changed: bool
    restarted: bool
    linger: bool
    advice: str | None

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**self.service.to_json(), **{k: v for k, v in vars(self).items() if k != "service"}}


@dataclass(frozen=True)
class Services(Shown):
    """All services of a board. ``linger``: they run while nobody is logged in."""

    services: tuple[Service, ...]
    linger: bool

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"services": [service.to_json() for service in self.services], "linger": self.linger}


@record(may_lack=True, takes_unknown=True)
@dataclass(frozen=True)
class _Health:
    """What a service says of itself where it answers."""

    ready: bool = False
    models: Mapping[str, Any] = field(default_factory=dict)


@record(may_lack=True, takes_unknown=True)
@dataclass(frozen=True)
class _ServiceAnswer:
    name: ReleaseName
    unit: Words
    socket: Words
    state: Words
    detail: Words
    result: Words
    enabled: bool
    restarts: int | None = None
    health: _Health | None = None

    def service(self) -> Service:
        model = {} if self.health is None else self.health.models.get(self.name)
        release = model.get("release") if isinstance(model, Mapping) else None
        return Service(
            name=self.name,
            unit=self.unit,
            socket=self.socket,
            state=self.state,
            detail=self.detail,
            result=self.result,
            restarts=self.restarts,
            enabled=self.enabled,
            ready=None if self.health is None else self.health.ready,
            release=None if release is None else visible(release, most=MAX_TEXT),
        )


@record(may_lack=("restarts", "health", "advice"), takes_unknown=True)
@dataclass(frozen=True)
class _InstallAnswer(_ServiceAnswer):
    changed: bool = False
    restarted: bool = False
    linger: bool = False
    advice: Words | None = None


@record(takes_unknown=True)
@dataclass(frozen=True)
class _RemoveAnswer:
    removed: bool


@record(takes_unknown=True)
@dataclass(frozen=True)
class _StatusAnswer:
    services: tuple[_ServiceAnswer, ...] = field(metadata=limits(most=MAX_SERVICES))
    linger: bool


def install_service(agent: RemoteAgent, name: str, options: str | None = None) -> InstalledService:
    """Makes a deployed model a service; ``options`` of ``serve``, None to keep those that it has.

    Raises RemoteError, also where no systemd runs for the board's user.
    """
    answer = _call(agent, "install", name, *([] if options is None else [f"--options={options}"]))
    said = read_answer(_InstallAnswer, answer, "service")
    return InstalledService(said.service(), said.changed, said.restarted, said.linger, said.advice)


def start_service(agent: RemoteAgent, name: str) -> Service:
    """Starts a service that was stopped."""
    return read_answer(_ServiceAnswer, _call(agent, "start", name), "service").service()


def stop_service(agent: RemoteAgent, name: str) -> Service:
    """Stops a service when it has answered what it accepted."""
    return read_answer(_ServiceAnswer, _call(agent, "stop", name), "service").service()


def remove_service(agent: RemoteAgent, name: str) -> bool:
    """Ends a service for good and returns whether there was one."""
    return read_answer(_RemoveAnswer, _call(agent, "remove", name), "service").removed


def service_status(agent: RemoteAgent, name: str | None = None) -> Services:
    """State of one service, or of all."""
    said = read_answer(_StatusAnswer, _call(agent, "status", *([] if name is None else [name])), "service")
    return Services(tuple(answer.service() for answer in said.services), said.linger)


def _call(agent: RemoteAgent, action: str, *arguments: str) -> dict[str, Any]:
    if arguments:
        check_name(arguments[0])
    return agent.call(["service", action, *arguments], timeout_seconds=SERVICE_SECONDS)
