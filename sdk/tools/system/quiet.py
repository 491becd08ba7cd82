"""Keeps C++ libraries quiet: they write to the file descriptors themselves, past ``sys.stderr``."""

from __future__ import annotations

import contextlib
import gc
import importlib
import logging
import os
import sys
from collections.abc import Iterator

#: What Keras imports where it is there, to take data in its forms, and what a command never gives it.
_FORMS_OF_DATA = ("pandas", "scipy", "sklearn")
_left_out: tuple[str, ...] = ()


def leave_out_forms_of_data() -> None:
    """Lets TensorFlow start without pandas, SciPy and scikit-learn, in a process of one command: sooner by a third.

    It is not for a user's own program, which may give Keras a data frame.
    """
    global _left_out
    _left_out = _FORMS_OF_DATA


@contextlib.contextmanager
def quiet(*descriptors: int) -> Iterator[None]:
    """Points these descriptors (1 for stdout, 2 for stderr) at nothing while the block runs."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved = [os.dup(descriptor) for descriptor in descriptors]
    sink = os.open(os.devnull, os.O_WRONLY)
    try:
        for descriptor in descriptors:
            os.dup2(sink, descriptor)
        yield
    finally:
        for descriptor, old in zip(descriptors, saved, strict=True):
            os.dup2(old, descriptor)
            os.close(old)
        os.close(sink)


@contextlib.contextmanager
def quiet_tensorflow() -> Iterator[None]:
    """Keeps TensorFlow's start-up chatter and the exporter's listing of endpoints off the terminal.

    It also imports TensorFlow, where it is there and was not imported yet.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    for name in ("tensorflow", "absl"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with quiet(1, 2):
        if "tensorflow" not in sys.modules:
            _import_tensorflow()
        yield


def _import_tensorflow() -> None:
    """Imports it sooner than ``import`` does: of its many objects none is garbage, so nobody looks for any."""
    missing = [name for name in _left_out if name not in sys.modules]
    was_enabled = gc.isenabled()
    gc.disable()
    sys.modules.update(dict.fromkeys(missing))  # type: ignore[arg-type]  # None: an import of it fails
    try:
        with contextlib.suppress(ImportError):  # a command that needs it says what to install
            importlib.import_module("tensorflow")
    finally:
        for name in missing:
            del sys.modules[name]
        if was_enabled:
            gc.enable()
