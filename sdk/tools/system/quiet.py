"""Keeps C++ libraries quiet: they write to the file descriptors themselves, past ``sys.stderr``."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator


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

    TensorFlow must be imported for the first time inside the block.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    for name in ("tensorflow", "absl"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with quiet(1, 2):
        yield
