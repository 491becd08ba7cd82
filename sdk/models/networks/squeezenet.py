"""SqueezeNet (Iandola et al. 2016, arXiv 1602.07360), table 1, and the authors' version 1.1."""

from __future__ import annotations

from sdk.errors import ModelError
from sdk.models.networks.network import Layer, Network

# (squeeze, expand 1x1 = expand 3x3) of fire2 to fire9.
FIRES = ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))
# version: (channels and kernel of conv1, numbers of the fires that a max pool follows).
VERSIONS = {"1.0": ((96, 7), (4, 8)), "1.1": ((64, 3), (3, 5))}


def squeezenet(shape: tuple[int, int, int], classes: int, *, version: str = "1.0") -> Network:
    """The network without bypass; version 1.1 (the authors' repository) needs 2.4 times fewer operations.

    The paper's 111x111 first map comes from a 227x227 input (the authors' Caffe crop), although its table says 224x224.
    """
    if version not in VERSIONS:
        raise ModelError("squeezenet: no such version", expected=" or ".join(VERSIONS), found=repr(version))
    (filters, kernel), pooled = VERSIONS[version]
    net = Network("squeezenet", shape, batch_norm=False)
    x = net.conv(net.input, filters, kernel, stride=2, padding="valid", name="conv1")
    x = net.pool(x, "max", 3, stride=2, padding="valid", name="pool1")
    for number, (squeeze, expand) in enumerate(FIRES, 2):
        x = _fire(net, x, squeeze, expand, name=f"fire{number}")
        if number in pooled:
            x = net.pool(x, "max", 3, stride=2, padding="valid", name=f"pool{number}")
    x = net.dropout(x, 0.5, name="dropout")
    x = net.conv(x, classes, 1, name="conv10")
    x = net.global_average_pool(x)
    net.softmax(x)
    return net


def _fire(net: Network, source: Layer, squeeze: int, expand: int, *, name: str) -> Layer:
    """Section 3.2: squeeze to few channels, then expand by 1x1 and by 3x3 side by side."""
    x = net.conv(source, squeeze, 1, name=f"{name}_squeeze")
    one = net.conv(x, expand, 1, name=f"{name}_expand1x1")
    three = net.conv(x, expand, 3, name=f"{name}_expand3x3")
    return net.concatenate([one, three], name=name)
