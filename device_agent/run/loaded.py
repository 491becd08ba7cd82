"""A model in memory, decoded and ready to run: what the agent's verbs, and an embedded Agent, work with."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Mapping, Sequence

import numpy as np

from device_agent.errors import AgentError, RuntimeUnavailable, StoreError
from device_agent.record.release import MAX_PACKAGE_BYTES, MODEL_SUFFIXES, NAME
from device_agent.record.usage import FLIP_AXES, Usage
from device_agent.run.array_input import parse_golden
from device_agent.run.fresh_process import MEND_SECONDS, call_child
from device_agent.run.installed import installed_runtime
from device_agent.run.kernels.delegate import asked
from device_agent.run.kernels.supply import unpack
from device_agent.run.runtime import FILE_IDENTIFIER, Model
from device_agent.store import quick_starts as starts
from device_agent.store.store import Store, board_store

if TYPE_CHECKING:
    from device_agent.record.release import Release
    from device_agent.store.quick_starts import QuickStart
    from device_agent.tensors.tensor import TensorInfo


class LoadedModel:
    """One model, decoded and ready to run.

    A package may say that images are flipped before they enter (``"input": {"flip": ["height", "width"]}``), for
    networks that were mirrored to suit the runtime's kernels; the agent does that.

    ``package_sha256`` is None for a plain .tflite file; ``metadata`` comes from its package; ``kernel`` is the decoder
    that ran ("c", "numpy" or "none"); ``decode_seconds`` the time from package bytes to .tflite bytes;
    ``tflite_sha256`` of what runs; ``start`` "warm" where it came from :mod:`device_agent.store.quick_starts`, else
    "cold"; ``start_seconds`` the time from the release's files (from the bytes where there is no release) to a ready
    interpreter. ``kernels_reason`` says why kernels of Armlet that were chosen for it are not used; "" where they are.
    """

    kernels_reason = ""
    #: The packed weights that a warm model maps, and by what they are known.
    _mapped: tuple[Path, tuple[int, ...] | None] | None = None

    def __init__(
        self,
        data: bytes,
        *,
        name: str = "model",
        threads: int = 1,
        kernel: str = "auto",
        kernels: str = "auto",
        sha256: str | None = None,
    ) -> None:
        """Loads package or .tflite bytes; ``sha256`` is theirs, where the caller has checked it already.

        ``kernels``: "armlet" or "runtime" (:data:`device_agent.run.kernels.delegate.CHOICES`); "auto" is the latter
        here, since only a deploy finds out which is faster.
        """
        begun = time.perf_counter()
        self.name = name
        self.package_sha256: str | None = None
        self.metadata: Mapping[str, Any] = {}
        self.kernel = "none"
        self.decode_seconds = 0.0
        tflite, supply = data, None
        chosen = "armlet" if asked(kernels) == "armlet" else "runtime"
        if data[4:8] != FILE_IDENTIFIER:
            from device_agent.package import reader as package

            start = time.perf_counter()
            if chosen == "armlet":
                unpacked, supply = unpack(data, kernel=kernel)
            else:
                unpacked = package.unpack(data, kernel=kernel)
            self.decode_seconds = time.perf_counter() - start
            self.package_sha256, self.metadata = (
                sha256 or unpacked.package.package_sha256,
                unpacked.package.metadata,
            )
            self.kernel, tflite = unpacked.kernel, unpacked.tflite
            self.tflite_sha256 = unpacked.package.tflite_sha256
        else:
            self.tflite_sha256 = sha256 or hashlib.sha256(tflite).hexdigest()
        self._begin(Model(tflite, threads=threads, kernels=chosen, supply=supply), "cold", begun)

    def _begin(self, model: Model, start: str, begun: float) -> None:
        self._example: Callable[[], list[np.ndarray]] | None = None
        self._flips = tuple(FLIP_AXES[axis] for axis in self.usage().flip)
        self._model: Model | None = model
        self.start = start
        self.start_seconds = time.perf_counter() - begun

    @classmethod
    def _of_start(
        cls, start: QuickStart, package_sha256: str, *, name: str, threads: int, begun: float
    ) -> LoadedModel:
        from device_agent.run.quick_start_model import QuickStartModel

        loaded = cls.__new__(cls)
        loaded.name = name
        loaded.package_sha256 = package_sha256 if start.packed else None
        loaded.metadata = start.metadata
        loaded.kernel, loaded.decode_seconds = "none", 0.0
        loaded.tflite_sha256 = start.tflite_sha256
        loaded._mapped = start.weights_path, starts.identity(start.weights_path)  # noqa: SLF001 - its own class
        loaded._begin(QuickStartModel(start, threads=threads), "warm", begun)  # noqa: SLF001
        return loaded

    @classmethod
    def load(
        cls,
        model: str | os.PathLike,
        *,
        threads: int = 1,
        kernel: str = "auto",
        kernels: str = "auto",
        store: Store | None = None,
        warm: bool = True,
    ) -> LoadedModel:
        """Loads a ``.armlet`` or ``.tflite`` file, or by its name what was deployed to this board.

        A string with a slash or a model's suffix is a path (:func:`names_a_file`); anything else a name in the store
        (default: that of ``$ARMLET_HOME``). Where the current release turns out to be damaged the one before it is
        loaded, with a warning. Raises PackageError, StoreError, AgentError or RuntimeUnavailable.
        """
        text = os.fspath(model)
        if names_a_file(model):
            data = read_file(Path(text))
            return cls(data, name=Path(text).name, threads=threads, kernel=kernel, kernels=kernels)
        store = store or board_store()
        how: dict[str, Any] = {"threads": threads, "kernel": kernel, "kernels": kernels, "warm": warm}
        try:
            return cls.of_release(store, store.current(text), **how)
        except StoreError as error:
            before = release_before(store, text, error)
            older = cls.of_release(store, before, **how)
            warnings.warn(PREVIOUS_RUNS.format(name=text, error=error), stacklevel=2)
            return older

    @classmethod
    def of_release(
        cls,
        store: Store,
        release: Release,
        *,
        threads: int = 1,
        kernel: str = "auto",
        kernels: str = "auto",
        warm: bool = True,
    ) -> LoadedModel:
        """Loads one release of a store: with ``warm`` and no decoder asked for, from its start, where that is whole.

        A start that is not as it was made is passed over, and made again. ``kernels`` "auto" stands for those that were
        faster when the release was deployed, and for the runtime's, with a warning, where they do not work any more.
        Raises StoreError where the parts of the release are not all there and whole.
        """
        begun = time.perf_counter()
        chosen = asked(kernels)
        if chosen == "armlet" or (chosen == "auto" and _chosen_at_deploy(store, release) == "armlet"):
            try:
                return cls._with_kernels(store, release, threads=threads, kernel=kernel, begun=begun)
            except AgentError as error:
                if chosen == "armlet":
                    raise
                plain = cls.of_release(
                    store, release, threads=threads, kernel=kernel, kernels="runtime", warm=warm
                )
                plain.kernels_reason = str(error)
                warnings.warn(
                    f"{release.name}: the kernels that its deploy chose are not used ({error}); "
                    "the runtime does everything",
                    stacklevel=2,
                )
                return plain
        mendable = False
        if warm and kernel == "auto" and store.starts.is_dir():
            runtime = installed_runtime()
            start = starts.find(store.starts, release.package_sha256, runtime)
            mendable = (
                start is None
                and (store.starts / starts.folder_name(release.package_sha256, runtime)).exists()
            )
            if start is not None:
                with contextlib.suppress(AgentError, OSError):  # the runtime does not take it: without
                    loaded = cls._of_start(
                        start, release.package_sha256, name=release.name, threads=threads, begun=begun
                    )
                    loaded._example = _example_of(store, release, loaded.model.inputs)  # noqa: SLF001 - its own class
                    return loaded
        data = store.read_package(release)
        how: dict[str, Any] = {"name": release.name, "sha256": release.package_sha256}
        loaded = cls(data, threads=threads, kernel=kernel, kernels="runtime", **how)
        loaded._example = _example_of(store, release, loaded.model.inputs)
        loaded.start_seconds = time.perf_counter() - begun
        if mendable:  # in a process of its own, like everything that could end one; this one runs without
            with contextlib.suppress(AgentError, OSError):
                call_child(["--home", str(store.folder.parent), "mend", release.id], MEND_SECONDS)
        return loaded

    @classmethod
    def _with_kernels(
        cls, store: Store, release: Release, *, threads: int, kernel: str, begun: float
    ) -> LoadedModel:
        data = store.read_package(release)
        how: dict[str, Any] = {"name": release.name, "sha256": release.package_sha256}
        loaded = cls(data, threads=threads, kernel=kernel, kernels="armlet", **how)
        loaded._example = _example_of(store, release, loaded.model.inputs)
        loaded.start_seconds = time.perf_counter() - begun
        return loaded

    def keep_start(self, store: Store, release: Release) -> QuickStart:
        """Makes the start of the release that this was loaded from; see
        :func:`device_agent.run.quick_start_making.build`."""
        from device_agent.run.quick_start_making import build

        identity, tflite = self.model.identity, self.model.tflite
        if identity.name != starts.RUNTIME:
            raise RuntimeUnavailable(
                f"{identity.name} {identity.version} cannot keep packed weights in a file; {starts.RUNTIME} can"
            )
        if self.model.is_stateful:
            raise AgentError("a model with a state of its own starts from its package")
        assert isinstance(tflite, bytes)  # a warm model has a start already
        return build(
            store.starts,
            release.package_sha256,
            f"{identity.name} {identity.version}",
            tflite=tflite,
            tflite_sha256=self.tflite_sha256,
            packed=self.package_sha256 is not None,
            metadata=self.metadata,
            reference=self.model,
            cold_seconds=self.start_seconds,
        )

    @property
    def model(self) -> Model:
        """The loaded model: its inputs, outputs, runtime and delegate."""
        if self._model is None:
            raise AgentError("this agent is closed")
        return self._model

    @property
    def lost_its_start(self) -> bool:
        """Whether the files that it was started from are not those that are there now: they were damaged."""
        return self._mapped is not None and starts.identity(self._mapped[0]) != self._mapped[1]

    def example_inputs(self) -> list[np.ndarray] | None:
        """One golden input for each input of the model, of its shape such as (1, 224, 224, 3); None without any.

        Raises StoreError or AgentError where golden inputs cannot be read.
        """
        return None if self._example is None else self._example()

    def usage(self) -> Usage:
        """What its package says of images and labels; of a plain .tflite nothing is known. Raises DataError."""
        return Usage.from_metadata(self.metadata)

    def predict(self, array: Any, output: int = 0) -> np.ndarray:
        """Runs one image or a batch and returns float32 values of one output, by its position.

        ``array`` has the model's input shape, e.g. (1, 224, 224, 3), the same without its leading 1, or any number of
        inputs as (n, 224, 224, 3); they run one after the other. Real values are quantized where the model is
        integer, and its outputs come back as real values. Returns (n, ...) or, for a single unbatched
        input, the output without its leading 1.
        """
        if not 0 <= output < len(self.model.outputs):
            raise AgentError(
                "the model has no such output",
                expected=f"0 to {len(self.model.outputs) - 1}",
                found=str(output),
            )
        raw = self.predict_raw(array, output)
        info = self.model.outputs[output]
        return info.to_real(np.asarray(raw)).astype(np.float32, copy=False)

    def predict_raw(self, array: Any, output: int = 0) -> np.ndarray:
        """As :meth:`predict`: inputs (n, ...) to outputs (n, ...), but these in the model's own dtype."""
        array = np.asarray(array)
        shape = self.model.inputs[0].shape
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        if self._flips and array.ndim in (len(shape), len(shape) - 1):
            array = np.flip(array, self._flips)
        if array.shape == shape:
            return self.model.run(array, output=output)
        if shape[0] == 1 and array.shape == shape[1:]:
            return self.model.run(array[None], output=output)[0]
        if shape[0] == 1 and array.ndim == len(shape) and array.shape[1:] == shape[1:]:
            outputs = [self.model.run(row[None], output=output)[0] for row in array]
            empty = np.empty((0, *self.model.outputs[output].shape[1:]), self.model.outputs[output].dtype)
            return np.stack(outputs) if outputs else empty
        return self.model.run(array, output=output)  # says what is wrong with the shape

    def close(self) -> None:
        """Lets go of the interpreter and its memory."""
        self._model = None

    def __enter__(self) -> LoadedModel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _chosen_at_deploy(store: Store, release: Release) -> str:
    try:
        return store.slot_or_fresh(release.name).kernels_of(release.id)
    except StoreError:  # who reads the slot for its own sake says what is wrong with it
        return "runtime"


