"""ResNet-8 for CIFAR-10: the image classifier of MLPerf Tiny (Banbury et al. 2021, arXiv 2106.07597), 78 k parameters.

Three stages of one residual block each, the first without a change of shape, the other two at stride 2 with a 1x1
convolution on the shortcut.
"""

from __future__ import annotations

from sdk.models.networks.network import Network

STAGES = ((16, 1), (32, 2), (64, 2))  # output channels and stride


def resnet_8(shape: tuple[int, int, int], classes: int, *, width: float = 1.0) -> Network:
    """The network at any ``width``; as in the authors' code the shortcuts have neither batch norm nor activation."""
    net = Network("resnet_8", shape)
    x = net.conv(net.input, max(1, int(STAGES[0][0] * width)), 3, name="stem")
    for number, (filters, stride) in enumerate(STAGES, 1):
        filters = max(1, int(filters * width))
        inner = net.conv(x, filters, 3, stride=stride, name=f"stage{number}_conv1")
        inner = net.conv(inner, filters, 3, activation=None, name=f"stage{number}_conv2")
        if stride > 1:
            x = net.conv(
                x,
                filters,
                1,
                stride=stride,
                batch_norm=False,
                activation=None,
                name=f"stage{number}_shortcut",
            )
        x = net.add(inner, x, name=f"stage{number}_add", activation="relu")
    x = net.global_average_pool(x)
    x = net.dense(x, classes, name="classifier")
    net.softmax(x)
    return net
