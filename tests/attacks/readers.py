"""Fuzzes what reads strangers' bytes in Python: every input is read, or refused by an ArmletError, in bounded time and
memory.

    python -m tests.attacks.readers SECONDS [SEED]

tries mutants of the seeds and of the corpus, says how many inputs each reader got, and writes what broke one into
tests/attacks/corpus, where the tests find it. tests/attacks/README.md tells what was tried.
"""

from __future__ import annotations

import json
import random
import signal
import sys
import tempfile
import time
import traceback
import tracemalloc
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from device_agent.errors import ArmletError
from device_agent.package import reader as package_reader
from device_agent.record import wire
from device_agent.record.release import Release
from device_agent.record.schema import parse_json, write
from device_agent.serve.form import read_form
from sdk.api.files.usage import metadata_of_tflite
from sdk.api.measuring.runs import read_record
from sdk.board.description.board_file import parse_board
from sdk.compress.recipes.recipe import Recipe
from sdk.deploy.agent.answers import BenchAnswer, MissingAnswer, RunAnswer, StatusAnswer, read_answer
from sdk.deploy.agent.predictions import PredictAnswer
from sdk.deploy.fleet.inventory import load_inventory
from sdk.deploy.provision.locked import Lock, parse_lock, shipped_lock
from sdk.graph.reader import read_graph, read_subgraphs
from sdk.graph.writer import write_graph
from sdk.package.pack import pack
from sdk.package.signed import SignedRelease, parse_signed
from tests.sdk.graph.small_graphs import small_network
from tests.sdk.report.made_up_runs import report

ROOT = Path(__file__).resolve().parents[2]
CORPUS = Path(__file__).with_name("corpus")

#: Of processor time, for one input: what a slow board file takes and some, and per byte.
SECONDS, SECONDS_PER_BYTE = 1.0, 1e-4
#: Of memory, for one input beside a constant: a byte of JSON becomes an object.
BYTES, BYTES_PER_BYTE = 24 << 20, 400
#: One input in this many is measured for memory, which makes it ten times as slow.
MEASURED = 8
MAX_INPUT = 1 << 16


@dataclass(frozen=True)
class Reader:
    """``read`` takes the bytes of a stranger; ``seeds`` are inputs that it accepts."""

    read: Callable[[bytes], Any]
    seeds: tuple[bytes, ...]


def _in_a_file(read: Callable[[Path], Any], suffix: str) -> Callable[[bytes], Any]:
    folder = Path(tempfile.mkdtemp(prefix="armlet-fuzz-"))

    def write_and_read(data: bytes) -> Any:
        path = folder / f"input{suffix}"
        path.write_bytes(data)
        return read(path)

    return write_and_read


def _answers(data: bytes) -> None:
    """As :meth:`sdk.deploy.agent.remote_agent.RemoteAgent.call` takes an answer, of every verb."""
    answer = parse_json(data)
    for cls in (BenchAnswer, MissingAnswer, RunAnswer, StatusAnswer, PredictAnswer):
        try:
            read_answer(cls, answer, "verb")
        except ArmletError:
            continue


def _tflite(data: bytes) -> None:
    for read in (read_graph, read_subgraphs, metadata_of_tflite):
        try:
            read(data)
        except ArmletError:
            continue


def _beginning_of_the_lock() -> bytes:
    """The first environment of the lock of wheels: all of them are many times as long."""
    return json.dumps(write(Lock(shipped_lock().environments[:1]))).encode()


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def readers() -> dict[str, Reader]:
    """Every reader by name."""
    tflite = write_graph(small_network(size=8, channels=2))
    package = pack(tflite, metadata={"name": "net", "labels": ["a", "b"]})
    boards = tuple(path.read_bytes() for path in sorted((ROOT / "boards").glob("*.toml"))[:2])
    run = json.dumps(report().to_json()).encode()
    inventory = b'[boards.a]\nhost = "10.0.0.1"\nboard = "rpi4"\ngroups = ["x"]\nport = 22\n'
    listing = {
        "_meta": {"hostvars": {"a": {"ansible_host": "10.0.0.1", "ansible_port": 22, "site": "x"}, "b": {}}},
        "all": {"children": ["ungrouped", "kitchen"]},
        "kitchen": {"hosts": ["a", "b"], "vars": {"armlet_board": "rpi4", "ansible_user": "pi"}},
    }
    release = Release("net", "0" * 64, (("0" * 64, 1),), number=3)
    signed = SignedRelease(release, b"-----BEGIN SSH SIGNATURE-----\n", {}).to_bytes()
    status = {
        "verb": "status",
        "agent_version": "1",
        "python_version": "3.11",
        "machine": "aarch64",
        "runtime": None,
        "runtime_version": None,
        "numpy_version": None,
        "requires_signatures": False,
        "releases": [],
    }
    missing = {"verb": "missing", "missing": [], "partial": {}, "current": True, "recheck": False}
    question = b'{"image":[[[1,2,3],[4,5,6]]],"dtype":"float32","top":3}'
    form = b'--xYz\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\nabc\r\n--xYz--\r\n'
    return {
        "tflite": Reader(_tflite, (tflite,)),
        "package": Reader(lambda data: package_reader.unpack(data, max_size=1 << 22), (package,)),
        "recipe": Reader(lambda data: Recipe.from_toml(_text(data)), (Recipe().to_toml().encode(),)),
        "run": Reader(_in_a_file(read_record, ".json"), (run,)),
        "inventory": Reader(_in_a_file(load_inventory, ".toml"), (inventory,)),
        "ansible": Reader(_in_a_file(load_inventory, ".json"), (json.dumps(listing).encode(),)),
        "lock": Reader(parse_lock, (_beginning_of_the_lock(),)),
        "board": Reader(lambda data: parse_board(_text(data), name="b", origin="b.toml"), boards),
        "answer": Reader(_answers, (json.dumps(status).encode(), json.dumps(missing).encode())),
        "signature": Reader(lambda data: parse_signed(data, "it").prepared(b"x"), (signed,)),
        "question": Reader(wire.question_of_json, (question,)),
        "form": Reader(lambda data: read_form(data, "multipart/form-data; boundary=xYz"), (form,)),
    }


