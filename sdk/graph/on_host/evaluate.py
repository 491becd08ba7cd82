"""Runs a model on the host with the TFLite interpreter: what its answers are before any board is involved."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sdk.errors import ModelError
from sdk.graph.reader import read_graph
from sdk.graph.records import FLIP_AXES, INPUT_METADATA
from sdk.tools.system.quiet import quiet


def predict(
    tflite: bytes,
    images: np.ndarray,
    *,
    threads: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """The first output for each image: (n, ...) from ``images`` (n, height, width, channels), one at a time.

    A mirrored model (``sdk/compress/board_form/mirror.py``) gets every image flipped, as the agent on a board does.
    Raises :class:`ModelError` when the interpreter refuses the model or the images do not fit it.
    """
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise ModelError(
            "no TFLite interpreter is installed on the host",
            expected="the package ai-edge-litert",
            found=str(error),
            hint="Install the host extra: pip install 'armlet[host]'.",
        ) from error
    try:
        with quiet(2):  # it announces its delegate each time
            interpreter = Interpreter(model_content=tflite, num_threads=threads)
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise ModelError(
            "the TFLite interpreter refuses the model", found=str(error).splitlines()[0]
        ) from error
    entry, answer = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    shape = tuple(int(n) for n in entry["shape"][1:])
    if images.shape[1:] != shape:
        raise ModelError(
            "the images do not fit the model",
            expected="x".join(map(str, shape)),
            found="x".join(map(str, images.shape[1:])),
        )
    flips = _flips(tflite)
    outputs = []
    for done, image in enumerate(images):
        interpreter.set_tensor(entry["index"], np.flip(image, flips)[None].astype(entry["dtype"], copy=False))
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(answer["index"])[0])
        if progress:
            progress(done + 1, len(images))
    return np.stack(outputs) if outputs else np.empty((0, *answer["shape"][1:]), answer["dtype"])


def _flips(tflite: bytes) -> tuple[int, ...]:
    """The axes of one image (height, width, channels) that the model wants flipped."""
    if INPUT_METADATA.encode() not in tflite:  # most have none, and reading a graph takes time
        return ()
    return tuple(FLIP_AXES[name] - 1 for name in read_graph(tflite).input_flips)


def top1(scores: np.ndarray) -> np.ndarray:
    """Class numbers (int64) with the highest score, from scores (n, classes)."""
    return np.argmax(scores.reshape(len(scores), -1), axis=1).astype(np.int64)
