"""Which boards of the catalogue have the core of an emulated one."""

from __future__ import annotations

from sdk.board.catalogue import list_boards
from sdk.board.description.records import Board, CoreCluster


def board_behind(board: Board) -> Board | None:
    """The real board that an emulated one stands for: the first of the catalogue that is led by its core. That is the
    one whose name is shortest, so that a Cortex-A72 is a Raspberry Pi 4 before boards that have others, too."""
    alike = [other for other in list_boards() if is_led_by(other, board.qemu_cpu or "")]
    return min(alike, key=lambda other: (len(other.clusters), len(other.name), other.name), default=None)


def is_led_by(board: Board, qemu_cpu: str) -> bool:
    """Whether a board is a real one that can be predicted and whose fastest core is this, by QEMU's name."""
    real = (
        not board.emulated and board.architecture == "aarch64" and board.memory_bytes_per_second is not None
    )
    return real and bool(board.clusters) and fastest(board).core.lower() == qemu_cpu


def fastest(board: Board) -> CoreCluster:
    """The board's fastest cores of one kind."""
    return max(board.clusters, key=lambda cluster: cluster.peak_fp32_gflops_per_core.value)
