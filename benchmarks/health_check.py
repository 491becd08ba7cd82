"""Does the health check refuse a wrong model, and take a right one?

    python -m benchmarks.health_check FOLDER [--mutants 20]

Each ``.tflite`` in FOLDER gets its golden pair, as a deploy makes it. Then its weights are changed in the file: one
tensor set to zero, one with its sign flipped, one with two of its output channels swapped. The changed model's answers
are held against the golden pair, as on a board. Printed: mutants that are refused, of those whose answers are not the
original's to the bit (two channels that are equal can be swapped).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record import benchmark
from device_agent.errors import AgentError, ArmletError
from device_agent.tensors.golden import require_close
from sdk.api.files.golden import golden_pair
from sdk.graph.on_host.host_model import HostModel
from sdk.graph.records import NUMPY_DTYPES
from sdk.package.release import Golden
from sdk.package.spans import BufferSpan, weight_buffers

#: A constant with fewer elements is a shape or an axis rather than a weight.
LEAST_ELEMENTS = 16
CHANGES = ("zero", "sign", "swap")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path)
    parser.add_argument("--mutants", type=int, default=20, help="per model (default: 20)")
    parser.add_argument("--seed", type=int, default=0)


def measure(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """One row per model: mutants that were refused, and how many there were."""
    rows = []
    for path in sorted(arguments.folder.glob("*.tflite")):
        try:
            row = _row(path.read_bytes(), arguments)
        except ArmletError as error:
            print(f"{path.stem:34}{str(error)[:80]}")
            continue
        rows.append({"model": path.stem, **row})
        passed = ", ".join(row["passed"][:4])
        print(f"{path.stem:34}{row['refused']:4} of {row['mutants']:4} refused   {passed}", flush=True)
    refused, mutants = (sum(row[key] for row in rows) for key in ("refused", "mutants"))
    print(f"{'all':34}{refused:4} of {mutants:4} refused: {100 * refused / max(1, mutants):.1f} %")
    return rows


def _row(tflite: bytes, arguments: argparse.Namespace) -> dict[str, Any]:
    golden = golden_pair(tflite)
    rng = np.random.default_rng(arguments.seed)
    mutants = refused = 0
    passed = []
    for name, changed in _mutants(tflite, arguments.mutants, rng):
        verdict = _verdict(changed, golden)
        if verdict == "equal":
            continue
        mutants += 1
        refused += verdict == "refused"
        if verdict == "passed":
            passed.append(name)
    return {"mutants": mutants, "refused": refused, "passed": passed, "cases": len(golden.inputs[0])}


def _verdict(tflite: bytes, golden: Golden) -> str:
    """ "refused", "passed", or "equal" to the original to the bit."""
    cases = range(len(golden.inputs[0]))
    try:
        with HostModel(tflite) as model:
            found = [list(model.run([array[i] for array in golden.inputs]).values()) for i in cases]
            infos = model.outputs
        answers = [
            [[array[i] for array in row] for i in cases] for row in (golden.outputs, *golden.alternatives)
        ]
        if all(
            a.tobytes() == b.tobytes()
            for one, two in zip(answers[0], found, strict=True)
            for a, b in zip(one, two, strict=True)
        ):
            return "equal"
        require_close(infos, answers, found, golden.limits)
    except (AgentError, ArmletError):
        return "refused"
    return "passed"


def _mutants(tflite: bytes, count: int, rng: np.random.Generator) -> Iterator[tuple[str, bytes]]:
    """``count`` changed files, and what was changed in each."""
    spans = [s for s in weight_buffers(tflite) if s.size // max(1, s.width) >= LEAST_ELEMENTS]
    choices = [(span, change) for span in spans for change in CHANGES]
    for index in rng.permutation(len(choices))[:count]:
        span, change = choices[index]
        stored = tflite[span.offset : span.offset + span.size]
        yield (
            f"{change} {span.name[-30:]}",
            tflite[: span.offset] + _changed(stored, span, change, rng) + tflite[span.offset + span.size :],
        )


def _changed(stored: bytes, span: BufferSpan, change: str, rng: np.random.Generator) -> bytes:
    if change == "zero":
        return bytes(len(stored))
    dtype = NUMPY_DTYPES.get(span.dtype.upper(), np.dtype(np.uint8))
    values = np.frombuffer(stored, dtype).copy()
    if change == "sign":
        # In real values; unsigned weights are around the middle of their range.
        return (np.uint8(255) - values if dtype.kind == "u" else -values).astype(dtype).tobytes()
    shaped = values.reshape(span.shape) if values.size == np.prod(span.shape, dtype=np.int64) else values
    axis = int(np.argmax(shaped.shape)) if len(shaped.shape) == 4 and shaped.shape[0] == 1 else 0
    shaped = np.moveaxis(shaped, axis, 0)
    one, other = rng.choice(len(shaped), 2, replace=False) if len(shaped) > 1 else (0, 0)
    shaped[[one, other]] = shaped[[other, one]]
    return np.ascontiguousarray(np.moveaxis(shaped, 0, axis)).tobytes()


if __name__ == "__main__":
    benchmark(__doc__, measure, add_arguments)
