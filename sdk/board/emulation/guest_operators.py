"""Runs inside the emulated userland: marks what the replay of sdk.board.emulation is to tell apart, by operators.

    python3 guest_operators.py SITE_PACKAGES MODULE FOLDER COUNT

FOLDER has 0.tflite, 1.tflite, ..., COUNT of them, one operator each. Prints nothing. All are made ready first; then
each runs twice, the first time to fill the caches, with a mark after both.
"""

import contextlib
import importlib
import os
import sys

MARK = 0x41524D4C  # replay/trace_plugin.c knows the same numbers
OPERATOR_MARK = 0x41524D4D


def mark(which: int) -> None:
    """Tells the emulator that a span of replayed instructions begins or ends."""
    with contextlib.suppress(OSError):
        os.close(which)


def main() -> None:
    """Runs each model on seeded noise."""
    site_packages, module, folder, count = sys.argv[1:]
    sys.path.insert(0, site_packages)
    import numpy

    made = importlib.import_module(module).Interpreter
    rng = numpy.random.RandomState(0)
    interpreters = []
    for number in range(int(count)):
        interpreter = made(os.path.join(folder, str(number) + ".tflite"), num_threads=1)
        interpreter.allocate_tensors()
        for entry in interpreter.get_input_details():
            noise = rng.uniform(-1.0, 1.0, entry["shape"])
            dtype = numpy.dtype(entry["dtype"])
            interpreter.set_tensor(
                entry["index"], (noise if dtype.kind == "f" else noise * 100).astype(dtype)
            )
        interpreter.invoke()
        interpreters.append(interpreter)
    mark(MARK)
    mark(MARK)
    for interpreter in interpreters:
        interpreter.invoke()
        mark(OPERATOR_MARK)
        interpreter.invoke()
        mark(OPERATOR_MARK)
    mark(MARK)


main()
