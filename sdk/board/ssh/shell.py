"""Commands that any login shell passes on as they are, and their answers among what it prints itself. Pure.

sshd gives a command to the login shell of the board's user: bash, which may print a greeting from ``.bashrc``, but also
csh, which takes no line end within quotes, or fish, in which a backslash within quotes has another meaning. So the
shell gets one line without any character that one of them reads in its own way: such characters are written in octal,
for the ``printf`` of the POSIX shell that it starts. That shell prints a mark before and after the output of the
command.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

#: Characters that stand for themselves within single quotes, and for ``printf %b``, in every shell.
_PLAIN = re.compile(rb"[^A-Za-z0-9_ ,./:=@+-]")
#: ``$HOME`` is that of the list of users where the login lacks one. A command that a signal ended ends its shell by the
#: same, so that this is told as such.
_SCRIPT = """\
printf %s {mark}; printf %s {mark} >&2
[ -n "${{HOME-}}" ] || {{ eval "HOME=~$(id -un)" && export HOME; }}
{command}
s=$?; printf %s {mark}; [ $s -le 128 ] || kill -$((s-128)) $$; exit $s"""


def as_one_line(argv: Sequence[str], mark: str) -> str:
    """The line for the login shell that runs ``argv``; ``mark``, letters and digits, is printed around its answer."""
    script = _SCRIPT.format(mark=mark, command=shlex.join(argv))
    plain = _PLAIN.sub(lambda found: b"\\0%03o" % found[0][0], script.encode("utf-8", "surrogateescape"))
    # Where a shell prints what it runs (set -v), the mark must not be in it: its first letter is in octal.
    hidden = plain.replace(mark.encode(), b"\\0%03o" % ord(mark[0]) + mark[1:].encode())
    return f'exec sh -c \'eval "$(printf %b "{hidden.decode("ascii")}")"\''


def answer_of(output: bytearray, mark: str) -> bytes | None:
    """The command's output on one of its streams, between the marks; None without the first: it never began.

    The second mark is missing on standard error, and where the shell was killed.
    """
    begun = output.find(mark.encode())
    if begun < 0:
        return None
    begun += len(mark)
    end = output.rfind(mark.encode(), begun)
    return bytes(memoryview(output)[begun : len(output) if end < 0 else end])
