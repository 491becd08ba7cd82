"""What the SSH server of the local board allows: one key, and commands.

Apart from :mod:`sdk.local_board` because the class needs paramiko at its definition, and importing that takes longer
than the command line may take to print its help.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import paramiko

if TYPE_CHECKING:
    from sdk.local_board import LocalBoard


class BoardServer(paramiko.ServerInterface):
    """One connection: lets in one user with one key, who may run commands, nothing else."""

    def __init__(self, board: LocalBoard, user: str, allowed: paramiko.PKey) -> None:
        self._board = board
        self._user = user
        self._allowed = allowed

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        # paramiko has checked the signature when it asks.
        known = username == self._user and key.asbytes() == self._allowed.asbytes()
        return paramiko.AUTH_SUCCESSFUL if known else paramiko.AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return (
            paramiko.OPEN_SUCCEEDED if kind == "session" else paramiko.OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED
        )

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        text = os.fsdecode(command)
        threading.Thread(target=self._board.execute, args=(channel, text), daemon=True).start()
        return True