_WORDS = (
    b"\0", b"\xff" * 4, b"\xff\xff\xff\x7f", b"\x80\0\0\0", b'"', b"{", b"}", b"[" * 50, b"]" * 50, b"null", b"1e999",
    b"NaN", b"-1", b"9" * 30, b"9" * 5000, b"\xed\xa0\x80", b"\x1b[2J", b"\n", b"=", b"[[", b"'''",
)  # fmt: skip


def mutant(data: bytes, rng: random.Random) -> bytes:
    """The bytes with one to eight things changed."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 8))):
        at = rng.randrange(len(changed) + 1)
        kind = rng.randrange(7)
        if kind == 0 and at < len(changed):
            changed[at] ^= 1 << rng.randrange(8)
        elif kind == 1 and at < len(changed):
            changed[at] = rng.randrange(256)
        elif kind == 2:
            word = rng.choice(_WORDS)
            changed[at : at + (len(word) if rng.random() < 0.5 else 0)] = word
        elif kind == 3:
            del changed[at : at + rng.choice((1, 2, 4, 16, 64))]
        elif kind == 4:
            piece = changed[at : at + rng.choice((4, 16, 64, 256))]
            where = rng.randrange(len(changed) + 1)
            changed[where:where] = piece * rng.choice((1, 1, 2, 50))
        elif kind == 5 and at + 4 <= len(changed):
            changed[at : at + 4] = rng.choice((0, 1, 4, 64, 1 << 16, 1 << 31, (1 << 32) - 1)).to_bytes(
                4, "little"
            )
        elif kind == 6 and rng.random() < 0.2:
            del changed[at:]
    return bytes(changed[: max(MAX_INPUT, len(data))])


@contextmanager
def _ended_after(seconds: int) -> Iterator[None]:
    """Raises TimeoutError in the block after this many seconds."""

    def expire(number: int, frame: Any) -> None:
        raise TimeoutError(f"no end within {seconds} s")

    before = signal.signal(signal.SIGALRM, expire)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def problem(reader: Reader, data: bytes, *, memory: bool) -> str:
    """What is wrong with how an input was read; "" where it was read, or refused by name, within the limits."""
    if memory:
        tracemalloc.start()
    begun = time.process_time()
    try:
        with _ended_after(120):
            reader.read(data)
    except ArmletError as error:
        if "Traceback" in str(error):
            return "a traceback in a message"
    except Exception:
        return traceback.format_exc(limit=-4)
    finally:
        seconds = time.process_time() - begun
        peak = tracemalloc.get_traced_memory()[1] if memory else 0
        tracemalloc.stop()
    if not memory and seconds > SECONDS + SECONDS_PER_BYTE * len(data):
        return f"{seconds:.1f} s of processor time for {len(data)} bytes"
    if peak > BYTES + BYTES_PER_BYTE * len(data):
        return f"{peak >> 20} MB for {len(data)} bytes"
    return ""


def corpus() -> Iterator[tuple[str, Path]]:
    """What broke a reader once: the reader's name and the file."""
    for path in sorted(CORPUS.iterdir()):
        yield path.name.partition("-")[0], path


def fuzz(seconds: float, seed: int, found: Callable[[str, bytes, str], None]) -> Counter[str]:
    """Mutants for so long, each reader in turn; how many inputs each got. ``found`` is told of what went wrong."""
    rng, counts = random.Random(seed), Counter[str]()
    known = readers()
    inputs = {name: list(reader.seeds) for name, reader in known.items()}
    for name, path in corpus():
        inputs[name].append(path.read_bytes())
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for name, reader in known.items():
            if name == "run" and rng.random() < 0.8:  # its inputs are thirty times as long
                continue
            data = mutant(rng.choice(inputs[name]), rng)
            wrong = problem(reader, data, memory=counts[name] % MEASURED == 0)
            counts[name] += 1
            if wrong:
                found(name, data, wrong)
    return counts


def main(arguments: list[str]) -> int:
    """The exit status is 1 where something was found."""
    seed = int(arguments[1]) if len(arguments) > 1 else int(time.time())
    broken = Counter[str]()

    def found(name: str, data: bytes, wrong: str) -> None:
        broken[name] += 1
        path = CORPUS / f"{name}-{zlib.crc32(data):08x}"
        path.write_bytes(data)
        print(f"{path.name}: {wrong}", flush=True)

    counts = fuzz(float(arguments[0]), seed, found)
    print(f"seed {seed}: {sum(counts.values())} inputs, {sum(broken.values())} of them broke something")
    print(", ".join(f"{name} {count}" for name, count in sorted(counts.items())))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
