"""Instructions an inference on an emulated ARM core.

    python -m benchmarks.instructions MODEL.tflite... [--cpu cortex-a72] [--runtime ai-edge-litert] [--unidentified]

Needs Debian's packages qemu-user and mmdebstrap, and no root. The first run builds the userland and fetches the
runtime; later ones need no network. docs/boards.md says what the figure means and what it does not.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from sdk.emulation.cores import CORES_BY_NAME
from sdk.errors import ArmletError
from sdk.instructions import INFERENCES, count_inference
from sdk.progress import terminal_progress


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL.tflite")
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
    parser.add_argument("--json", action="store_true", help="print every sample, one JSON line a model")
    arguments = parser.parse_args()
    try:
        for path in arguments.models:
            with terminal_progress() as progress:
                count = count_inference(
                    path.read_bytes(),
                    runtime=arguments.runtime,
                    version=arguments.version,
                    cpu=arguments.cpu,
                    identified=not arguments.unidentified,
                    inferences=arguments.inferences,
                    progress=progress,
                )
            if arguments.json:
                print(json.dumps({"model": path.name, **count.to_json()}))
            else:
                core = f"{count.cpu}{'' if count.identified else ', unidentified'}"
                print(
                    f"{count.instructions / 1e6:8.1f} M instructions  {path.name}  "
                    f"({core}, 1 thread, {count.runtime} {count.runtime_version}, emulated: not a latency)"
                )
    except (ArmletError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
