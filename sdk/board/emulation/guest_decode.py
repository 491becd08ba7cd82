"""Runs inside the emulated userland: marks what sdk.board.emulation's QEMU plugin is to count around each call of the C
decoder.

    python3 guest_decode.py SITE_PACKAGES AGENT KERNEL.so PACKAGE.armlet

The marks: two in a row, which show what a mark costs; then one before and one after each call of the decoder; then one
before and one after a whole unpacking, with checks and digests, in which decoder calls have no marks. Prints one JSON
line: for each section its layout, its elements and its bytes, in the order of the calls.
"""

import contextlib
import json
import os
import sys

MARK = 0x41524D4C  # count_instructions.c knows the same number


def mark() -> None:
    """Tells the emulator that a span of counted instructions begins or ends."""
    with contextlib.suppress(OSError):
        os.close(MARK)


def main() -> None:
    """Decodes a package between marks, section by section and whole; prints what was decoded as JSON."""
    site_packages, agent, library, path = sys.argv[1:]
    system = os.path.join(os.path.dirname(os.__file__), os.pardir, "python3", "dist-packages")
    sys.path[:] = [agent, site_packages, *sys.path, system]
    from device_agent.package import kernel
    from device_agent.package import reader as package

    kernel.use(library)
    with open(path, "rb") as file:
        data = file.read()
    package.unpack(data, kernel="c")  # the first time touches every page

    decode = kernel.Kernel.decode
    calls = []

    def marked(self: kernel.Kernel, coded: object, out: object) -> None:
        mark()
        decode(self, coded, out)
        mark()
        calls.append(out.size)  # type: ignore[attr-defined]

    mark()
    mark()
    kernel.Kernel.decode = marked  # type: ignore[method-assign]
    sections = package.unpack(data, kernel="c").package.sections
    kernel.Kernel.decode = decode  # type: ignore[method-assign]
    mark()
    package.unpack(data, kernel="c")
    mark()
    print(json.dumps({"calls": calls, "sections": [[s.layout, s.count, s.size] for s in sections]}))


main()
