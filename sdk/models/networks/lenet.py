"""The two LeNets of Deep Compression (Han et al. 2015, arXiv 1510.00149), tables 2 and 3.

LeNet-300-100 is the two-hidden-layer network of LeCun et al. 1998. LeNet-5 is Caffe's
(``examples/mnist/lenet.prototxt``, 431 k parameters), not the 60 k network of 1998; like Caffe's it has no
activation behind its convolutions.
"""

from __future__ import annotations

from sdk.models.networks.network import Network


def lenet_300_100(shape: tuple[int, int, int], classes: int) -> Network:
    """Fully connected, 300 and 100 hidden units."""
    net = Network("lenet_300_100", shape)
    x = net.flatten(net.input)
    x = net.dense(x, 300, name="ip1", activation="relu")
    x = net.dense(x, 100, name="ip2", activation="relu")
    x = net.dense(x, classes, name="ip3")
    net.softmax(x)
    return net


def lenet_5(shape: tuple[int, int, int], classes: int) -> Network:
    """Two 5x5 convolutions (20, 50) with 2x2 max pools, 500 hidden units."""
    net = Network("lenet_5", shape, batch_norm=False, activation=None)
    x = net.input
    for number, filters in enumerate((20, 50), 1):
        x = net.conv(x, filters, 5, padding="valid", name=f"conv{number}")
        x = net.pool(x, "max", 2, stride=2, padding="valid", name=f"pool{number}")
    x = net.flatten(x)
    x = net.dense(x, 500, name="ip1", activation="relu")
    x = net.dense(x, classes, name="ip2")
    net.softmax(x)
    return net
