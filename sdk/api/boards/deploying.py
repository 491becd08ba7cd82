"""Deploys a model: makes its package and the host's golden answers, and pushes both."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from device_agent.package.codec.format import MAGIC
from sdk.api.boards.runtimes import note_of, with_a_runtime
from sdk.api.file_requests import PackedOnTheWay
from sdk.api.files.golden import remembered_golden
from sdk.api.files.layout import with_channels_last
from sdk.api.files.opening import reading
from sdk.api.files.packing import A_PACKAGE, name_of, title_of
from sdk.api.files.signatures import signed_as, signed_release
from sdk.api.files.usage import package_metadata, readable_part, usage_notes, usage_of
from sdk.api.release_requests import Deploy
from sdk.api.results import Deployment
from sdk.api.values import PathLike
from sdk.deploy.agent.answers import Prepared
from sdk.deploy.predicting.kernel_choice import settle_kernels
from sdk.deploy.provision.provisioning import prefer
from sdk.deploy.session import Session, open_scratch_session, open_session
from sdk.deploy.target import Target
from sdk.errors import ModelError, UnsupportedOperator
from sdk.graph.on_host.sources.convert import is_tflite, tflite_bytes
from sdk.graph.reader import read_graph
from sdk.graph.writer import write_graph
from sdk.package import pack as packer
from sdk.package.release import Golden, release_name
from sdk.tools.option import build
from sdk.tools.progress import Progress, silent
from sdk.tools.system.files import read_file

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from sdk.api.keywords import DeployOptions


#: Nothing is said of how a model is packed.
AS_IT_IS = PackedOnTheWay()


def deploy_model(
    board: str, source: PathLike, *, progress: Progress = silent, **options: Unpack[DeployOptions]
) -> Deployment:
    """Pushes a package (or any model, packed on the way) and makes it the release that runs there under its name.

    The board runs the host's golden input before it confirms the new release; with ``keep_on_trial`` it leaves the old
    one running until :func:`sdk.confirm_model`. A signature beside the package (``sdk sign``) goes with it. ``keep``:
    how many releases of that name the board keeps, the current one included; None takes the number of the board's file
    (``keep_releases``), else leaves it as it was, at first 2. ``limits``: how much the new release may need there.
    ``options``: see :class:`sdk.api.release_requests.Deploy`. Raises TypeError for others.
    """
    request = build(Deploy, options, function="deploy_model")
    name, package, lost = package_with_notes(source, progress, request.name, request.packing)
    signed, title = signed_release(source, package), request.name or title_of(package)
    if signed is not None and request.name is None:
        name = signed.name
    golden = remembered_golden(package)  # before the board is asked: what the host cannot run is not sent
    with open_session(board, request, progress) as session:
        session, deployed, failures = with_a_runtime(
            session,
            request,
            progress,
            lambda at: at.agent.deploy(
                package,
                name,
                golden=golden,
                signed=signed,
                title=title,
                limits=request.limits,
                keep_on_trial=request.keep_on_trial,
                keep=at.board.keep_releases if request.keep is None else request.keep,
                progress=progress,
            ),
        )
        if deployed.state != "trial":  # the runtime that its health check passed under
            prefer(session.connection, session.provisioned)
        runtime = session.provisioned.runtime, session.provisioned.runtime_version
        deployed = settle_kernels(session.board, session.agent, deployed, package, runtime, progress)
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
            prepared=without_emulated_times(deployed.prepared, session.board.emulated),
            title=title,
            notes=note_of(failures, session),
            usage_notes=lost,
        )


def without_emulated_times(prepared: Prepared | None, emulated: bool) -> Prepared | None:
    """The board's preparations for a release, without the times of an emulator."""
    if prepared is None or not emulated:
        return prepared
    return replace(prepared, start_seconds=None, cold_start_seconds=None, kernels_starts=None)