def _example_of(
    store: Store, release: Release, tensors: Sequence[TensorInfo]
) -> Callable[[], list[np.ndarray]] | None:
    digest = release.golden_inputs_sha256
    if digest is None or release.golden_limits is None:
        return None
    return lambda: [array[0] for array in parse_golden(store.blobs.read(digest), tensors)]


#: The warning where a damaged release is not run.
PREVIOUS_RUNS = "{name}: the current release cannot be used ({error}); running the previous one"


def names_a_file(model: str | os.PathLike) -> bool:
    """True for what is a path: an ``os.PathLike``, or text with a slash, with a model's suffix, or of no form that a
    release's name has.

    The files of the working directory make no difference: a name that means a release today does not mean a file
    tomorrow.
    """
    if not isinstance(model, str):
        return True
    return "/" in model or model.lower().endswith(MODEL_SUFFIXES) or not NAME.fullmatch(model)


def release_before(store: Store, name: str, error: StoreError) -> Release:
    """What ran before the current release, which ``error`` says is damaged; raises that where there was nothing."""
    previous = store.slot(name).previous
    if previous is None:
        raise error
    return store.release(previous)


def read_file(path: Path) -> bytes:
    """The bytes of a model file on the board, with one clear error for each way in which it is not one."""
    try:
        size = path.stat().st_size
        if size > MAX_PACKAGE_BYTES:
            raise AgentError(
                f"{path} is too large", expected=f"at most {MAX_PACKAGE_BYTES} bytes", found=f"{size} bytes"
            )
        return path.read_bytes()
    except OSError as error:
        raise AgentError(f"cannot read {path}", found=error.strerror or str(error)) from None
