"""The SSH server of the local board: it allows one key, and commands.

It is not part of :mod:`sdk.board.local`, because the class needs paramiko at its definition, and importing paramiko
takes longer than the command line may take to print its help.
"""

from __future__ import annotations

import os
import socket
import threading
from typing import Protocol

import paramiko


class BoardTransport(paramiko.Transport):
    """A connection that says when the next answer to the client's requests has gone out.

    paramiko answers a request after the server's method for it has returned. A command that ends earlier would close
    its channel first, and the client would take that for a refusal.
    """

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        #: To be set then, by the thread that reads requests and answers them: the transport itself.
        self.next_answer: threading.Event | None = None

    def _send_user_message(self, data: paramiko.Message) -> None:
        super()._send_user_message(data)
        if threading.current_thread() is self and self.next_answer is not None:
            self.next_answer.set()
            self.next_answer = None


class CommandRunner(Protocol):
    """The runner of the commands: :class:`sdk.board.local.LocalBoard`."""

    def execute(self, channel: paramiko.Channel, command: str, begun: threading.Event) -> None:
        """Runs one command on a channel, once ``begun`` says that the client knows of it."""


class BoardServer(paramiko.ServerInterface):
    """One connection: lets in one user with one key, who may run commands, nothing else."""

    def __init__(self, board: CommandRunner, user: str, allowed: paramiko.PKey) -> None:
        self._board = board
        self._user = user
        self._allowed = allowed

    def get_allowed_auths(self, username: str) -> str:
        """Public keys are the only way in."""
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        """Lets the one user in, with the one key."""
        # paramiko has checked the signature when it asks.
        known = username == self._user and key.asbytes() == self._allowed.asbytes()
        return paramiko.AUTH_SUCCESSFUL if known else paramiko.AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        """Opens sessions; forwards nothing."""
        return (
            paramiko.OPEN_SUCCEEDED if kind == "session" else paramiko.OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED
        )

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        """Runs the command in a thread of its own."""
        transport, begun = channel.get_transport(), threading.Event()
        transport.next_answer = begun
        arguments = (channel, os.fsdecode(command), begun)
        threading.Thread(target=self._board.execute, args=arguments, daemon=True).start()
        return True
