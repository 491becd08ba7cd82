"""ShuffleNet V1 (Zhang et al. 2017, arXiv 1707.01083), table 1 and figure 2."""

from __future__ import annotations

from sdk.errors import ModelError
from sdk.models.networks.network import Layer, Network

# Output channels of stages 2, 3 and 4 at 1x, by number of groups.
STAGE_CHANNELS = {
    1: (144, 288, 576),
    2: (200, 400, 800),
    3: (240, 480, 960),
    4: (272, 544, 1088),
    8: (384, 768, 1536),
}
STAGE_UNITS = (4, 8, 4)
STEM_CHANNELS = 24
# Section 3.2: "we set the number of bottleneck channels to 1/4 of the output channels".
BOTTLENECK = 4
STEMS = ("max_pool", "depthwise")


def shufflenet_v1(
    shape: tuple[int, int, int],
    classes: int,
    *,
    scale: float = 1.0,
    groups: int = 3,
    padding: str = "same",
    stem: str = "max_pool",
) -> Network:
    """The network at any ``scale`` (the paper's "s x", on every channel count, the stem's too).

    Channel counts are rounded to the nearest that the groups divide, which at 1 and 3 groups leaves the paper's
    scales (0.25, 0.5, 1, 1.5, 2) as they are.

    ``stem="depthwise"`` puts a stride-2 depthwise convolution in the place of the max pool, which XNNPACK's
    sparse path cannot run.
    """
    if groups not in STAGE_CHANNELS:
        raise ModelError(
            "shufflenet_v1: the paper has no such group count",
            expected=", ".join(map(str, STAGE_CHANNELS)),
            found=str(groups),
        )
    if stem not in STEMS:
        raise ModelError("shufflenet_v1: unknown stem", expected=" or ".join(STEMS), found=repr(stem))

    def scaled(count: int, multiple: int) -> int:
        return max(multiple, int(count * scale / multiple + 0.5) * multiple)

    net = Network("shufflenet_v1", shape, padding=padding)
    x = net.conv(net.input, scaled(STEM_CHANNELS, groups), 3, stride=2, name="stem")
    if stem == "max_pool":
        x = net.pool(x, "max", 3, stride=2, name="stem_pool")
    else:
        x = net.depthwise(x, 3, stride=2, name="stem_depthwise")
    for stage, (filters, units) in enumerate(zip(STAGE_CHANNELS[groups], STAGE_UNITS, strict=True), 2):
        for unit in range(1, units + 1):
            x = _unit(
                net,
                x,
                scaled(filters, BOTTLENECK * groups),
                groups=groups,
                stride=2 if unit == 1 else 1,
                # Section 3.2: no group convolution on the first pointwise layer of stage 2, whose input is small.
                first_groups=1 if stage == 2 and unit == 1 else groups,
                name=f"stage{stage}_unit{unit}",
            )
    x = net.global_average_pool(x)
    x = net.dense(x, classes, name="classifier")
    net.softmax(x)
    return net


def _unit(
    net: Network, source: Layer, filters: int, *, groups: int, stride: int, first_groups: int, name: str
) -> Layer:
    """Figure 2 (b) at stride 1: add; figure 2 (c) at stride 2: concatenate with the average-pooled input."""
    x = net.conv(source, filters // BOTTLENECK, 1, groups=first_groups, name=f"{name}_compress")
    if groups > 1:
        x = net.shuffle(x, groups, name=f"{name}_shuffle")
    # "we remove the non-linearity after the depthwise convolution", as Xception does.
    x = net.depthwise(x, 3, stride=stride, name=f"{name}_depthwise", activation=None)
    expanded = filters - source.channels if stride == 2 else filters
    x = net.conv(x, expanded, 1, groups=groups, name=f"{name}_expand", activation=None)
    if stride == 2:
        shortcut = net.pool(source, "average", 3, stride=2, name=f"{name}_shortcut")
        return net.concatenate([shortcut, x], name=f"{name}_concatenate", activation="relu")
    return net.add(source, x, name=f"{name}_add", activation="relu")
