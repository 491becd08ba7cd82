"""Runs inside the emulated userland: marks what sdk.board.emulation's QEMU plugin is to count around each inference.

    python3 guest_inference.py SITE_PACKAGES MODULE MODEL.tflite INFERENCES [DELEGATE.so]

Prints nothing. The marks: two in a row, which show what a mark costs, then one before the first inference (which
includes late set-up), and one after each.
"""

import ctypes
import importlib
import os
import sys

MARK = 0x41524D4C  # count_instructions.c knows the same number


#: Not Python's own: its error for a file that is not there takes longer than a small network.
_close = ctypes.CDLL(None).close


def mark() -> None:
    """Tells the emulator that a span of counted instructions begins or ends."""
    _close(MARK)


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
        if dtype.kind != "f":  # what is wider than a pixel is a place in a table, or a length
            noise = noise * 100 if dtype.kind in "iu" and dtype.itemsize == 1 else noise * 0
        interpreter.set_tensor(entry["index"], noise.astype(dtype))
    mark()
    mark()
    mark()
    for _ in range(int(inferences)):
        interpreter.invoke()
        mark()


main()
