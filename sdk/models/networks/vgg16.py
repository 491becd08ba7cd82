"""VGG-16 (Simonyan and Zisserman 2014, arXiv 1409.1556), table 1, configuration D."""

from __future__ import annotations

from sdk.models.networks.network import Network

# Output channels of the 3x3 convolutions of each block; a 2x2 max pool follows each block.
BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


def vgg16(shape: tuple[int, int, int], classes: int) -> Network:
    """The network of 138 M parameters."""
    net = Network("vgg16", shape, batch_norm=False)
    x = net.input
    for block, filters in enumerate(BLOCKS, 1):
        for number, count in enumerate(filters, 1):
            x = net.conv(x, count, 3, name=f"conv{block}_{number}")
        x = net.pool(x, "max", 2, stride=2, padding="valid", name=f"pool{block}")
    x = net.flatten(x)
    for name in ("fc6", "fc7"):
        x = net.dense(x, 4096, name=name, activation="relu")
        x = net.dropout(x, 0.5, name=f"{name}_dropout")
    x = net.dense(x, classes, name="fc8")
    net.softmax(x)
    return net
