"""Instructions per inference on an emulated ARM core; of a package, also instructions per decoded weight.

    python -m benchmarks.speed.instructions MODEL... [--cpu cortex-a72] [--runtime ai-edge-litert] [--unidentified]

A MODEL is a .tflite file or a .armlet package.

Needs Debian's packages qemu-user and mmdebstrap, and no root. The first run builds the userland and fetches the
runtime; later ones need no network. docs/boards.md says what the figure means and what it does not.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from benchmarks.record import benchmark
from device_agent.package import reader as package
from device_agent.package.codec.format import MAGIC
from sdk.board.emulation.cores import CORES_BY_NAME
from sdk.deploy.provision.instructions import INFERENCES, count_decoding, count_inference
from sdk.tools.system.progress_bar import terminal_progress


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL")
    parser.add_argument(
        "--cpu", default="cortex-a72", choices=list(CORES_BY_NAME), help="default: cortex-a72"
    )
    parser.add_argument(
        "--runtime",
        default="ai-edge-litert",
        choices=("ai-edge-litert", "tflite-runtime"),
        help="default: the first",
    )
    parser.add_argument("--version", help="of the runtime, where not the usual one")
    parser.add_argument(
        "--unidentified",
        action="store_true",
        help="do not tell the runtime which core it is: it takes the kernels meant for any",
    )
    parser.add_argument("--inferences", type=int, default=INFERENCES, help=f"counted (default: {INFERENCES})")


def measure(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """What was counted of each model, with every sample."""
    return [count(path, arguments) for path in arguments.models]


def count(path: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    data = path.read_bytes()
    decoding = None
    with terminal_progress() as progress:
        if data.startswith(MAGIC):
            decoding = count_decoding(data, cpu=arguments.cpu, progress=progress)
            data = package.unpack(data).tflite
        count = count_inference(
            data,
            runtime=arguments.runtime,
            version=arguments.version,
            cpu=arguments.cpu,
            identified=not arguments.unidentified,
            inferences=arguments.inferences,
            progress=progress,
        )
    core = f"{count.cpu}{'' if count.identified else ', unidentified'}"
    print(
        f"{count.instructions / 1e6:8.1f} M instructions  {path.name}  "
        f"({core}, 1 thread, {count.runtime} {count.runtime_version}, emulated: not a latency)"
    )
    if decoding is None:
        return {"model": path.name, **count.to_json()}
    print(
        f"{decoding.unpack_instructions / 1e6:8.1f} M to decode it once, of these "
        f"{decoding.kernel_instructions / 1e6:.1f} M in the C decoder: "
        f"{decoding.instructions_per_weight:.2f} a weight ({decoding.weights:,} weights)"
    )
    return {"model": path.name, **count.to_json(), "decoding": decoding.to_json()}


if __name__ == "__main__":
    benchmark(__doc__, measure, add_arguments)
