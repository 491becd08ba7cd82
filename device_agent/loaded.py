"""A model in memory, decoded and ready to run: what the agent's verbs, and an embedded Agent, work with."""

from __future__ import annotations

import hashlib
import os
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from device_agent.errors import AgentError, StoreError
from device_agent.release import MAX_PACKAGE_BYTES, NAME
from device_agent.runtime import FILE_IDENTIFIER, Model
from device_agent.store import Store, default_home
from device_agent.usage import FLIP_AXES, Usage

if TYPE_CHECKING:
    from device_agent.package import Package
    from device_agent.release import Release


class LoadedModel:
    """One model, decoded and ready to run.

    A package may say that images are flipped before they enter (``"input": {"flip": ["height", "width"]}``), for
    networks that were mirrored to suit the runtime's kernels; the agent does that.

    ``package`` is its package record, None for a plain .tflite file; ``kernel`` the decoder that ran ("c", "numpy" or
    "none"); ``decode_seconds`` the time from package bytes to .tflite bytes; ``tflite_sha256`` of what runs.
    """

    def __init__(self, data: bytes, *, name: str = "model", threads: int = 1, kernel: str = "auto") -> None:
        self.name = name
        self.package: Package | None = None
        self.kernel = "none"
        self.decode_seconds = 0.0
        tflite = data
        if data[4:8] != FILE_IDENTIFIER:
            from device_agent import package

            start = time.perf_counter()
            unpacked = package.unpack(data, kernel=kernel)
            self.decode_seconds = time.perf_counter() - start
            self.package, self.kernel, tflite = unpacked.package, unpacked.kernel, unpacked.tflite
        self._flips = tuple(FLIP_AXES[axis] for axis in self.usage().flip)
        self.tflite_sha256 = hashlib.sha256(tflite).hexdigest()
        self._model: Model | None = Model(tflite, threads=threads)

    @classmethod
    def load(
        cls,
        model: str | os.PathLike,
        *,
        threads: int = 1,
        kernel: str = "auto",
        store: Store | None = None,
    ) -> LoadedModel:
        """Loads a ``.armlet`` or ``.tflite`` file, or by its name what was deployed to this board.

        A string with a slash, or the name of a file that exists, is a path; anything else a name in the store
        (default: that of ``$ARMLET_HOME``). Where the current release turns out to be damaged the one before it is
        loaded, with a warning. Raises PackageError, StoreError, AgentError or RuntimeUnavailable.
        """
        text = os.fspath(model)
        if names_a_file(text):
            return cls(read_file(Path(text)), name=Path(text).name, threads=threads, kernel=kernel)
        store = store or Store(default_home() / "store")
        try:
            return cls.of_release(store, store.current(text), threads=threads, kernel=kernel)
        except StoreError as error:
            older = cls.of_release(store, release_before(store, text, error), threads=threads, kernel=kernel)
            warnings.warn(PREVIOUS_RUNS.format(name=text, error=error), stacklevel=2)
            return older

    @classmethod
    def of_release(
        cls, store: Store, release: Release, *, threads: int = 1, kernel: str = "auto"
    ) -> LoadedModel:
        """Loads one release of a store. Raises StoreError where its parts are not all there and whole."""
        return cls(store.read_package(release), name=release.name, threads=threads, kernel=kernel)

    @property
    def model(self) -> Model:
        """The loaded model: its inputs, outputs, runtime and delegate."""
        if self._model is None:
            raise AgentError("this agent is closed")
        return self._model

    def usage(self) -> Usage:
        """What its package says of images and labels; of a plain .tflite nothing is known. Raises DataError."""
        return Usage.from_metadata(self.package.metadata if self.package is not None else {})

    def predict(self, array: Any) -> np.ndarray:
        """Runs one image or a batch and returns float32 outputs.

        ``array`` has the model's input shape, e.g. (1, 224, 224, 3), the same without its leading 1, or any number of
        inputs as (n, 224, 224, 3); they run one after the other. Real values are quantized where the model is
        integer, and its outputs come back as real values. Returns (n, ...) or, for a single unbatched
        input, the output without its leading 1.
        """
        raw = self.predict_raw(array)
        info = self.model.outputs[0]
        return info.dequantize(raw) if info.is_quantized else np.asarray(raw, np.float32)

    def predict_raw(self, array: Any) -> np.ndarray:
        """As :meth:`predict`, with the outputs in the model's own dtype."""
        array = np.asarray(array)
        shape = self.model.inputs[0].shape
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        if self._flips and array.ndim in (len(shape), len(shape) - 1):
            array = np.flip(array, self._flips)
        if array.shape == shape:
            return self.model.run(array)
        if shape[0] == 1 and array.shape == shape[1:]:
            return self.model.run(array[None])[0]
        if shape[0] == 1 and array.ndim == len(shape) and array.shape[1:] == shape[1:]:
            outputs = [self.model.run(row[None])[0] for row in array]
            empty = np.empty((0, *self.model.outputs[0].shape[1:]), self.model.outputs[0].dtype)
            return np.stack(outputs) if outputs else empty
        return self.model.run(array)  # says what is wrong with the shape

    def close(self) -> None:
        """Lets go of the interpreter and its memory."""
        self._model = None

    def __enter__(self) -> LoadedModel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


#: The warning where a damaged release is not run.
PREVIOUS_RUNS = "{name}: the current release cannot be used ({error}); running the previous one"


def names_a_file(text: str) -> bool:
    """True for what is a path: with a slash, of a file that exists, or no name that a release could have."""
    return "/" in text or os.path.exists(text) or not NAME.fullmatch(text)


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
