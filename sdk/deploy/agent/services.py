"""Models that a board serves as services of its systemd, asked of its agent; answers are checked before believed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sdk.deploy.agent.answers import not_acceptable, printable
from sdk.deploy.agent.remote_agent import RemoteAgent
from sdk.package.release import check_name

#: A start may take as long as its unit allows (device_agent.serve.systemd_unit), and a stop comes before it.
SERVICE_SECONDS = 300.0
MAX_SERVICES = 1000


@dataclass(frozen=True)
class Service:
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
    """What `sdk deploy --service` came to. ``advice`` is for the person at the terminal."""

    service: Service
    changed: bool
    restarted: bool
    linger: bool
    advice: str | None

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**self.service.to_json(), **{k: v for k, v in vars(self).items() if k != "service"}}


@dataclass(frozen=True)
class Services:
    """All services of a board. ``linger``: they run while nobody is logged in."""

    services: tuple[Service, ...]
    linger: bool

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"services": [service.to_json() for service in self.services], "linger": self.linger}


def install_service(agent: RemoteAgent, name: str, options: str | None = None) -> InstalledService:
    """Makes a deployed model a service; ``options`` of ``serve``, None to keep those that it has.

    Raises RemoteError, also where no systemd runs for who logs in.
    """
    answer = _call(agent, "install", name, *([] if options is None else [f"--options={options}"]))
    return InstalledService(
        _service(answer),
        _flag(answer, "changed"),
        _flag(answer, "restarted"),
        _flag(answer, "linger"),
        _text(answer, "advice") if answer.get("advice") is not None else None,
    )


def start_service(agent: RemoteAgent, name: str) -> Service:
    """Starts a service that was stopped."""
    return _service(_call(agent, "start", name))


def stop_service(agent: RemoteAgent, name: str) -> Service:
    """Stops a service when it has answered what it accepted."""
    return _service(_call(agent, "stop", name))


def remove_service(agent: RemoteAgent, name: str) -> bool:
    """Ends a service for good; whether there was one."""
    return _flag(_call(agent, "remove", name), "removed")


def service_status(agent: RemoteAgent, name: str | None = None) -> Services:
    """How one service is, or all."""
    answer = _call(agent, "status", *([] if name is None else [name]))
    listed = answer.get("services")
    if not isinstance(listed, list) or len(listed) > MAX_SERVICES:
        raise not_acceptable("service", "services", listed)
    return Services(tuple(_service(entry) for entry in listed), _flag(answer, "linger"))


def _call(agent: RemoteAgent, action: str, *arguments: str) -> dict[str, Any]:
    if arguments:
        check_name(arguments[0])
    return agent.call(["service", action, *arguments], timeout_seconds=SERVICE_SECONDS)


def _service(answer: Any) -> Service:
    if not isinstance(answer, Mapping):
        raise not_acceptable("service", "services", answer)
    restarts = answer.get("restarts")
    if restarts is not None and (type(restarts) is not int or restarts < 0):
        raise not_acceptable("service", "restarts", restarts)
    name = check_name(_text(answer, "name"))
    health = answer.get("health")
    models = health.get("models") if isinstance(health, Mapping) else None
    model = models.get(name) if isinstance(models, Mapping) else None
    release = model.get("release") if isinstance(model, Mapping) else None
    return Service(
        name=name,
        unit=_text(answer, "unit"),
        socket=_text(answer, "socket"),
        state=_text(answer, "state"),
        detail=_text(answer, "detail"),
        result=_text(answer, "result"),
        restarts=restarts,
        enabled=_flag(answer, "enabled"),
        ready=health.get("ready") is True if isinstance(health, Mapping) else None,
        release=printable(release) if release is not None else None,
    )


def _text(answer: Mapping[str, Any], key: str) -> str:
    value = answer.get(key)
    if not isinstance(value, str):
        raise not_acceptable("service", key, value)
    return printable(value)


def _flag(answer: Mapping[str, Any], key: str) -> bool:
    value = answer.get(key)
    if not isinstance(value, bool):
        raise not_acceptable("service", key, value)
    return value
