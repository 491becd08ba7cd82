"""Functions on the services of a board: a deployed model behind a socket, run by systemd (docs/serve.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdk.api.boards.releases import board_agent
from sdk.api.release_requests import InstallService
from sdk.deploy.agent import services as remote_service
from sdk.deploy.agent.services import InstalledService, Service, Services
from sdk.deploy.target import Target
from sdk.tools.option import build
from sdk.tools.progress import Progress, silent

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from sdk.api.keywords import InstallServiceOptions, TargetOptions


def install_service(
    board: str, name: str, *, progress: Progress = silent, **asked: Unpack[InstallServiceOptions]
) -> InstalledService:
    """Makes a deployed model a service that runs now and whenever the board starts; again, it changes nothing.

    ``options`` are those of ``python -m device_agent serve``, such as "--port 8080 --queue 32"; None keeps what the
    service has. ``asked``: see :class:`sdk.api.release_requests.InstallService`. Raises TypeError for others, and
    RemoteError, also where no systemd runs.
    """
    request = build(InstallService, asked, function="install_service")
    with board_agent(board, request, progress) as agent:
        progress("start the service", 0, 0)
        return remote_service.install_service(agent, name, request.options)


def start_service(
    board: str, name: str, *, progress: Progress = silent, **target: Unpack[TargetOptions]
) -> Service:
    """Starts a service that was stopped."""
    with board_agent(board, build(Target, target, function="start_service"), progress) as agent:
        return remote_service.start_service(agent, name)


def stop_service(
    board: str, name: str, *, progress: Progress = silent, **target: Unpack[TargetOptions]
) -> Service:
    """Stops a service until the board starts again; what it accepted is answered first."""
    with board_agent(board, build(Target, target, function="stop_service"), progress) as agent:
        return remote_service.stop_service(agent, name)


def remove_service(
    board: str, name: str, *, progress: Progress = silent, **target: Unpack[TargetOptions]
) -> bool:
    """Ends a service for good and returns whether there was one; the model stays deployed."""
    with board_agent(board, build(Target, target, function="remove_service"), progress) as agent:
        return remote_service.remove_service(agent, name)


def service_status(
    board: str, name: str | None = None, *, progress: Progress = silent, **target: Unpack[TargetOptions]
) -> Services:
    """State of one service of a board, or of all."""
    with board_agent(board, build(Target, target, function="service_status"), progress) as agent:
        return remote_service.service_status(agent, name)
