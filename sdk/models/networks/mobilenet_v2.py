"""MobileNet V2 (Sandler et al. 2018, arXiv 1801.04381), table 2."""

from __future__ import annotations

from sdk.models.networks.network import Network

# (expansion t, output channels c, repeats n, stride of the first s), as in the paper's table.
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
STEM_CHANNELS = 32
HEAD_CHANNELS = 1280
# The authors' code rounds channels to a multiple of 8, and never down by more than a tenth.
DIVISOR = 8


def round_channels(count: float) -> int:
    """The nearest multiple of DIVISOR that is at least 90 % of ``count`` (TF-Slim ``make_divisible``)."""
    rounded = max(DIVISOR, int(count + DIVISOR / 2) // DIVISOR * DIVISOR)
    return rounded + DIVISOR if rounded < 0.9 * count else rounded


def mobilenet_v2(
    shape: tuple[int, int, int], classes: int, *, width: float = 1.0, padding: str = "same"
) -> Network:
    """The network at any ``width``; a width below 1 leaves the last convolution at 1280, as in the paper."""
    net = Network(
        "mobilenet_v2",
        shape,
        padding=padding,
        activation="relu6",
    )
    x = net.conv(net.input, round_channels(STEM_CHANNELS * width), 3, stride=2, name="stem")
    number = 0
    for expansion, filters, repeats, first_stride in STAGES:
        for repeat in range(repeats):
            number += 1
            name = f"block{number}"
            source, filters_out = x, round_channels(filters * width)
            stride = first_stride if repeat == 0 else 1
            if expansion != 1:
                x = net.conv(x, expansion * source.channels, 1, name=f"{name}_expand")
            x = net.depthwise(x, 3, stride=stride, name=f"{name}_depthwise")
            x = net.conv(x, filters_out, 1, name=f"{name}_project", activation=None)
            if stride == 1 and source.channels == filters_out:
                x = net.add(source, x, name=f"{name}_add")
    x = net.conv(x, round_channels(HEAD_CHANNELS * max(1.0, width)), 1, name="head")
    x = net.global_average_pool(x)
    x = net.dense(x, classes, name="classifier")
    net.softmax(x)
    return net
