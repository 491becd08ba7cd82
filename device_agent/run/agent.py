"""The library for edge applications: an image in, a named answer out, and always the release that is confirmed.

    from device_agent import Agent

    with Agent("mobilenet") as agent:
        answer = agent.predict(image)  # uint8 (height, width, 3), any size
        print(answer.label, answer.score, agent.latency.percentile(99))

Every thread may call ``predict``. Inferences take turns, since a TFLite interpreter does one at a time; images are
resized at the same time. When a deploy confirms a new release (or a rollback goes back), calls that begin afterwards
get it; those that are running end on the release on which they began. A release that does not load leaves the old one
at work.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Iterable

import numpy as np

from device_agent.answers.answering import answer
from device_agent.answers.prediction import Prediction
from device_agent.errors import AgentError, ArmletError, DataError, StoreError
from device_agent.image.fitting import ImageInput
from device_agent.record.preprocess import Preprocess
from device_agent.record.release import Release
from device_agent.record.usage import Usage, check_labels
from device_agent.run import idle_check
from device_agent.run.conditions import near_big_cores
from device_agent.run.histogram import LatencyHistogram
from device_agent.run.loaded import PREVIOUS_RUNS, LoadedModel, names_a_file, release_before
from device_agent.store.store import Store, board_store
from device_agent.tensors.tensor import shape_text

#: A slot that was written less than this ago may be written again without looking any different from outside.
_SETTLED_SECONDS = 0.1
#: Releases that go away while they are read, one after another, before a reload gives up.
_ATTEMPTS = 5

RELOADS = ("next call", "background", "never")


class Agent:
    """A deployed model (by its name) or a model file (by its path: what has a slash or ends in .armlet or .tflite).

    ``home``: the agent's folder on the board (default: ``$ARMLET_HOME``, else ``~/.armlet``). ``threads``: of one
    inference (default: as many as were fastest when the release was deployed; 1 for a file). ``kernels``: "runtime",
    "armlet" (layers with zeros run in :mod:`device_agent.run.kernels`), or "auto", which is the faster one at the time
    of the deploy ("runtime" for a file). ``top``: classes in an answer. ``preprocess`` and ``labels`` replace what the
    package says. ``reload``: a new release is loaded by the "next call", which waits for it; in the "background", while
    the old one goes on answering; or "never".

    Raises StoreError, PackageError, AgentError, DataError or RuntimeUnavailable.
    """

    def __init__(
        self,
        model: str | os.PathLike,
        *,
        home: str | os.PathLike | None = None,
        threads: int | None = None,
        kernel: str = "auto",
        kernels: str = "auto",
        top: int = 5,
        preprocess: str | None = None,
        labels: Iterable[str] | None = None,
        reload: str = "next call",
    ) -> None:
        if reload not in RELOADS:
            raise AgentError("unknown way to reload", expected=", ".join(RELOADS), found=repr(reload)[:80])
        if top < 1:
            raise AgentError("`top` is too small", expected="top of 1 or more", found=str(top))
        #: How long calls took, from the array to the answer, waiting for their turn included: one sample an image.
        self.latency = LatencyHistogram()
        #: Why the last new release was not taken; None when it was.
        self.reload_error: Exception | None = None
        #: Releases that were taken after the first.
        self.reloads = 0
        self._threads, self._kernel, self._kernels, self._top = threads, kernel, kernels, top
        self._preprocess = None if preprocess is None else Preprocess.parse(preprocess)
        self._labels = None if labels is None else check_labels(list(labels))
        self._reload = reload
        self._reloading = threading.Lock()
        self._served: _Served | None = None
        self._closed = False
        text = os.fspath(model)
        if names_a_file(model):
            self._store: Store | None = None
            loaded = LoadedModel.load(Path(text), threads=threads or 1, kernel=kernel, kernels=kernels)
            self.name = loaded.name
            self._served = self._serve(loaded, None)
            return
        self.name = text
        self._store = board_store() if home is None else Store(Path(home) / "store")
        self._slot_path = self._store.slot_path(text)
        self._seen: tuple[int, ...] | None = None
        with self._reloading:
            self._take_current(self._stamp())

    # -- answering ----------------------------------------------------------------------------------------------

    def predict(
        self,
        image: Any,
        *,
        preprocessed: bool = False,
        top: int | None = None,
        threshold: float | None = None,
        before_each: Callable[[], None] | None = None,
    ) -> Any:
        """The answer to an image, or a list of answers to a batch.

        ``image`` is (height, width, channels), or (height, width) in grey, of any size; a batch has one dimension more
        in front of the channels' form, (n, height, width, channels). uint8 and floats alike hold pixels of 0 to 255;
        they are resized (shorter side, centre), normalised, mirrored as the package says. Where it says nothing, and
        with ``preprocessed``, the array has the size and the values that the model takes, and is only mirrored where
        the package says so. Models that take no image take their own shape without its leading 1, or a batch of those.
        ``threshold``: the lowest score of a box (default: as the package says, else 0.25). ``before_each`` is called
        before every inference of a batch, and an error that it raises ends the batch: for callers that cannot wait for
        all of it.

        Raises DataError where the array is not what the model takes, AgentError after ``close``.
        """
        served = self._current()
        array = np.asarray(image)
        single, rows = served.input.rows(array)
        answers = []
        for row in rows:
            if before_each is not None:
                before_each()
            start = time.perf_counter()
            answers.append(served.answer(row, preprocessed, top or self._top, threshold))
            self.latency.record(time.perf_counter() - start)
        return answers[0] if single else answers

    def run(self, inputs: Any, *, reset: bool = False) -> dict[str, Any]:
        """Every output by name, for every input by name: arrays of the model's own shapes, such as (1, 224, 224, 3).

        ``inputs``: {name: array}, or the array of the only input. Values are real ones (a quantised input takes floats,
        or its own integers as they are stored); outputs are float32, or integers where an output has plain integers.
        Nothing is resized, normalised or mirrored. A model with a state keeps it from call to call; with ``reset`` it
        forgets what came before. Raises DataError, AgentError.
        """
        served = self._current()
        start = time.perf_counter()
        outputs = served.run_all(inputs, reset)
        self.latency.record(time.perf_counter() - start)
        return outputs

    # -- what answers -------------------------------------------------------------------------------------------

    @property
    def model(self) -> LoadedModel:
        """The model that the next call would run on, without looking for a newer one."""
        return self._require().loaded

    @property
    def usage(self) -> Usage:
        """Preprocessing and labels of the model."""
        return self._require().usage

    @property
    def release(self) -> str | None:
        """Id of its release; None for a model file."""
        return self._require().release

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Without the leading 1: (height, width, channels) for images; of several inputs, the whole first shape."""
        served = self._require()
        return served.input.shape if served.takes_one else served.loaded.model.inputs[0].shape

    def refresh(self) -> bool:
        """Looks for a newer release now, as the next call would; whether the release is another than before."""
        before = self.release
        self._current()
        return self.release != before

    def close(self) -> None:
        """Lets go of the model and its memory; calls that are running end first, later ones raise AgentError."""
        self._closed = True
        self._served = None

    def __enter__(self) -> Agent:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _require(self) -> _Served:
        served = self._served
        if served is None or self._closed:
            raise AgentError("this agent is closed")
        return served

    # -- hot reload ---------------------------------------------------------------------------------------------

    def _current(self) -> _Served:
        """What serves this call; looks for a new release first, which costs one stat() of a file."""
        served = self._require()
        if self._store is None or self._reload == "never":
            return served
        stamp = self._stamp()
        if stamp is None or stamp == self._seen:
            return served
        if self._reload == "next call":
            with self._reloading:
                if stamp != self._seen:
                    self._take_current(self._stamp())
        elif self._reloading.acquire(blocking=False):
            threading.Thread(target=self._take_in_background, name="armlet-reload", daemon=True).start()
        return self._require()

    def _take_in_background(self) -> None:
        try:
            self._take_current(self._stamp())
        finally:
            self._reloading.release()

    def _stamp(self) -> tuple[int, ...] | None:
        """What changes when the slot is replaced; None while there is none."""
        try:
            found = os.stat(self._slot_path)
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

    def _take_current(self, stamp: tuple[int, ...] | None) -> None:
        """Loads the current release where it is not the one that serves. The caller holds ``_reloading``.

        An error is raised the first time; later the old release goes on, and ``reload_error`` says why.
        """
        assert self._store is not None  # a model file is never loaded again
        old = self._served
        try:
            release_id = self._store.current(self.name).id
            if old is None or release_id != old.release or old.loaded.lost_its_start:
                new = self._load_current()
                if not self._closed:
                    self._served = new
                    self.reloads += old is not None
            self.reload_error = None
        except (ArmletError, OSError, MemoryError) as error:
            if old is None:
                raise
            self.reload_error = error
            warnings.warn(f"{self.name}: the new release is not taken ({error})", stacklevel=5)
        # A slot so young could be replaced within one tick of the file system's clock: look again next time.
        if stamp is not None and time.time() - stamp[1] * 1e-9 > _SETTLED_SECONDS:
            self._seen = stamp

    def _load_current(self) -> _Served:
        """The current release, loaded; of several that follow one another quickly, the last."""
        assert self._store is not None
        for attempt in range(_ATTEMPTS):
            release = self._store.current(self.name)
            try:
                return self._load(release)
            except StoreError as error:
                # Replaced twice while its parts were read, they were removed; or it is damaged.
                if attempt + 1 == _ATTEMPTS or self._store.current(self.name).id == release.id:
                    if self._served is None:
                        return self._load_previous(error)
                    raise
        raise AssertionError("the last attempt returns or raises")

    def _load_previous(self, error: StoreError) -> _Served:
        """Where nothing runs yet and the current release is damaged: the one before it, with a warning."""
        assert self._store is not None
        served = self._load(release_before(self._store, self.name, error))
        warnings.warn(PREVIOUS_RUNS.format(name=self.name, error=error), stacklevel=5)
        return served

    def _load(self, release: Release) -> _Served:
        assert self._store is not None
        threads = self._threads or self._store.slot(self.name).threads_of(release.id)
        with near_big_cores() if threads > 1 else contextlib.nullcontext():
            loaded = LoadedModel.of_release(
                self._store, release, threads=threads, kernel=self._kernel, kernels=self._kernels
            )
        if loaded.start == "warm":
            idle_check.begin(self._store.folder.parent, self.name)
        return self._serve(loaded, release.id)

    def _serve(self, loaded: LoadedModel, release: str | None) -> _Served:
        usage = loaded.usage()
        if self._preprocess is not None:
            usage = replace(usage, preprocess=self._preprocess)
        if self._labels is not None:
            usage = replace(usage, labels=self._labels)
        return _Served(loaded, usage, release)


