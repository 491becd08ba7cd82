"""Differences between a board's outputs and the host's on made-up inputs, for any model without data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from device_agent.package import reader as package_format
from device_agent.record.schema import write
from device_agent.tensors.agreement import OutputAgreement, agreement
from sdk.api.boards.deploying import AS_IT_IS, deployed_on, package_of
from sdk.api.boards.runtimes import note_of
from sdk.api.file_requests import Opening, PackedOnTheWay
from sdk.api.files.opening import reading
from sdk.api.values import PathLike
from sdk.deploy.target import Target
from sdk.errors import RemoteError
from sdk.graph.on_host.host_model import HostModel
from sdk.tools.progress import Progress, silent
from sdk.tools.shown import Shown


@dataclass(frozen=True)
class Agreement(Shown):
    """All outputs of a board against the host's on ``cases`` made-up inputs; the health check passed before."""

    name: str
    board: str
    cases: int
    outputs: tuple[OutputAgreement, ...]
    board_seconds: float | None  # on the board, inferences alone; None where it is emulated
    runtime: str
    runtime_version: str
    emulated: bool
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        own = {key: value for key, value in vars(self).items() if key not in ("outputs", "notes")}
        return {**own, "outputs": [write(one) for one in self.outputs], "notes": list(self.notes)}


def agree(
    board: str,
    source: PathLike,
    target: Target,
    *,
    opening: Opening = AS_IT_IS,
    progress: Progress = silent,
) -> Agreement:
    """Runs a package (or model) on its golden inputs on the board; the distance of each output from the host's."""
    name, package = package_of(source, progress, packing=PackedOnTheWay(**reading(opening)))
    with deployed_on(board, source, (name, package), target, progress) as (
        session,
        golden,
        failures,
    ):
        outputs, said = session.agent.run_cases(name, golden.inputs, kernel=session.kernel)
        with HostModel(package_format.unpack(package).tflite) as model:
            infos = model.outputs
        if [a.shape for a in outputs] != [a.shape for a in golden.outputs]:
            raise RemoteError(
                "the board's outputs have other shapes",
                expected=", ".join(str(a.shape) for a in golden.outputs)[:200],
                found=", ".join(str(a.shape) for a in outputs)[:200],
            )
        # Where the host has several right answers, the nearest counts, as in the health check.
        answers = [
            tuple(
                agreement(info, list(here), list(there))
                for info, here, there in zip(infos, answer, outputs, strict=True)
            )
            for answer in (golden.outputs, *golden.alternatives)
        ]
        return Agreement(
            name=name,
            board=session.board.name,
            cases=len(golden.inputs[0]),
            outputs=max(answers, key=lambda answer: min(one.decibel for one in answer)),
            board_seconds=None if session.board.emulated else said.seconds,
            runtime=session.provisioned.runtime,
            runtime_version=session.provisioned.runtime_version,
            emulated=session.board.emulated,
            notes=note_of(failures, session),
        )
