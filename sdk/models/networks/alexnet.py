"""AlexNet (Krizhevsky, Sutskever and Hinton, NIPS 2012), with the groups of its two towers.

Without local response normalisation: it has no weights, Simonyan and Zisserman measured that it does not help
(arXiv 1409.1556, section 4, network A against A-LRN), and no accelerated TFLite kernel runs it.
"""

from __future__ import annotations

from sdk.models.networks.network import Network

#: Side of the map that the fully connected layers were made for.
MAP = 6


def alexnet(shape: tuple[int, int, int], classes: int) -> Network:
    """The network of 61 M parameters.

    The paper's 224x224 input and 55x55 first map agree only with two pixels of padding, so two are padded. The paper
    has one size. At larger ones the last map is averaged down to the 6x6 of the original, as PyTorch's AlexNet does, so
    that the weights stay the same 61 M; flattened as it is, 720x1280 would need 3.5 GB of them.
    """
    net = Network("alexnet", shape, batch_norm=False)
    x = net.pad(net.input, 2, name="conv1_pad")
    x = net.conv(x, 96, 11, stride=4, padding="valid", name="conv1")
    x = net.pool(x, "max", 3, stride=2, padding="valid", name="pool1")
    x = net.conv(x, 256, 5, groups=2, name="conv2")
    x = net.pool(x, "max", 3, stride=2, padding="valid", name="pool2")
    x = net.conv(x, 384, 3, name="conv3")
    x = net.conv(x, 384, 3, groups=2, name="conv4")
    x = net.conv(x, 256, 3, groups=2, name="conv5")
    x = net.pool(x, "max", 3, stride=2, padding="valid", name="pool5")
    x = net.average_pool_to(x, MAP, name="pool6")
    x = net.flatten(x)
    for name in ("fc6", "fc7"):
        x = net.dense(x, 4096, name=name, activation="relu")
        x = net.dropout(x, 0.5, name=f"{name}_dropout")
    x = net.dense(x, classes, name="fc8")
    net.softmax(x)
    return net
