"""Do the kernels of Armlet survive models that nobody meant to load, and thousands of loads without a leak?

    python -m benchmarks.hostile_models [--mutants 5000] [--loads 10000] [--sanitized] [-o results.json]

Mutants of two trained networks and a classifier, pruned: other shapes, options, tensors and types, flipped bytes. Each
runs in a process of its own, in the runtime alone and then with everything that the delegate can claim. A mutant that
ends the runtime itself says nothing; one that ends the process only with the delegate, or is answered otherwise, is a
finding. ``--sanitized`` builds the delegate with gcc's address and undefined-behaviour sanitizers (x86-64).
"""

from __future__ import annotations

import argparse
import functools
import gc
import json
import os
import pickle
import random
import select
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record import benchmark
from benchmarks.speed.kernels import classifier, prune
from device_agent.package import kernel
from device_agent.run.kernels import delegate, supply
from device_agent.run.loaded import LoadedModel
from device_agent.run.runtime import find_runtime
from sdk import models
from sdk.deploy.provision.kernel import build, build_delegate, delegate_sources
from sdk.graph.reader import read_graph
from sdk.graph.records import Graph
from sdk.graph.writer import write_graph
from sdk.package.pack import pack

TRAINED = Path(models.__file__).parent / "trained"
NUMBERS = (-(2**31), -1, 0, 1, 2, 3, 4, 5, 7, 8, 31, 64, 255, 1 << 16, 2**31 - 1)
#: One mutant may take so long; nobody waits for a model whose shapes are absurd.
SECONDS = 20
#: Outputs of one mutant differ where float sums in another order cannot explain it: share of the largest value.
DIFFERENCE = 1e-3
#: Of a process with a model; all else ends it.
LIVES = ("answered", "refused")
#: So often a mutant that ends the process only with the delegate is put elsewhere for the runtime alone.
TRIES = 8
WIDE = ("planes", "sparse", "windows")
SANITIZED = (
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
    "-fno-omit-frame-pointer",
    "-g",
    "-O1",
)


def networks() -> list[Graph]:
    """Small pruned networks with everything that a chain can hold."""
    graphs = [read_graph(path.read_bytes()) for path in sorted(TRAINED.glob("*.tflite"))]
    graphs.append(classifier((96, 64, 10)))
    pruned = []
    for number, graph in enumerate(graphs):
        kept = {w.tensor_index: prune(w, 0.3, (1, 2, 4)[number % 3]) for w in graph.weights()}
        pruned.append(graph.with_data(kept))
    return pruned


def mutants(seed: int, count: int) -> Iterator[bytes]:
    """So many mutants, the same for the same seed."""
    rng = random.Random(seed)
    graphs = networks()
    for _ in range(count):
        graph = rng.choice(graphs)
        data = bytearray(write_graph(graph))
        if rng.random() < 0.7:
            try:
                for _ in range(rng.randint(1, 3)):
                    graph = rng.choice(_CHANGES)(graph, rng)
                data = bytearray(write_graph(graph))
            except (
                ValueError,
                TypeError,
                KeyError,
                IndexError,
                OverflowError,
                ArithmeticError,
                AttributeError,
            ):
                pass  # what cannot be written is mutated by its bytes
        if rng.random() < 0.4:
            for _ in range(rng.randint(1, 8)):
                # Where the graph is described, not in the weights, which are most of the file.
                at = (
                    rng.randrange(len(data))
                    if rng.random() < 0.2
                    else len(data) - 1 - rng.randrange(8192) % len(data)
                )
                data[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, data[at] ^ (1 << rng.randrange(8))))
        yield bytes(data)


def _option(graph: Graph, rng: random.Random) -> Graph:
    operators = list(graph.operators)
    at = rng.randrange(len(operators))
    options = dict(operators[at].options)
    if options:
        options[rng.choice(sorted(options))] = rng.choice(NUMBERS)
    operators[at] = replace(operators[at], options=options)
    return replace(graph, operators=tuple(operators))


