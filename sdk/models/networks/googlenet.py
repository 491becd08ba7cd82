"""GoogLeNet (Szegedy et al. 2014, arXiv 1409.4842), table 1.

As deployed: without the two auxiliary classifiers, which exist for training only, and without local response
normalisation, for the reasons that ``alexnet.py`` gives.
"""

from __future__ import annotations

from sdk.models.networks.network import Layer, Network

# name: (1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool projection), the columns of the paper's table.
INCEPTIONS = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


def googlenet(shape: tuple[int, int, int], classes: int) -> Network:
    """The network of 7 M parameters."""
    net = Network("googlenet", shape, batch_norm=False)
    x = net.conv(net.input, 64, 7, stride=2, name="conv1")
    x = net.pool(x, "max", 3, stride=2, name="pool1")
    x = net.conv(x, 64, 1, name="conv2_reduce")
    x = net.conv(x, 192, 3, name="conv2")
    x = net.pool(x, "max", 3, stride=2, name="pool2")
    for name, columns in INCEPTIONS.items():
        x = _inception(net, x, columns, name=f"inception{name}")
        if name in ("3b", "4e"):
            x = net.pool(x, "max", 3, stride=2, name=f"pool{name[0]}")
    x = net.global_average_pool(x, name="pool5")
    x = net.dropout(x, 0.4, name="dropout")
    x = net.dense(x, classes, name="classifier")
    net.softmax(x)
    return net


def _inception(net: Network, source: Layer, columns: tuple[int, ...], *, name: str) -> Layer:
    """Figure 2 (b): four branches, joined along the channels."""
    one, three_reduce, three, five_reduce, five, projection = columns
    first = net.conv(source, one, 1, name=f"{name}_1x1")
    second = net.conv(source, three_reduce, 1, name=f"{name}_3x3_reduce")
    second = net.conv(second, three, 3, name=f"{name}_3x3")
    third = net.conv(source, five_reduce, 1, name=f"{name}_5x5_reduce")
    third = net.conv(third, five, 5, name=f"{name}_5x5")
    fourth = net.pool(source, "max", 3, stride=1, name=f"{name}_pool")
    fourth = net.conv(fourth, projection, 1, name=f"{name}_pool_projection")
    return net.concatenate([first, second, third, fourth], name=name)
