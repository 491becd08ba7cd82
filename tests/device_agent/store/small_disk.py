"""Run by test_small_disk.py in a mount namespace of its own: deploys on a disk that is really small, and really
read-only. Prints JSON; arguments: the folder to mount on, its size in bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

from device_agent import __main__ as main_module
from device_agent.record.release import Release
from device_agent.store.store import Store
from device_agent.verbs import deploying as deploy_verbs


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def mount(*options: str) -> None:
    subprocess.run(["mount", *options], check=True)


def deploy(part: bytes) -> dict:
    release = Release("net", sha(part), ((sha(part), len(part)),))
    ask = json.dumps([sha(part)]).encode() + b"\n"
    sys.stdin = io.TextIOWrapper(io.BytesIO(ask))
    answer, _ = main_module.answer(["missing"])
    if "error" in answer:
        return answer
    size, beginning = answer["partial"].get(sha(part), (0, ""))
    offset = size if sha(part[:size]) == beginning else 0
    listed = [[sha(part), len(part), offset]] if answer["missing"] else []
    header = {"release": json.loads(release.to_bytes()), "blobs": listed}
    payload = part[offset:] if listed else b""
    sys.stdin = io.TextIOWrapper(io.BytesIO(json.dumps(header).encode() + b"\n" + payload))
    return main_module.answer(["install"])[0]


def main() -> None:
    folder, size = Path(sys.argv[1]), int(sys.argv[2])
    mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder))
    os.environ["ARMLET_HOME"] = str(folder)
    healthy = {"inference_seconds": 0.01, "peak_memory_bytes": None, "available_memory_bytes": None}
    deploy_verbs.check_in_child = lambda *_: (healthy, "")
    old, large, new = (os.urandom(n) for n in (size // 8, size, size // 8))

    def runs() -> str:
        store = Store(folder / "store")
        return sha(store.read_package(store.current("net")))

    told = {"first": deploy(old), "full": deploy(large), "still": runs() == sha(old), "after": deploy(new)}
    mount("-o", "remount,bind,ro", str(folder))
    told["read_only"] = deploy(old + b"other")
    told["reads"] = runs() == sha(new)
    told["status"] = main_module.answer(["status"])[1]
    mount("-o", "remount,bind,rw", str(folder))
    told["writable"] = deploy(old + b"other")
    told["files"] = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    told["blobs"] = [sha(old + b"other"), sha(new)]
    print(json.dumps(told))


if __name__ == "__main__":
    main()