def _input(graph: Graph, rng: random.Random) -> Graph:
    operators = list(graph.operators)
    at = rng.randrange(len(operators))
    inputs = list(operators[at].inputs)
    inputs[rng.randrange(len(inputs))] = rng.randrange(-1, len(graph.tensors))
    operators[at] = replace(operators[at], inputs=tuple(inputs))
    return replace(graph, operators=tuple(operators))


def _order(graph: Graph, rng: random.Random) -> Graph:
    operators = list(graph.operators)
    at = rng.randrange(len(operators))
    operators.insert(rng.randrange(len(operators)), operators.pop(at))
    return replace(graph, operators=tuple(operators))


def _shape(graph: Graph, rng: random.Random) -> Graph:
    tensors = list(graph.tensors)
    at = rng.randrange(len(tensors))
    shape = list(tensors[at].shape)
    if shape and tensors[at].data is None:
        shape[rng.randrange(len(shape))] = rng.choice(NUMBERS[2:12])
        tensors[at] = replace(tensors[at], shape=tuple(shape))
    return replace(graph, tensors=tuple(tensors))


def _constant(graph: Graph, rng: random.Random) -> Graph:
    """A constant of another shape, shorter or longer, or of other values."""
    tensors = list(graph.tensors)
    at = rng.choice([i for i, tensor in enumerate(tensors) if tensor.data is not None])
    array = np.array(tensors[at].data)
    if rng.random() < 0.5 and array.size:
        flat = array.reshape(-1)
        flat[rng.randrange(array.size)] = rng.choice((0, 1, -1, 3, 127))
    elif array.ndim:
        axis = rng.randrange(array.ndim)
        array = np.take(
            array, rng.choices(range(array.shape[axis]), k=rng.randint(1, 2 * array.shape[axis])), axis
        )
    tensors[at] = replace(tensors[at], shape=array.shape, data=np.ascontiguousarray(array))
    return replace(graph, tensors=tuple(tensors))


def _outputs(graph: Graph, rng: random.Random) -> Graph:
    return replace(graph, outputs=(*graph.outputs, rng.randrange(len(graph.tensors))))


_CHANGES: tuple[Callable[[Graph, random.Random], Graph], ...] = (
    *(_option, _option, _input, _order, _shape, _constant, _constant, _outputs),
)


def _answers(data: bytes, ours: delegate.Delegate | None) -> list[np.ndarray]:
    """What a model answers to the same noise, run twice; raises what the runtime raises. With a delegate its weights
    come without their floats, as from a package."""
    _, interpreter_class = find_runtime()
    handles = [] if ours is None else [ours.handle]
    if ours is not None:
        supplied = without_floats(data)
        data = supplied.content
        supplied.offer(ours)
    interpreter = interpreter_class(model_content=data, num_threads=2, experimental_delegates=handles)
    if ours is not None:
        ours.outlive(interpreter)
        ours.end_supply([int(entry["index"]) for entry in interpreter.get_output_details()])
    interpreter.allocate_tensors()
    for _ in range(2):
        for entry in interpreter.get_input_details():
            noise = np.random.default_rng(0).standard_normal(entry["shape"])
            interpreter.set_tensor(entry["index"], noise.astype(entry["dtype"]))
        interpreter.invoke()
    return [np.array(interpreter.get_tensor(entry["index"])) for entry in interpreter.get_output_details()]


@functools.cache
def _weights() -> tuple[bytes, ...]:
    """Those of :func:`networks`, as they stand in their files."""
    return tuple(w.array.tobytes() for graph in networks() for w in graph.weights() if w.array.nbytes > 1024)


