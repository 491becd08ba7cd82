"""MobileNet V1 (Howard et al. 2017, arXiv 1704.04861), table 1."""

from __future__ import annotations

from sdk.models.networks.network import Network

# (output channels, stride) of each depthwise-separable block at width 1.
BLOCKS = (
    *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)),
    *((512, 1), (512, 1), (512, 1), (512, 1), (512, 1)),
    *((1024, 2), (1024, 1)),
)
STEM_CHANNELS = 32
# The authors' code (TF-Slim, mobilenet_v1.py, min_depth) lets no width go below 8 channels.
MIN_CHANNELS = 8
# Pixels of the image to one of the last layers, each way.
REDUCTIONS = (32, 16, 8)


def mobilenet_v1(
    shape: tuple[int, int, int],
    classes: int,
    *,
    width: float = 1.0,
    padding: str = "same",
    reduction: int = REDUCTIONS[0],
) -> Network:
    """The network at any ``width`` (the paper's multiplier alpha).

    The ReLU is capped at 6, as in the authors' code. ``padding="symmetric"`` pads one pixel on every side at
    stride 2, which is what XNNPACK's sparse path asks for. With a smaller ``reduction`` than the paper's the first
    blocks at stride 2 are at stride 1, for images so small that nothing would be left for the last layers to see;
    the stem keeps its stride, which the sparse path asks for, too.
    """

    def scaled(count: int) -> int:
        return max(MIN_CHANNELS, int(count * width))

    net = Network(
        "mobilenet_v1",
        shape,
        padding=padding,
        activation="relu6",
    )
    x = net.conv(net.input, scaled(STEM_CHANNELS), 3, stride=2, name="stem")
    unstrided = REDUCTIONS.index(reduction)
    for number, (filters, stride) in enumerate(BLOCKS, 1):
        if stride == 2 and unstrided:
            stride, unstrided = 1, unstrided - 1
        x = net.depthwise(x, 3, stride=stride, name=f"block{number}_depthwise")
        x = net.conv(x, scaled(filters), 1, name=f"block{number}_pointwise")
    x = net.global_average_pool(x)
    x = net.dense(x, classes, name="classifier")
    net.softmax(x)
    return net
