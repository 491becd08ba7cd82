"""Converters with an environment of their own: installed once, used offline afterwards; and PyTorch modules by them."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdk.api.file_requests import InstallTool
from sdk.api.files.packing import convert_model
from sdk.api.results import Converted, InstalledTool
from sdk.api.values import PathLike
from sdk.errors import ModelError
from sdk.graph.on_host.sources.environments import CONVERTERS, install
from sdk.graph.on_host.sources.telling import conversion_failed
from sdk.tools.option import build
from sdk.tools.progress import Progress, silent

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from sdk.api.keywords import ConvertOptions, InstallToolOptions


def install_tool(
    name: str, *, progress: Progress = silent, **options: Unpack[InstallToolOptions]
) -> InstalledTool:
    """Makes the environment of the converter "torch" or "onnx", in place of one that is there; needs the internet.

    ``options``: see :class:`sdk.api.file_requests.InstallTool`. Raises TypeError for others, and ModelError where pip
    does not succeed.
    """
    request = build(InstallTool, options, function="install_tool")
    folder = install(
        name, instead=request.packages, python=request.python, say=lambda step: progress(step, 0, 0)
    )
    return InstalledTool(name, folder, CONVERTERS[name].modules)


def convert_torch(
    module: Any,
    example_inputs: Sequence[Any],
    output: PathLike,
    *,
    example_keywords: Mapping[str, Any] | None = None,
    progress: Progress = silent,
    **options: Unpack[ConvertOptions],
) -> Converted:
    """A PyTorch module -> ``.tflite`` with channels last at ``output``, for inputs of the shapes of ``example_inputs``.

    The module is in evaluation mode meanwhile. Needs ``armlet[torch]``, or torch here and the converter "torch".
    ``options``: see :class:`sdk.api.file_requests.Convert`. Raises TypeError for others, and ModelError.
    """
    import torch

    name = type(module).__name__
    training = module.training
    progress("export", 0, 0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.pt2"
        module.eval()
        try:
            program = torch.export.export(module, tuple(example_inputs), dict(example_keywords or {}))
            torch.export.save(program, path)
        except ModelError:
            raise
        except Exception as error:  # torch raises whatever its tracing meets
            raise conversion_failed(
                name, f"torch.export could not export {name}", error, hint="It names the line of the network."
            ) from error
        finally:
            module.train(training)
        return replace(convert_model(path, output, progress=progress, **options), source=name)
