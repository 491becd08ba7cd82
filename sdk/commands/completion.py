"""Completion of commands, options and files in the shell."""

from __future__ import annotations

import argparse
from typing import Any

from sdk.commands.parser import add_command

SHELLS = ("bash", "zsh", "fish")
NAMES = ("sdk", "armlet")


def register(commands: Any) -> None:
    """Adds the command to the parser's group."""
    sub = add_command(
        commands,
        "completion",
        _completion,
        "print the script that completes commands, options and files in your shell",
        "sdk completion bash >> ~/.bashrc",
    )
    sub.add_argument("shell", choices=SHELLS)


def _completion(arguments: argparse.Namespace) -> None:
    from argcomplete.shell_integration import shellcode

    print(shellcode(list(NAMES), shell=arguments.shell))
