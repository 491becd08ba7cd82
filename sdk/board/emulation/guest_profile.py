"""Runs inside the emulated userland: inferences with the runtime's profiler, whose looks at the clock the plugin sees.

    python3 guest_profile.py SITE_PACKAGES AGENT MODEL.tflite

The marks are those of guest_inference.py for two inferences; the second is profiled. Prints the operators that the
profiler names, in their order, as JSON.
"""

import ctypes
import importlib
import json
import sys

MARK = 0x41524D4C  # trace_plugin.c knows the same number


_close = ctypes.CDLL(None).close  # as in guest_inference.py


def mark() -> None:
    """Tells the emulator that a span of replayed instructions begins or ends."""
    _close(MARK)


def main() -> None:
    """Two inferences of a model, the second with names and times of its operators."""
    site_packages, agent, path = sys.argv[1:]
    sys.path[:] = [agent, site_packages, *sys.path]
    measuring = importlib.import_module("device_agent.measuring.litert_profiler")
    with open(path, "rb") as file:
        model = measuring.ProfiledModel(file.read())
    mark()
    mark()
    mark()
    model.run()
    model.start()
    mark()
    model.run()
    mark()
    events = measuring.kernel_events(model.stop())
    print(json.dumps([[event.name, event.seconds] for event in events]))


main()
