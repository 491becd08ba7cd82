"""A command line that helps: one line for a mistake, with what was probably meant, and the daily options first."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from device_agent.errors import ArmletError

_RARE = "rare"


class UsageError(ArmletError):
    """A command line that cannot be understood."""


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that raises :class:`UsageError` where argparse prints its usage and ends the program.

    Arguments that were given to :func:`mark_rare` are shown by ``--help-all`` alone. A parser of commands shows its
    help where no command is given; its ``subjects`` are headings and the commands below each, all by default.
    ``gathers`` names a list of files: files behind options belong to it, too, which argparse alone refuses.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(*arguments, **options)
        self.summary = ""
        self.gathers = ""
        self.subjects: Mapping[str, Sequence[str]] = {}
        self._commands: Any = None

    def add_subparsers(self, **options: Any) -> Any:
        """The group of commands, as argparse makes it; it is remembered."""
        self._commands = super().add_subparsers(**options)
        return self._commands

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse, but a command or an option that is not known is told first, with what is like it."""
        given = list(sys.argv[1:] if args is None else args)
        if self._commands is not None:
            self._check_command(given)
        else:
            self._check_flags(given)
        parsed, extras = super().parse_known_args(given, namespace)
        if self.gathers and not any(word.startswith("-") for word in extras):
            getattr(parsed, self.gathers).extend(Path(word) for word in extras)
            extras = []
        if extras and self._commands is None:
            self._refuse(f"{extras[0]!r} is one argument too many")
        return parsed, extras

    def error(self, message: str) -> NoReturn:
        """Raises UsageError with argparse's message."""
        self._refuse(message.removeprefix("argument "))

    def _refuse(self, what: str, word: str = "", known: Iterable[str] = ()) -> NoReturn:
        from difflib import get_close_matches

        close = get_close_matches(word, list(known), n=1)
        meant = f"Did you mean {close[0]}? " if close else ""
        raise UsageError(what, hint=f"{meant}`{self.prog} --help` shows what there is.")

    def format_usage(self) -> str:
        """One line: what must be given."""
        return f"usage: {self._shortest()}\n"

    def format_help(self) -> str:
        """The help, with the daily arguments alone."""
        hidden = [action for action in self._actions if getattr(action, _RARE, False)]
        kept = [(action, action.help) for action in hidden]
        for action in hidden:
            action.help = argparse.SUPPRESS
        try:
            text = self._help_text()
        finally:
            for action, said in kept:
                action.help = said
        if hidden:
            text += f"\n{len(hidden)} more options: {self.prog} --help-all\n"
        return text

    def format_full_help(self) -> str:
        """The help, with every argument."""
        return self._help_text()

    def _help_text(self) -> str:
        self.usage = self._shortest().replace("%", "%%")
        return super().format_help() if self._commands is None else self._commands_text()

    def _commands_text(self) -> str:
        formatter = self._get_formatter()
        formatter.add_usage(self.usage, [], [])
        formatter.add_text(self.description)
        for heading, names in (self.subjects or {"commands": list(self._commands.choices)}).items():
            formatter.start_section(heading)
            for name in names:
                summary = self._commands.choices[name].summary
                formatter.add_argument(argparse.Action([], name, nargs=None, metavar=name, help=summary))
            formatter.end_section()
        formatter.start_section("options")
        formatter.add_arguments([action for action in self._actions if action.option_strings])
        formatter.end_section()
        formatter.add_text(self.epilog)
        return formatter.format_help()

    def _shortest(self) -> str:
        needed = [self.prog]
        positionals = []
        for action in self._actions:
            shown = action.metavar or (action.dest or "").upper()
            if action.option_strings:
                if action.required:
                    needed.append(f"{action.option_strings[0]} {shown}")
            elif self._commands is None or action is not self._commands:
                several = {"*": f"[{shown} ...]", "+": f"{shown} [{shown} ...]", "?": f"[{shown}]"}
                positionals.append(several.get(str(action.nargs), str(shown)))
        if self._commands is not None:
            return " ".join([self.prog, "COMMAND", "..."])
        return " ".join([*needed, "[OPTIONS]", *positionals])

    def _check_command(self, given: Sequence[str]) -> None:
        if not given:
            self.print_help()
            self.exit()
        name = given[0]
        if name.startswith("-") or name in self._commands.choices:
            return
        self._refuse(f"there is no command {name!r}", name, self._commands.choices)

    def _check_flags(self, given: Sequence[str]) -> None:
        known = [flag for action in self._actions for flag in action.option_strings]
        for flag in _long_flags(given):
            if not any(one.startswith(flag) for one in known):
                self._refuse(f"there is no option {flag}", flag, known)


class ShowAll(argparse.Action):
    """``--help-all``: prints the help with every option, and ends."""

    def __init__(self, **options: Any) -> None:
        super().__init__(nargs=0, **options)

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        """Prints it."""
        print(parser.format_full_help(), end="")
        parser.exit()


def mark_rare(argument: argparse.Action) -> None:
    """Leaves the argument to ``--help-all``."""
    setattr(argument, _RARE, True)


def add_command(
    within: Any,
    name: str,
    run: Callable[[argparse.Namespace], int | None],
    summary: str,
    example: str,
) -> Parser:
    """The parser of a new command of the group ``within``; ``run`` gets what it has parsed."""
    sub: Parser = within.add_parser(
        name,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=f"example:\n  {example}",
    )
    sub.summary = summary
    sub.add_argument("--help-all", action=ShowAll, dest=argparse.SUPPRESS, help=argparse.SUPPRESS)
    sub.add_argument("--json", action="store_true", help="print one JSON document instead of tables")
    sub.set_defaults(run=run)
    return sub


def add_group(within: Any, name: str, summary: str) -> Any:
    """A new group of commands, itself a command of the group ``within``."""
    group: Parser = within.add_parser(name, description=summary[0].upper() + summary[1:] + ".")
    group.summary = summary
    return group.add_subparsers(title="commands", metavar="COMMAND", required=True)


def _long_flags(given: Sequence[str]) -> Iterator[str]:
    """The options as they are written, without their values, up to ``--``."""
    for text in given:
        if text == "--":
            return
        flag = text.partition("=")[0]
        # What has a blank in it is a value to argparse, such as that of --service-options "--port 8080".
        if flag.startswith("--") and " " not in flag:
            yield flag
