"""ShuffleNet V2 (Ma et al. 2018, arXiv 1807.11164), table 5 and figure 3 (c, d)."""

from __future__ import annotations

from sdk.errors import ModelError
from sdk.models.networks.network import Layer, Network
from sdk.models.networks.shufflenet_v1 import STEMS

# Output channels of stages 2, 3, 4 and of the last convolution, by scale.
STAGE_CHANNELS = {
    0.5: (48, 96, 192, 1024),
    1.0: (116, 232, 464, 1024),
    1.5: (176, 352, 704, 1024),
    2.0: (244, 488, 976, 2048),
}
STAGE_UNITS = (4, 8, 4)
STEM_CHANNELS = 24


def shufflenet_v2(
    shape: tuple[int, int, int],
    classes: int,
    *,
    scale: float = 1.0,
    padding: str = "same",
    stem: str = "max_pool",
) -> Network:
    """The network at one of the paper's four scales; ``stem`` as in ShuffleNet V1."""
    if scale not in STAGE_CHANNELS:
        raise ModelError(
            "shufflenet_v2: the paper has no such scale",
            expected=", ".join(map(str, STAGE_CHANNELS)),
            found=str(scale),
        )
    if stem not in STEMS:
        raise ModelError("shufflenet_v2: unknown stem", expected=" or ".join(STEMS), found=repr(stem))
    *stages, head = STAGE_CHANNELS[scale]
    net = Network("shufflenet_v2", shape, padding=padding)
    x = net.conv(net.input, STEM_CHANNELS, 3, stride=2, name="stem")
    if stem == "max_pool":
        x = net.pool(x, "max", 3, stride=2, name="stem_pool")
    else:
        x = net.depthwise(x, 3, stride=2, name="stem_depthwise")
    for stage, (filters, units) in enumerate(zip(stages, STAGE_UNITS, strict=True), 2):
        x = _downsample(net, x, filters, name=f"stage{stage}_unit1")
        for unit in range(2, units + 1):
            x = _basic(net, x, name=f"stage{stage}_unit{unit}")
    x = net.conv(x, head, 1, name="head")
    x = net.global_average_pool(x)
    x = net.dense(x, classes, name="classifier")
    net.softmax(x)
    return net


def _basic(net: Network, source: Layer, *, name: str) -> Layer:
    """Figure 3 (c): half of the channels pass through, the other half is convolved."""
    kept, x = net.halves(source, name=f"{name}_split")
    width = x.channels
    x = net.conv(x, width, 1, name=f"{name}_pointwise1")
    x = net.depthwise(x, 3, name=f"{name}_depthwise", activation=None)
    x = net.conv(x, width, 1, name=f"{name}_pointwise2")
    x = net.concatenate([kept, x], name=f"{name}_concatenate")
    return net.shuffle(x, 2, name=f"{name}_shuffle")


def _downsample(net: Network, source: Layer, filters: int, *, name: str) -> Layer:
    """Figure 3 (d): both branches see every channel and halve the resolution."""
    half = filters // 2
    left = net.depthwise(source, 3, stride=2, name=f"{name}_left_depthwise", activation=None)
    left = net.conv(left, half, 1, name=f"{name}_left_pointwise")
    right = net.conv(source, half, 1, name=f"{name}_pointwise1")
    right = net.depthwise(right, 3, stride=2, name=f"{name}_depthwise", activation=None)
    right = net.conv(right, half, 1, name=f"{name}_pointwise2")
    x = net.concatenate([left, right], name=f"{name}_concatenate")
    return net.shuffle(x, 2, name=f"{name}_shuffle")
