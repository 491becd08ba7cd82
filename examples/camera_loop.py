"""Says what a camera sees, frame by frame; the camera is a folder into which pictures come.

    ~/.armlet/python camera_loop.py mobilenet /var/spool/camera --fps 10

Like a camera, it does not wait: when an inference takes longer than a frame, the frames in between are left out. A new
release of the model is taken as soon as it is deployed; the loop does not stop for it. Decoding pictures needs Pillow
(Debian: python3-pil); a program with a real camera hands its frames to ``predict`` as they are, uint8 and
(height, width, 3).
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

from device_agent import Agent

PICTURES = {".jpg", ".jpeg", ".png"}


def newest(folder: Path) -> Path | None:
    """The picture that was written last."""
    pictures = [path for path in folder.iterdir() if path.suffix.lower() in PICTURES]
    return max(pictures, key=lambda path: path.stat().st_mtime_ns, default=None)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="name of a deployed model, or a .armlet file")
    parser.add_argument("folder", type=Path, help="where the pictures come")
    parser.add_argument("--fps", type=float, default=10.0, help="how often to look (default: 10)")
    parser.add_argument("--frames", type=int, help="end after so many (default: never)")
    parser.add_argument("--at-least", type=float, default=0.0, metavar="SCORE", help="be silent below it")
    options = parser.parse_args()

    seen: Path | None = None
    shown = 0
    # "background": while a new release is loaded, frames are answered by the one before.
    with Agent(options.model, reload="background") as agent:
        for frame in itertools.count():
            begun = time.monotonic()
            path = newest(options.folder)
            if path is not None and path != seen:
                seen = path
                try:
                    with Image.open(path) as image:
                        answer = agent.predict(np.asarray(image.convert("RGB")))
                except OSError as error:  # half-written, or no picture
                    print(f"{path.name}: {error}", file=sys.stderr)
                else:
                    shown += 1
                    if answer.score is not None and answer.score >= options.at_least:
                        name = answer.label or answer.index
                        print(f"{path.name}\t{name}\t{answer.score:.3f}", flush=True)
            if frame + 1 == options.frames:
                break
            time.sleep(max(0.0, 1.0 / options.fps - (time.monotonic() - begun)))
        print(
            f"{shown} frames, {1e3 * agent.latency.percentile(50):.1f} ms median, "
            f"{1e3 * agent.latency.percentile(99):.1f} ms 99th percentile, {agent.reloads} new releases",
            file=sys.stderr,
        )


if __name__ == "__main__":
    main()