def without_floats(data: bytes) -> supply.Supply:
    """A model of which flats hold all weights that stand in it, no matter what reads them."""
    library = delegate.load_library()
    content = bytearray(data)
    flats = []
    for weights in _weights():
        offset, size = data.find(weights), len(weights)
        if offset < 0 or offset % 4 or not any(content[offset : offset + size]):
            continue
        flat = library.flat_start()
        if library.flat_add(flat, weights, size // 4):
            content[offset : offset + size] = bytes(size)
            flats.append((offset, size, flat))
        else:
            library.flat_free(flat)
    supplied = supply.Supply(data, bytes(content), library)
    for one in flats:
        supplied.add(*one)
    return supplied


def everything() -> delegate.Delegate:
    """A delegate that claims all that it can run."""
    identity, interpreter_class = find_runtime()
    return delegate.Delegate(identity.name, identity.version, interpreter_class.__module__, everything=True)


def apart(data: bytes, ours: bool) -> tuple[str, list[np.ndarray]]:
    """How a model ended in a process of its own: "answered", "refused", "slow" or the signal; and its answers."""
    receiver, sender = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(receiver)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        status, answer = 1, b""
        try:
            answer = pickle.dumps(_answers(data, everything() if ours else None))
            status = 0
        except (ValueError, RuntimeError, TypeError, MemoryError, SystemError, OverflowError):
            pass
        with os.fdopen(sender, "wb") as file:
            file.write(answer)
        os._exit(status)
    os.close(sender)
    answer = b""
    with os.fdopen(receiver, "rb") as file:
        while select.select([file], [], [], SECONDS)[0]:
            part = os.read(file.fileno(), 1 << 20)
            answer += part
            if not part:
                break
        else:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return "slow", []
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        return signal.Signals(os.WTERMSIG(status)).name, []
    if os.WEXITSTATUS(status) > 1:
        return f"status {os.WEXITSTATUS(status)}", []  # a sanitizer's
    return ("answered", pickle.loads(answer)) if answer else ("refused", [])


def _elsewhere(data: bytes) -> str:
    """How a model ends the runtime alone where it lies elsewhere in memory; "" where it never does.

    A runtime that reads beyond a model's end finds what happens to lie there.
    """
    with tempfile.TemporaryDirectory() as folder:
        path, beside = Path(folder) / "mutant", []
        path.write_bytes(data)
        for number in range(TRIES):
            beside.append(bytes(number * len(data) // 2))
            for copy in (path.read_bytes(), bytes(bytearray(data)), (b"\0" * number + data)[number:]):
                end = apart(copy, False)[0]
                if end not in LIVES:
                    return end
    return ""


def _differ(plain: list[np.ndarray], ours: list[np.ndarray]) -> bool:
    for one, other in zip(plain, ours, strict=True):
        if one.shape != other.shape:
            return True
        if one.dtype.kind != "f" or not one.size or not np.isfinite(one).all() or np.abs(one).max() > 1e6:
            continue  # what overflows on the way says nothing
        if not np.abs(one - other).max() <= DIFFERENCE * max(1.0, float(np.abs(one).max())):
            return True
    return False


def attack(seed: int, count: int, keep: Path | None = None) -> dict[str, int]:
    """How so many mutants ended, "FINDING: ..." among it; those are kept in a folder."""
    ends: Counter[str] = Counter()
    _weights()  # once, not in every child
    for number, data in enumerate(mutants(seed, count)):
        plain, expected = apart(data, False)
        if plain in LIVES:
            ours, found = apart(data, True)
            if ours not in LIVES:
                plain = _elsewhere(data) or plain
        if plain not in LIVES:
            ends[f"the runtime alone: {plain}"] += 1
            continue
        if ours not in LIVES:
            end = f"FINDING: {ours} with the delegate, {plain} without"
        elif plain == ours == "answered" and _differ(expected, found):
            end = "FINDING: another answer"
        else:
            end = f"{plain}, with the delegate {ours}"
        ends[end] += 1
        if keep is not None and end.startswith("FINDING"):
            (keep / f"mutant-{seed}-{number}.tflite").write_bytes(data)
    return dict(ends)


def sanitized(folder: Path) -> Path:
    """The delegate with gcc's sanitizers, built in a folder."""
    objects = []
    for source in (one for one in delegate_sources() if one.suffix == ".c"):
        for variant, machine in (("", "x86-64-v3"), ("_wide", "x86-64-v4")):
            if variant and source.stem not in WIDE:
                continue
            objects.append(str(folder / f"{source.stem}{variant}.o"))
            how = ["gcc", "-std=gnu11", "-fPIC", "-fvisibility=hidden", f"-march={machine}", *SANITIZED]
            subprocess.run([*how, "-c", "-o", objects[-1], str(source)], check=True, timeout=600)
    library = folder / "sanitized.so"
    subprocess.run(["gcc", *SANITIZED, "-shared", "-o", str(library), *objects], check=True, timeout=600)
    return library


def _attack_sanitized(seed: int, count: int, keep: Path | None) -> dict[str, int]:
    """As :func:`attack`, in a process that has the sanitizers' library."""
    with tempfile.TemporaryDirectory(prefix="armlet-sanitized-") as folder:
        library = sanitized(Path(folder))
        # The sanitizer asks for C++'s exceptions, which the runtime throws, before the runtime has brought them.
        needed = [
            subprocess.run(
                ["gcc", f"-print-file-name={name}"], capture_output=True, text=True, check=True
            ).stdout.strip()
            for name in ("libasan.so", "libstdc++.so.6")
        ]
        environment = os.environ | {
            "LD_PRELOAD": " ".join(needed),
            # Python and the runtime leak at their end; the delegate's own leaks are counted by loads.
            "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1:exitcode=99:handle_segv=0",
            "UBSAN_OPTIONS": "exitcode=99",  # with its own 1 it would look like a model that was refused
        }
        kept = f"pathlib.Path({str(keep)!r})" if keep else None
        program = (
            "import json, pathlib\nfrom benchmarks.hostile_models import attack, delegate\n"
            f"delegate.use({str(library)!r})\nprint(json.dumps(attack({seed}, {count}, {kept})))"
        )
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, text=True, check=True
        )
        ends: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
        return ends


def loads(count: int) -> dict[str, int]:
    """Bytes that the process grew by while models were loaded, run and let go so many times."""
    packages = pack(write_graph(networks()[-1])), pack(write_graph(networks()[0]))

    def load(times: int) -> None:
        for number in range(times):
            LoadedModel(packages[number % 2], threads=1 + number % 3, kernels="armlet").model.invoke()

    def resident() -> int:
        gc.collect()
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf(
            "SC_PAGESIZE"
        )

    load(min(200, count))
    before = resident()
    load(count)
    return {"loads": count, "grown_bytes": resident() - before}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--mutants", type=int, default=5000, help="(default: %(default)s)")
    parser.add_argument("--loads", type=int, default=10_000, help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")
    parser.add_argument("--sanitized", action="store_true", help="build the delegate with gcc's sanitizers")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep mutants that found something")


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """How the mutants ended, and what the loads left."""
    delegate.use(str(build_delegate()))
    kernel.use(str(build()))
    supply.LEAST_BYTES = 256  # these networks are small
    how = _attack_sanitized if arguments.sanitized else attack
    ends = how(arguments.seed, arguments.mutants, arguments.keep) if arguments.mutants else {}
    for end, count in sorted(ends.items(), key=lambda item: -item[1]):
        print(f"{count:8} {end}", flush=True)
    left = loads(arguments.loads) if arguments.loads else {}
    if left:
        print(f"{left['loads']} loads: {left['grown_bytes'] / 1e6:+.2f} MB", flush=True)
    return {"sanitized": arguments.sanitized, "seed": arguments.seed, "mutants": ends, "loads": left}


if __name__ == "__main__":
    benchmark(__doc__, measure, add_arguments)
