"""Converters that live in a Python environment of their own, because what they pin suits nobody else: made once."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from device_agent.record.visible import visible
from sdk.errors import ModelError
from sdk.graph.on_host.sources.telling import told
from sdk.tools.system.folders import cache_folder
from sdk.tools.system.programs import ProgramFailed, run_program

INSTALL_SECONDS = 3600.0
MOST_OUTPUT = 1 << 24
_READY = "ready.json"


@dataclass(frozen=True)
class Converter:
    """``steps``: what pip installs, one call after the other. ``modules``: what it brings, by which it is found."""

    name: str
    steps: tuple[tuple[str, ...], ...]
    modules: tuple[str, ...]
    size: str
    extra: str | None = None  # of armlet, which brings it into the environment that runs


#: Where PyTorch keeps builds without CUDA, which are a tenth of the others.
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
CONVERTERS = {
    "torch": Converter(
        "torch",
        (("--index-url", CPU_INDEX, "torch"), ("litert-torch>=0.10",)),
        ("torch", "litert_torch"),
        "2.2 GB",
        "torch",
    ),
    "onnx": Converter("onnx", (("onnx2tf==1.29.24",),), ("onnx2tf",), "2.6 GB"),
}


def install(
    name: str,
    *,
    instead: Sequence[str] = (),
    python: str | None = None,
    say: Callable[[str], None] = lambda step: None,
) -> Path:
    """Makes the environment of a converter, in place of one that is there; its folder. Raises ModelError.

    ``instead``: what pip installs in the first step, in place of the usual packages. ``python``: the interpreter that
    it is made with; None: the running one. ``say`` is called with each step.
    """
    if name not in CONVERTERS:
        raise ModelError(
            f"there is no converter {visible(name, most=40)}",
            expected=", ".join(sorted(CONVERTERS)),
            found=name[:40],
        )
    converter = CONVERTERS[name]
    folder = _folder(name)
    made = folder.with_name(f".{name}.{os.getpid()}")
    steps = (tuple(instead), *converter.steps[1:]) if instead else converter.steps
    try:
        say("make the environment")
        _run(name, [python or sys.executable, "-m", "venv", str(made)])
        for step in steps:
            say(f"install {step[-1]}")
            _run(
                name,
                [str(_python(made)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *step],
            )
        say("try it")
        _run(name, [str(_python(made)), "-c", f"import {', '.join(converter.modules)}"])
        (made / _READY).write_text(json.dumps({"steps": steps}))
        shutil.rmtree(folder, ignore_errors=True)
        made.rename(folder)
    except OSError as error:
        raise ModelError(
            f"the converter {name} cannot be installed",
            expected=f"{converter.size} of space",
            found=str(error),
        ) from error
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return folder


def python_for(name: str, path: Path) -> str:
    """The interpreter that has the converter: the one that runs, or that of its own environment. Raises ModelError.

    ``path``: the model to be converted.
    """
    converter = CONVERTERS[name]
    if converter.extra is not None and all(
        importlib.util.find_spec(one) is not None for one in converter.modules
    ):
        return sys.executable
    folder = _folder(name)
    if (folder / _READY).is_file():
        return str(_python(folder))
    other = f" or pip install 'armlet[{converter.extra}]'" if converter.extra else ""
    raise ModelError(
        f"{path} needs the converter for {name}, which is not installed",
        expected=", ".join(converter.modules),
        found="neither here nor in an environment of its own",
        hint=f"Once: sdk tools install {name} ({converter.size}){other}; it works offline afterwards.",
    )


def _folder(name: str) -> Path:
    return cache_folder("converters", name)


def _python(folder: Path) -> Path:
    return folder / "Scripts" / "python.exe" if os.name == "nt" else folder / "bin" / "python"


def _run(name: str, command: Sequence[str]) -> None:
    _folder(name).parent.mkdir(parents=True, exist_ok=True)
    try:
        printed = run_program(command, limit_seconds=INSTALL_SECONDS, max_bytes=MOST_OUTPUT)
    except ProgramFailed as error:
        raise ModelError(f"the converter {name} cannot be installed", found=str(error)) from error
    if printed.status != 0:
        text = printed.errors + printed.output
        errors = "\n".join(line for line in text.splitlines() if line.startswith("ERROR: "))
        raise told(
            f"tools-{name}",
            f"the converter {name} cannot be installed",
            errors.replace("ERROR: ", "", 1) or text,
            text,
            hint="Look at the network and at the version of Python (--python).",
        )
