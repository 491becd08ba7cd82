"""Which TFLite runtime this Python would import, told without importing it: that takes seconds on a slow board."""

from __future__ import annotations

import importlib.util

#: (module, distribution) in the order of preference.
MODULES = (("ai_edge_litert", "ai-edge-litert"), ("tflite_runtime", "tflite-runtime"))


def installed_runtime() -> str:
    """Name and version, such as "ai-edge-litert 2.1.2"; "" where none is installed."""
    for module, distribution in MODULES:
        if importlib.util.find_spec(module) is None:
            continue
        from importlib import metadata

        try:
            return f"{distribution} {metadata.version(distribution)}"
        except metadata.PackageNotFoundError:
            return f"{distribution} unknown"
    return ""