class _Served:
    """One loaded release and the lock of its interpreter. Lives as long as a call runs on it."""

    def __init__(self, loaded: LoadedModel, usage: Usage, release: str | None) -> None:
        self.loaded, self.usage, self.release = loaded, usage, release
        model = loaded.model
        #: The way into the only input; None for models that take several, or no batch of 1.
        self._input: ImageInput | None = None
        if len(model.inputs) == 1 and model.inputs[0].shape[:1] == (1,):
            self._input = ImageInput(model.inputs[0], usage)
        self.names = tuple(info.name for info in model.outputs)
        self._lock = threading.Lock()

    @property
    def takes_one(self) -> bool:
        """Whether the model takes one image or row at a time."""
        return self._input is not None

    @property
    def input(self) -> ImageInput:
        """The way into the only input. Raises DataError where the model takes something else."""
        if self._input is None:
            infos = self.loaded.model.inputs
            raise DataError(
                "this model does not take one image or row at a time",
                expected="one input, whose first dimension is 1",
                found=", ".join(f"{info.name} {shape_text(info.shape)}" for info in infos),
                hint="Agent.run({name: array}) takes every input by name, as does :run of `serve`.",
            )
        return self._input

    def run_all(self, inputs: Any, reset: bool) -> dict[str, Any]:
        """Every output by name in real values, for every input by name."""
        model = self.loaded.model
        with self._lock:
            if reset:
                model.reset()
            stored = model.run_all(inputs)
        return {info.name: info.to_real(stored[info.name]) for info in model.outputs}

    def answer(self, row: Any, preprocessed: bool, top: int, threshold: float | None) -> Prediction:
        """The answer to one input, by the task of the model."""
        outputs = self.run(row, preprocessed)
        where = self.input.placement(row, preprocessed)
        size = (self.input.shape[0], self.input.shape[1]) if self.input.is_image else (0, 0)
        found = answer(outputs, self.usage, where, size, top=top, threshold=threshold)
        return replace(found, release=self.release, names=self.names)

    def run(self, row: Any, preprocessed: bool) -> list[Any]:
        """Every output for one input, float32, without its leading 1."""
        model = self.loaded.model
        write = self.input.writer(row, preprocessed)
        with self._lock:
            model.fill_input(write)
            model.invoke()
            raw = [model.get_output(position) for position in range(len(model.outputs))]
        outputs = []
        for info, values in zip(model.outputs, raw):
            real = info.to_real(values).astype(np.float32, copy=False)
            outputs.append(real[0] if real.ndim and real.shape[0] == 1 else real)
        return outputs