@contextlib.contextmanager
def deployed_on(
    board: str, source: PathLike, named: tuple[str, bytes], target: Target, progress: Progress
) -> Iterator[tuple[Session, Golden, tuple[str, ...]]]:
    """A session in which a package runs, ``named`` as by :func:`package_of`; its golden pair; runtimes that failed.

    It runs in a scratch place: what the board runs under that name, and its history, stay as they are. The host answers
    before the board is asked: a model that the host cannot run is not sent.
    """
    name, package = named
    golden, signed = remembered_golden(package), signed_as(name, source, package)
    with open_scratch_session(board, target, progress) as session:
        session, _, failures = with_a_runtime(
            session,
            target,
            progress,
            lambda at: at.agent.deploy(
                package,
                name,
                golden=golden,
                signed=signed,
                title=title_of(package),
                progress=progress,
            ),
        )
        yield session, golden, failures


def package_of(
    source: PathLike,
    progress: Progress,
    *,
    name: str | None = None,
    packing: PackedOnTheWay = AS_IT_IS,
) -> tuple[str, bytes]:
    """Name and package bytes of a file that is a package, or a model that becomes one without loss.

    ``name``: of the release; None takes the name in the package, else that of its file. Raises ModelError, also for a
    package together with options in ``packing``.
    """
    return package_with_notes(source, progress, name, packing)[:2]


def package_with_notes(
    source: PathLike, progress: Progress, name: str | None, packing: PackedOnTheWay
) -> tuple[str, bytes, tuple[str, ...]]:
    """As :func:`package_of`, and what of a model's own metadata is not used on the way, and why."""
    path = Path(source)
    if path.is_file():
        data = read_file(path, A_PACKAGE)
        if data.startswith(MAGIC):
            if packing != AS_IT_IS:
                raise ModelError(
                    f"{path} is a package, which says all this itself",
                    expected="a model, or no option for how it is packed",
                    found="a package",
                    hint="Pack the model again with these options: `sdk pack`.",
                )
            return release_name(name or title_of(data) or name_of(path)), data, ()
    told: list[str] = []
    tflite = tflite_on_the_way(path, progress, packing, note=told.append)
    own, graph = name_of(path), readable_part(tflite)
    usage = usage_of(
        graph,
        preprocess=packing.preprocess,
        labels=packing.labels,
        task=packing.task,
        fit=packing.fit,
    )
    package = packer.pack(
        tflite,
        metadata={"name": own, **package_metadata(graph, usage)},
        progress=lambda done, total: progress("pack", done, total),
    )
    return release_name(name or own), package, (*told, *usage_notes(graph, usage))


def tflite_on_the_way(
    source: PathLike,
    progress: Progress,
    packing: PackedOnTheWay = AS_IT_IS,
    note: Callable[[str], None] | None = None,
) -> bytes:
    """The ``.tflite`` of a model that is not a package: as it is, whatever is in it; of another kind as `sdk convert`
    writes it. ``note`` is told what was done on the way. Raises ModelError."""
    path = Path(source)
    progress("convert", 0, 0)
    tflite = tflite_bytes(path, note=note or (lambda said: None), **reading(packing))
    if not is_tflite(path):
        with contextlib.suppress(UnsupportedOperator):
            tflite = write_graph(with_channels_last(read_graph(tflite))[0])
    return tflite


def told_apart(sources: Sequence[PathLike], packages: Sequence[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    """Packages that carry one name, such as several that were made of one model, go by the names of their files: by
    these alone, with the suffix, or with the folder, whichever tells them apart."""
    names = [name for name, _ in packages]
    shared = [number for number, name in enumerate(names) if names.count(name) > 1]
    for form in (_by_file, _by_suffix, _by_folder):
        found = {number: release_name(form(sources[number])) for number in shared}
        if len(set(found.values())) == len(shared):
            break
    return [(found.get(number, name), package) for number, (name, package) in enumerate(packages)]


def _by_file(source: PathLike) -> str:
    return name_of(source)


def _by_suffix(source: PathLike) -> str:
    return f"{name_of(source)}-{Path(source).suffix.lstrip('.') or 'folder'}"


def _by_folder(source: PathLike) -> str:
    return f"{Path(source).absolute().parent.name}-{_by_suffix(source)}"
