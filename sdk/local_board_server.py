"""What the SSH server of the local board allows: one key, exec, and SFTP inside one folder.

Apart from :mod:`sdk.local_board` because these classes need paramiko at their definition, and importing that
takes longer than the command line may take to print its help.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import paramiko
from paramiko import SFTPAttributes, SFTPHandle, SFTPServer

if TYPE_CHECKING:
    from sdk.local_board import LocalBoard


class BoardServer(paramiko.ServerInterface):
    """One connection: lets in one user with one key, who may run commands and use SFTP, nothing else."""

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


def _sftp_errors(method: Callable[..., Any]) -> Callable[..., Any]:
    """SFTP answers with status codes where Python raises."""

    def wrapped(*arguments: Any) -> Any:
        try:
            answer = method(*arguments)
        except OSError as error:
            return SFTPServer.convert_errno(error.errno or 0)
        return paramiko.SFTP_OK if answer is None else answer

    return wrapped


class _OpenFile(SFTPHandle):
    """A file that a client holds open; reading and writing are paramiko's."""

    def __init__(self, flags: int, descriptor: int) -> None:
        super().__init__(flags)
        self._descriptor = descriptor
        writes = flags & (os.O_WRONLY | os.O_RDWR)
        file = os.fdopen(descriptor, "r+b" if flags & os.O_RDWR else "wb" if writes else "rb")
        self.readfile = None if flags & os.O_WRONLY else file
        self.writefile = file if writes else None

    @_sftp_errors
    def stat(self) -> Any:
        return SFTPAttributes.from_stat(os.fstat(self._descriptor))

    @_sftp_errors
    def chattr(self, attr: SFTPAttributes) -> Any:
        if attr.st_mode is not None:
            os.fchmod(self._descriptor, attr.st_mode & 0o777)
        if attr.st_size is not None:
            os.ftruncate(self._descriptor, attr.st_size)


class HomeOnlySftp(paramiko.SFTPServerInterface):
    """SFTP that serves one folder: a path that leads out of it, by ``..`` or a symbolic link, is refused.

    Paths are the machine's own, so that a path means the same to a command and to SFTP; relative ones begin there.
    """

    def __init__(self, server: BoardServer, home: Path) -> None:
        super().__init__(server)
        self._home = os.path.realpath(home)

    def _inside(self, path: str, *, follow: bool = True) -> str:
        full = os.path.join(self._home, path)
        folder, name = os.path.split(os.path.normpath(full))
        resolved = os.path.realpath(full) if follow else os.path.join(os.path.realpath(folder), name)
        if resolved != self._home and not resolved.startswith(self._home + os.sep):
            raise PermissionError(13, "outside the board's home folder", path)
        return resolved

    def canonicalize(self, path: str) -> str:
        return os.path.normpath(os.path.join(self._home, path))

    @_sftp_errors
    def list_folder(self, path: str) -> Any:
        with os.scandir(self._inside(path)) as entries:
            return [SFTPAttributes.from_stat(e.stat(follow_symlinks=False), e.name) for e in entries]

    @_sftp_errors
    def stat(self, path: str) -> Any:
        return SFTPAttributes.from_stat(os.stat(self._inside(path)))

    @_sftp_errors
    def lstat(self, path: str) -> Any:
        return SFTPAttributes.from_stat(os.lstat(self._inside(path, follow=False)))

    @_sftp_errors
    def open(self, path: str, flags: int, attr: SFTPAttributes) -> Any:
        mode = 0o600 if attr.st_mode is None else attr.st_mode & 0o777
        return _OpenFile(flags, os.open(self._inside(path), flags | os.O_CLOEXEC, mode))

    @_sftp_errors
    def remove(self, path: str) -> Any:
        os.remove(self._inside(path, follow=False))

    @_sftp_errors
    def rename(self, oldpath: str, newpath: str) -> Any:
        target = self._inside(newpath, follow=False)
        if os.path.lexists(target):  # SFTP version 3: rename does not replace, posix-rename does
            raise FileExistsError(17, "exists", newpath)
        os.rename(self._inside(oldpath, follow=False), target)

    @_sftp_errors
    def posix_rename(self, oldpath: str, newpath: str) -> Any:
        os.replace(self._inside(oldpath, follow=False), self._inside(newpath, follow=False))

    @_sftp_errors
    def mkdir(self, path: str, attr: SFTPAttributes) -> Any:
        os.mkdir(self._inside(path), 0o700 if attr.st_mode is None else attr.st_mode & 0o777)

    @_sftp_errors
    def rmdir(self, path: str) -> Any:
        os.rmdir(self._inside(path, follow=False))

    @_sftp_errors
    def chattr(self, path: str, attr: SFTPAttributes) -> Any:
        # Only what is asked for, and never the owner.
        full = self._inside(path)
        if attr.st_mode is not None:
            os.chmod(full, attr.st_mode & 0o777)
        if attr.st_size is not None:
            os.truncate(full, attr.st_size)
        if attr.st_atime is not None and attr.st_mtime is not None:
            os.utime(full, (attr.st_atime, attr.st_mtime))
