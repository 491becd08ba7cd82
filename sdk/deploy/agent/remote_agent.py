"""Pushes a package and talks to the agent; everything the board answers is checked before it is believed.

A package travels in parts (its header, then one part per section), each named by its SHA-256: only parts that the
board lacks are sent, so the same package again sends none, and a model with a retrained head sends the head.
The agent tries the new release beside the old one, and confirms it or says why it went back.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from device_agent.record.measurement import Measurement
from device_agent.record.schema import find_object, write
from device_agent.record.visible import visible
from device_agent.record.wire import Failure
from device_agent.tensors.rows import write_row
from sdk.deploy.agent.answers import (
    MAX_LONG_ANSWER_BYTES,
    MAX_TEXT,
    BenchAnswer,
    CheckAnswer,
    DoctorAnswer,
    InstallAnswer,
    KernelsAnswer,
    MissingAnswer,
    Prepared,
    RolledBackAnswer,
    RunAnswer,
    SlotAnswer,
    StatusAnswer,
    arrived_bytes,
    outputs_of,
    read_answer,
    rows_of,
)
from sdk.deploy.agent.limits import NO_LIMITS, CheckLimits
from sdk.deploy.agent.predictions import PredictAnswer
from sdk.errors import DataError, HealthCheckFailed, RemoteError, SignatureError
from sdk.package.release import Golden, PreparedRelease, check_name, prepare
from sdk.package.signed import SignedRelease
from sdk.tools.progress import Progress, silent

if TYPE_CHECKING:
    from sdk.board.ssh.command import Connection

#: (stage, done, total): ``total`` may be 0 while it is unknown.

#: Inputs go to the board in batches of about this many bytes.
BATCH_BYTES = 16 << 20
#: What any verb but `bench` and `run` may answer.
MAX_ANSWER_BYTES = 1 << 20
ANSWER_SECONDS = 60.0
INSTALL_SECONDS = 900.0
RUN_SECONDS = 3600.0

#: What `bench` takes for as many threads as there are CPUs to measure on: the big cores where a board has such.
ALL_THREADS = 0


@dataclass(frozen=True)
class Deployed:
    """How a deploy ended."""

    name: str
    release: str
    package_sha256: str
    #: "confirmed"; "unchanged" when this release ran already; "trial" when it waits to be confirmed.
    state: str
    package_bytes: int
    #: Bytes of parts that were sent; 0 when the board had all of them.
    sent_bytes: int
    #: From the health check; None when there was none to run.
    largest_difference: float | None
    check_seconds: float | None
    #: What the board made ready besides; None where there was nothing to do, or it could not.
    prepared: Prepared | None = None

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return write(self)


@dataclass(frozen=True)
class RemoteRun:
    """Predictions made on the board: ``outputs`` is float32 of shape (inputs, ...)."""

    outputs: np.ndarray
    #: Time on the board in ``predict``, without transfer and start-up.
    seconds: float
    count: int
    tflite_sha256: str
    decode_seconds: float
    decode_kernel: str
    runtime: str
    runtime_version: str
    threads: int


def _as_signed(signed: SignedRelease, data: bytes, name: str) -> PreparedRelease:
    """A signed release, which has a name of its own. Raises SignatureError where that is another one."""
    if signed.name != name:
        raise SignatureError(
            f"the release is signed for another name than {name}",
            expected=signed.name,
            found=name,
            hint=f"Deploy it with --name {signed.name}, or sign it for this name: `sdk sign --name`.",
        )
    return signed.prepared(data)


class RemoteAgent:
    """The agent of one board, called over a connection. ``command`` comes from
    :mod:`sdk.deploy.provision.provisioning`."""

    def __init__(self, connection: Connection, command: Sequence[str], *, emulated: bool = False) -> None:
        self.connection = connection
        self.command = tuple(command)
        self._emulated = emulated  # then the agent chooses nothing by time

    def in_scratch(self, token: str) -> RemoteAgent:
        """The same agent, for which names stand for what is deployed through it, in a place of their own: what the
        board runs stays as it is. :meth:`discard` ends the place."""
        return RemoteAgent(self.connection, [*self.command, f"--scratch={token}"], emulated=self._emulated)

    def discard(self) -> None:
        """Removes the scratch place of :meth:`in_scratch`, and from the board what only it needed."""
        self.call(["discard"])

    # -- deploying ----------------------------------------------------------------------------------------------

    def deploy(
        self,
        data: bytes,
        name: str,
        *,
        golden: Golden | None = None,
        signed: SignedRelease | None = None,
        title: str | None = None,
        limits: CheckLimits = NO_LIMITS,
        keep_on_trial: bool = False,
        keep: int | None = None,
        progress: Progress | None = None,
    ) -> Deployed:
        """Sends a package (or .tflite) and makes it what runs under ``name``, if its health check passes.

        ``signed`` is for boards that take only signed releases: it is sent as it was signed, with its own golden pair.
        ``keep``: how many releases of that name the board keeps, the current one included; None: as many as before, at
        first 2. ``title``: what people call the model, shown where it differs from ``name``. Raises RemoteError when
        the check does not pass; the earlier release then still runs.
        """
        return self.install(
            prepare(data, name, golden=golden, title=title)
            if signed is None
            else _as_signed(signed, data, name),
            limits=limits,
            keep_on_trial=keep_on_trial,
            keep=keep,
            progress=progress,
        )

    def install(
        self,
        prepared: PreparedRelease,
        *,
        limits: CheckLimits = NO_LIMITS,
        keep_on_trial: bool = False,
        keep: int | None = None,
        before_install: Callable[[], None] | None = None,
        progress: Progress | None = None,
    ) -> Deployed:
        """As :meth:`deploy`, with a release that was made ready before, once for many boards.

        ``before_install`` is called when the board runs something else, before anything is sent.
        """
        report = progress or silent
        name, blobs = prepared.name, prepared.blobs
        keeping = [] if keep is None else [f"--keep={keep}"]
        missing, state = self._missing(blobs, name, prepared.id, keeping)
        if state == "current":
            return Deployed(
                name, prepared.id, prepared.package_sha256, "unchanged", prepared.package_bytes, 0, None, None
            )
        if before_install is not None and state != "recheck":
            before_install()
        payload = [blobs[digest][offset:] for digest, offset in missing.items()]
        total = sum(len(blob) for blob in payload)
        header = {
            "release": write(prepared.record),
            "blobs": [[d, len(blobs[d]), offset] for d, offset in missing.items()],
        }
        report("push the model", 0, total)
        options = [*keeping, *(["--keep-on-trial"] if keep_on_trial else [])]
        if self._emulated:
            options.append("--emulated")
        if limits.inference_seconds is not None:
            options.append(f"--max-inference-seconds={limits.inference_seconds!r}")
        if limits.memory_bytes is not None:
            options.append(f"--max-memory-bytes={limits.memory_bytes}")
        answer = self.call(
            ["install", *options],
            stdin=json.dumps(header).encode() + b"\n" + b"".join(payload),
            timeout_seconds=INSTALL_SECONDS,
            sent=lambda count: (
                report("push the model", count, total)
                if count < total
                else report("decode, try and check on the board", 0, 0)
            ),
        )
        return self._deployed(answer, name, prepared.package_sha256, prepared.package_bytes, total)

    def _missing(
        self, blobs: Mapping[str, bytes], name: str, release_id: str, keeping: Sequence[str]
    ) -> tuple[dict[str, int], Literal["new", "current", "recheck"]]:
        """Which blobs the board lacks, and from which byte on: a transfer that was cut left the beginning there.

        "current" when the release is the one that runs, and there is nothing to do; "recheck" when it was confirmed
        in another environment than this agent's, so that its health check says nothing about this one.
        """
        arguments = ["missing", "--name", name, "--release", release_id, *keeping]
        answer = self.call(arguments, stdin=json.dumps(list(blobs)).encode() + b"\n")
        said = read_answer(MissingAnswer, answer, "missing")
        for digest in said.missing:
            if digest not in blobs:
                raise RemoteError(
                    "the agent asks for what is not part of the release",
                    expected="blobs of it",
                    found=visible(digest, most=80),
                )
        if not said.missing and said.current:
            return {}, "current"
        arrived = {digest: arrived_bytes(blobs[digest], said.partial.get(digest)) for digest in said.missing}
        return arrived, "recheck" if not said.missing and said.recheck else "new"

    def _deployed(
        self, answer: dict[str, Any], name: str, package_sha256: str, package_bytes: int, sent: int
    ) -> Deployed:
        said = read_answer(InstallAnswer, answer, "install")
        if said.state == "reverted" and said.was_current:
            raise HealthCheckFailed(
                f"{name} runs on the board, but does not pass its health check in the board's present environment",
                expected="the answers that it gave when it was confirmed",
                found=said.reason,
                hint="Deploy with the runtime that it was confirmed under (--runtime), or another model.",
            )
        if said.state == "reverted":
            # With the findings of a check it ran, and was too slow or too large.
            kind = HealthCheckFailed if said.check is None else RemoteError
            raise kind(
                f"the board tried {name} and went back to what ran before",
                expected="its health check to pass",
                found=said.reason,
            )
        if said.release is None:
            raise RemoteError(
                "the agent's answer to `install` lacks a field", expected="release", found="nothing"
            )
        check = said.check or CheckAnswer()
        return Deployed(
            name=name,
            release=said.release,
            package_sha256=package_sha256,
            state=said.state,
            package_bytes=package_bytes,
            sent_bytes=sent,
            largest_difference=check.largest_difference,
            check_seconds=check.seconds,
            prepared=None if check.prepared is None else check.prepared.prepared(),
        )

    def choose_kernels(
        self, name: str, release: str, *, runtime_seconds: float, armlet_seconds: float, predicted_for: str
    ) -> KernelsAnswer:
        """The kernels that a release is to run with, by times that were predicted for another board; for releases whose
        deploy could not tell."""
        seconds = [f"--runtime-seconds={runtime_seconds!r}", f"--armlet-seconds={armlet_seconds!r}"]
        arguments = [
            "choose-kernels",
            check_name(name),
            release,
            *seconds,
            f"--predicted-for={predicted_for}",
        ]
        return read_answer(KernelsAnswer, self.call(arguments), "choose-kernels")

    def confirm(self, name: str) -> SlotAnswer:
        """Makes the release on trial the current one; the slot as :meth:`status` lists it."""
        return read_answer(SlotAnswer, self.call(["confirm", check_name(name)]), "confirm")

    def rollback(self, name: str, reason: str = "asked for", *, to: str | None = None) -> SlotAnswer:
        """Goes back to the release before, or to the earlier one whose id begins with ``to``; the slot as
        :meth:`status` lists it."""
        options = [f"--reason={visible(reason, most=MAX_TEXT)}"]
        if to is not None:
            if not re.fullmatch("[0-9a-f]{4,64}", to):
                raise RemoteError(
                    "this names no release",
                    expected="4 to 64 hexadecimal digits, as `sdk releases` shows them",
                    found=visible(to, most=80),
                )
            options.append(f"--to={to}")
        return read_answer(SlotAnswer, self.call(["rollback", check_name(name), *options]), "rollback")

    def take_back(self, release: PreparedRelease, reason: str) -> bool:
        """Undoes the deploy of a release: what ran before runs again, or nothing. False where another release runs,
        because the deploy had failed or somebody deployed since; that is left alone."""
        options = [
            f"--reason={visible(reason, most=MAX_TEXT)}",
            f"--only-from={release.id}",
            "--or-to-nothing",
        ]
        answer = self.call(["rollback", release.name, *options])
        return read_answer(RolledBackAnswer, answer, "rollback").rolled_back

    def forget(self, names: Sequence[str]) -> None:
        """Removes names from the board with all their releases, for what was deployed to be measured only."""
        self.call(["forget", *(check_name(name) for name in names)])

    def status(self) -> StatusAnswer:
        """Versions of what is installed, and what every name stands for."""
        return read_answer(StatusAnswer, self.call(["status"]), "status")

    def doctor(self) -> DoctorAnswer:
        """Has the board look at every byte of what is deployed, and mend what it can."""
        answer = self.call(["doctor"], timeout_seconds=INSTALL_SECONDS, max_output_bytes=MAX_ANSWER_BYTES)
        return read_answer(DoctorAnswer, answer, "doctor")

    # -- running ------------------------------------------------------------------------------------------------

    def run(
        self,
        model: str,
        inputs: np.ndarray,
        *,
        output: int = 0,
        threads: int = 1,
        kernel: str = "auto",
        progress: Progress | None = None,
    ) -> RemoteRun:
        """Predicts on the board: ``model`` is a deployed name, ``inputs`` (n, ...) numbers. Sent in batches.

        ``output``: which of the model's outputs to return, by its position.
        """
        check_name(model)
        inputs = np.asarray(inputs)
        if inputs.ndim < 2 or len(inputs) == 0:
            raise DataError(
                "there is nothing to predict", expected="inputs of shape (n, ...)", found=str(inputs.shape)
            )
        step = max(1, BATCH_BYTES // max(1, inputs[0].nbytes))
        runs = []
        for start in range(0, len(inputs), step):
            if progress is not None:
                progress("run on the board", start, len(inputs))
            runs.append(self._run_batch(model, inputs[start : start + step], output, threads, kernel))
        first = runs[0]
        if any(run.tflite_sha256 != first.tflite_sha256 for run in runs):
            raise RemoteError(f"{model} was replaced on the board while it ran", hint="Run it again.")
        return RemoteRun(
            outputs=np.concatenate([run.outputs for run in runs]),
            seconds=sum(run.seconds for run in runs),
            count=len(inputs),
            tflite_sha256=first.tflite_sha256,
            decode_seconds=first.decode_seconds,
            decode_kernel=first.decode_kernel,
            runtime=first.runtime,
            runtime_version=first.runtime_version,
            threads=first.threads,
        )

    def _run_batch(self, model: str, inputs: np.ndarray, output: int, threads: int, kernel: str) -> RemoteRun:
        answer = self.call(
            ["run", model, "--threads", str(threads), "--kernel", kernel, "--output", str(output)],
            stdin=write_row([inputs]),
            timeout_seconds=RUN_SECONDS,
            max_output_bytes=MAX_LONG_ANSWER_BYTES,
        )
        said = read_answer(RunAnswer, answer, "run")
        return RemoteRun(
            outputs=outputs_of(said, len(inputs)),
            seconds=said.seconds,
            count=len(inputs),
            tflite_sha256=said.tflite_sha256,
            decode_seconds=said.decode_seconds,
            decode_kernel=said.decode_kernel,
            runtime=said.runtime or "",
            runtime_version=said.runtime_version or "",
            threads=threads,
        )

    def run_cases(
        self, model: str, inputs: Sequence[np.ndarray], *, kernel: str = "auto", apart: bool = False
    ) -> tuple[list[np.ndarray], RunAnswer]:
        """Every output of a deployed model as it is stored, of shape (n, ...), for every input, in order.

        ``apart``: a model with a state forgets the case before.
        """
        answer = self.call(
            ["run", check_name(model), "--all", "--kernel", kernel, *(["--apart"] if apart else [])],
            stdin=write_row(inputs),
            timeout_seconds=RUN_SECONDS,
            max_output_bytes=MAX_LONG_ANSWER_BYTES,
        )
        said = read_answer(RunAnswer, answer, "run")
        return rows_of(said), said

    def predict(
        self,
        model: str,
        image: np.ndarray,
        *,
        top: int = 5,
        threshold: float | None = None,
        kernel: str = "auto",
    ) -> PredictAnswer:
        """The answer of a deployed model about one image, (height, width, 3) uint8 of any size, by the model's task.

        ``top``: number of classes in an answer. ``threshold``: lowest score of a box. Raises RemoteError.
        """
        options = ["--top", str(top), "--kernel", kernel]
        if threshold is not None:
            options.append(f"--threshold={threshold!r}")
        answer = self.call(
            ["predict", check_name(model), *options],
            stdin=write_row([image]),
            timeout_seconds=RUN_SECONDS,
            max_output_bytes=MAX_LONG_ANSWER_BYTES,
        )
        return read_answer(PredictAnswer, answer, "predict")

    def bench(
        self,
        models: Sequence[str],
        *,
        threads: int = 1,
        kernel: str = "auto",
        min_samples: int = 4096,
        max_seconds: float = 10.0,
        loadings: int | None = None,
        precision: float | None = None,
        emulated: bool = False,
        progress: Progress | None = None,
    ) -> tuple[Measurement, ...]:
        """Measures deployed models, interleaved; one record for each name, in order. A name may stand there twice.

        ``threads`` of :data:`ALL_THREADS` are as many as there are CPUs that the agent measures on. ``loadings`` of
        None are as many as there is time for, on an emulated board one. With ``precision``, a share, they go on until
        the intervals are that narrow or ``max_seconds`` per model are over.
        """
        if progress is not None:
            progress("measure", 0, 0)
        arguments = ["--kernel", kernel, "--min-samples", str(min_samples)]
        for flag, value in (("--loadings", loadings), ("--precision", precision)):
            arguments += [] if value is None else [flag, repr(value)]
        arguments += ["--emulated"] if emulated else []
        return self._bench(models, threads, max_seconds, arguments)

    def bench_again(
        self,
        models: Sequence[str],
        *,
        threads: int,
        kernel: str,
        min_samples: int,
        max_seconds: float,
        loadings: int,
    ) -> tuple[Measurement, ...]:
        """As :meth:`bench`, but for how the models start, for which that starts a process or two per model."""
        arguments = ["--kernel", kernel, "--min-samples", str(min_samples), "--loadings", str(loadings)]
        return self._bench(models, threads, max_seconds, [*arguments, "--no-starts"])

    def _bench(
        self, models: Sequence[str], threads: int, max_seconds: float, arguments: Sequence[str]
    ) -> tuple[Measurement, ...]:
        names = [check_name(model) for model in models]
        answer = self.call(
            [
                *("bench", *names, "--threads", str(threads), "--max-seconds", repr(float(max_seconds))),
                *arguments,
            ],
            timeout_seconds=RUN_SECONDS + len(models) * max_seconds,
            max_output_bytes=MAX_LONG_ANSWER_BYTES,
        )
        measurements = read_answer(BenchAnswer, answer, "bench").measurements
        if len(measurements) != len(models):
            raise RemoteError(
                "the agent measured something else",
                expected=f"{len(models)} measurements",
                found=str(len(measurements)),
            )
        for measurement, model in zip(measurements, models, strict=True):
            if measurement.model != model or threads not in (measurement.threads, ALL_THREADS):
                raise RemoteError(
                    "the agent measured something else",
                    expected=f"{model} on {threads or 'all'} threads",
                    found=f"{measurement.model} on {measurement.threads}",
                )
        return measurements

    # -- calling ------------------------------------------------------------------------------------------------

    def call(
        self,
        arguments: Sequence[str],
        *,
        stdin: bytes = b"",
        timeout_seconds: float = ANSWER_SECONDS,
        max_output_bytes: int = MAX_ANSWER_BYTES,
        sent: Callable[[int], None] | None = None,
    ) -> dict[str, Any]:
        """The answer to one verb, an object; what is in it is still to be checked. Raises RemoteError."""
        done = self.connection.run(
            [*self.command, *arguments],
            stdin=stdin,
            timeout_seconds=timeout_seconds,
            max_output_bytes=max_output_bytes,
            sent=sent,
        )
        verb = arguments[0]
        answer = find_object(done.stdout, most=max_output_bytes)
        if answer is None:
            raise RemoteError(
                f"the agent gave no answer to `{verb}`",
                expected="one line of JSON",
                found=done.stderr_tail() or f"exit status {done.status}",
                hint="`sdk board doctor` checks what is on the board, and mends what it can.",
            )
        if done.status != 0:
            failure = read_answer(Failure, answer, verb)
            raise RemoteError(
                f"the agent's `{verb}` failed: {(failure.what or 'it does not say why')[:MAX_TEXT]}",
                expected=failure.expected and failure.expected[:MAX_TEXT],
                found=failure.found and failure.found[:MAX_TEXT],
                hint=failure.hint and failure.hint[:MAX_TEXT],
            )
        if answer.get("verb") != verb:
            raise RemoteError(
                f"the agent answers something else than `{verb}`",
                found=visible(answer.get("verb"), most=MAX_TEXT),
            )
        return answer
