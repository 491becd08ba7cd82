"""Which extra of the package brings a module that is not there."""

from __future__ import annotations

from sdk.errors import ArmletError

#: Top-level module -> the extra that installs it.
EXTRA_OF = {
    "ai_edge_litert": "deploy",
    "argcomplete": "deploy",
    "flatbuffers": "deploy",
    "h5py": "host",
    "jinja2": "deploy",
    "keras": "host",
    "optuna": "host",
    "pandas": "frames",
    "pycocotools": "deploy",
    "paramiko": "deploy",
    "PIL": "deploy",
    "rich": "deploy",
    "sklearn": "demo",
    "tensorflow": "host",
    "torch": "torch",
    "tf_keras": "host",
    "tomli": "deploy",
    "ziglang": "host",
}


def missing(error: ModuleNotFoundError) -> ArmletError | None:
    """The advice to install an extra, or None if no extra brings the module: then the installation is broken."""
    name = (error.name or "").partition(".")[0]
    if name not in EXTRA_OF:
        return None
    return ArmletError(
        f"this command needs {name}, which is not installed",
        hint=f"Install it with: pip install 'armlet[{EXTRA_OF[name]}]'.",
    )
