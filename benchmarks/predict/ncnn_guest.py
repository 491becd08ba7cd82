"""Runs inside the emulated userland: two inferences of a network by ncnn's Python wheel, with marks around each.

python3 ncnn_guest.py SITE_PACKAGES NETWORK.param SIDE fp16|fp32
"""

import contextlib
import os
import sys

MARK = 0x41524D4C  # trace_plugin.c knows the same number


def mark() -> None:
    with contextlib.suppress(OSError):
        os.close(MARK)


def main() -> None:
    site_packages, param, side, arithmetic = sys.argv[1:]
    sys.path.insert(0, site_packages)
    extension = os.path.join(site_packages, "ncnn")
    sys.path.insert(0, extension)  # the extension alone: the package's own __init__ imports numpy
    import ncnn

    net = ncnn.Net()
    net.opt.num_threads = 1
    net.opt.lightmode = True
    # as benchncnn has it: buffers are used again, so that caches hold them
    blobs, workspaces = ncnn.UnlockedPoolAllocator(), ncnn.PoolAllocator()
    blobs.set_size_compare_ratio(0.0)
    workspaces.set_size_compare_ratio(0.5)
    net.opt.blob_allocator, net.opt.workspace_allocator = blobs, workspaces
    if arithmetic == "fp32":
        net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    if net.load_param(param):
        raise SystemExit("ncnn does not read the network")
    net.load_model(ncnn.DataReaderFromEmpty())
    data = ncnn.Mat(int(side), int(side), 3)
    data.fill(0.01)
    mark()
    mark()
    mark()
    for _ in range(2):
        extractor = net.create_extractor()
        extractor.input("data", data)
        code, out = extractor.extract("output")
        if code or out.w != 1000:
            raise SystemExit(f"ncnn did not infer: {code}, {out.w} outputs")
        mark()
        del out, extractor
    os._exit(0)  # the allocators would be gone before what they hold


main()
