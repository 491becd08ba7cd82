"""Deploy a model: its package, the host's own answer to hold the board's against, and the push."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from device_agent.package import reader as package_format
from device_agent.package.codec.format import MAGIC
from sdk.api.files.golden import remembered_golden
from sdk.api.files.packing import A_PACKAGE, name_of
from sdk.api.files.usage import metadata_of_tflite
from sdk.api.release_requests import Deploy
from sdk.api.results import Deployment
from sdk.api.values import PathLike
from sdk.board.ssh import signing
from sdk.deploy.provision.provisioning import prefer
from sdk.deploy.session import open_session
from sdk.graph.on_host.convert import convert
from sdk.graph.writer import write_graph
from sdk.package import pack as packer
from sdk.tools.option import build
from sdk.tools.progress import Progress, silent
from sdk.tools.system.files import read_file

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from sdk.api.keywords import DeployOptions


def deploy_model(
    board: str, source: PathLike, *, progress: Progress = silent, **options: Unpack[DeployOptions]
) -> Deployment:
    """Pushes a package (or any model, packed on the way) and makes it what runs on the board under its name.

    The board runs the host's golden input before it confirms the new release; with ``keep_on_trial`` it leaves the
    old one running until :func:`sdk.confirm_model`. A signature beside the package (``sdk sign``) goes with it.
    ``keep``: how many releases of that name the board keeps, the current one included; None: as the board's file says
    (``keep_releases``), else as before, at first 2. ``limits``: what the new release may need there.
    ``options``: see :class:`sdk.api.release_requests.Deploy`. Raises TypeError for others.
    """
    request = build(Deploy, options, function="deploy_model")
    name, package = package_of(source, progress)
    signature = signing.signature_of(source, package)
    with open_session(board, request, progress) as session:
        deployed = session.agent.deploy(
            package,
            name,
            golden=remembered_golden(package),
            signature=signature,
            limits=request.limits,
            keep_on_trial=request.keep_on_trial,
            keep=session.board.keep_releases if request.keep is None else request.keep,
            progress=progress,
        )
        if deployed.state != "trial":  # the runtime that its health check passed under
            prefer(session.connection, session.provisioned)
        return Deployment(
            board=session.board.name,
            address=session.connection.address,
            name=name,
            release=deployed.release,
            state=deployed.state,
            package_bytes=deployed.package_bytes,
            sent_bytes=deployed.sent_bytes,
            provisioned_bytes=session.provisioned.sent_bytes,
            largest_difference=deployed.largest_difference,
            runtime=session.provisioned.runtime,
            runtime_version=session.provisioned.runtime_version,
            decode_kernels=session.provisioned.decode_kernels,
            prepared=deployed.prepared,
        )


def package_of(source: PathLike, progress: Progress) -> tuple[str, bytes]:
    """Name and package bytes of a file that is a package, or a model that becomes one without loss."""
    path = Path(source)
    if path.is_file():
        data = read_file(path, A_PACKAGE)
        if data.startswith(MAGIC):
            name = package_format.read(data).metadata.get("name") or path.stem
            return release_name(str(name)), data
    progress("convert", 0, 0)
    tflite = write_graph(convert(path))
    name = release_name(name_of(path))
    return name, packer.pack(
        tflite,
        metadata={"name": name, **metadata_of_tflite(tflite)},
        progress=lambda done, total: progress("pack", done, total),
    )


def release_name(name: str) -> str:
    """The name as the board's store takes it."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._")[:64] or "model"
