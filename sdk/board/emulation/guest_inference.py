"""Runs inside the emulated userland: marks what sdk.board.emulation's QEMU plugin is to count around each inference.

    python3 guest_inference.py SITE_PACKAGES MODULE MODEL.tflite INFERENCES [DELEGATE.so]

Prints nothing. The marks: two in a row, which show what a mark costs, then one before the first inference (which
includes late set-up), and one after each.
"""

import contextlib
import importlib
import os
import sys

MARK = 0x41524D4C  # count_instructions.c knows the same number


def mark() -> None:
    """Tells the emulator that a span of counted instructions begins or ends."""
    with contextlib.suppress(OSError):
        os.close(MARK)


def main() -> None:
    """Runs a model on seeded noise, with a mark before and after each inference."""
    site_packages, module, model, inferences, *delegates = sys.argv[1:]
    # Where wheels of numpy do not exist, the userland has Debian's. (Its path as this Python sees its own library.)
    system = os.path.join(os.path.dirname(os.__file__), os.pardir, "python3", "dist-packages")
    sys.path[:] = [site_packages, *sys.path, system]
    import numpy

    runtime = importlib.import_module(module)
    handles = [runtime.load_delegate(path) for path in delegates]
    interpreter = runtime.Interpreter(model, num_threads=1, experimental_delegates=handles)
    interpreter.allocate_tensors()
    rng = numpy.random.RandomState(0)
    for entry in interpreter.get_input_details():
        noise = rng.uniform(-1.0, 1.0, entry["shape"])
        dtype = numpy.dtype(entry["dtype"])
        interpreter.set_tensor(entry["index"], (noise if dtype.kind == "f" else noise * 100).astype(dtype))
    mark()
    mark()
    mark()
    for _ in range(int(inferences)):
        interpreter.invoke()
        mark()


main()
