"""Runs ``ansible-inventory --list``, which reads all of Ansible's inventories, within limits of time and memory."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

from sdk.errors import InventoryError
from sdk.tools.system.programs import Printed, ProgramFailed, run_program

PROGRAM = "ansible-inventory"
#: No listing is larger.
MAX_BYTES = 16 << 20
#: Plugins may ask the network; a folder of plain files takes a second.
LIMIT_SECONDS = 120.0
#: A range of a hundred million hosts ends here, and not when this machine's memory does.
MEMORY_BYTES = 2 << 30

#: One of its messages, which names the file twice, is no longer.
MAX_SAID = 2000

#: A file that it cannot read is an error and not a warning beside an empty list.
_ENVIRONMENT = {
    "ANSIBLE_DEPRECATION_WARNINGS": "False",
    "ANSIBLE_FORCE_COLOR": "False",
    "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "True",
    "ANSIBLE_INVENTORY_EXPORT": "False",
    "ANSIBLE_INVENTORY_UNPARSED_FAILED": "True",
    "ANSIBLE_LOCALHOST_WARNING": "False",
    "ANSIBLE_NOCOLOR": "True",
}


def list_inventory(path: Path) -> tuple[str, tuple[str, ...]]:
    """The output of ``ansible-inventory --list`` for a file or a folder, and its warnings. Raises InventoryError."""
    # Beside this Python, where a virtual environment has it that is not activated, too.
    folders = os.pathsep.join([os.environ.get("PATH", os.defpath), str(Path(sys.executable).parent)])
    program = shutil.which(PROGRAM, path=folders)
    if program is None:
        raise InventoryError(
            f"{path} is read by Ansible, which is not installed",
            expected=f"the program {PROGRAM}, or an inventory in TOML or JSON",
            found=f"no {PROGRAM} on the PATH",
            hint=f"pip install ansible-core. Or, where Ansible is: {PROGRAM} -i INVENTORY --list > hosts.json",
        )
    environment = {**os.environ, **_ENVIRONMENT}
    said = next((environment[name] for name in ("LC_ALL", "LC_CTYPE", "LANG") if environment.get(name)), "")
    if not re.search("utf-?8", said, re.IGNORECASE):
        environment["LC_ALL"] = "C.UTF-8"  # it starts in no other encoding
    try:
        printed = run_program(
            [program, "-i", str(path.absolute()), "--list"],
            limit_seconds=LIMIT_SECONDS,
            max_bytes=MAX_BYTES,
            memory_bytes=MEMORY_BYTES,
            environment=environment,
        )
    except ProgramFailed as error:
        raise InventoryError(f"{path}: {PROGRAM}", expected="a list of hosts", found=str(error)) from None
    if printed.status != 0:
        raise _refused(path, printed)
    return printed.output, tuple(said[:300] for said in _messages(printed, "WARNING"))


def _refused(path: Path, printed: Printed) -> InventoryError:
    """Why Ansible could not read it: each of its plugins has tried, and says so in a warning."""
    tried = [said for said in _messages(printed, "WARNING") if said.startswith("Failed to parse")]
    told = tried or _messages(printed, "ERROR") or [f"exit status {printed.status}"]
    hint = None
    if "vault" in printed.errors:
        hint = "Ansible is told of passwords by ANSIBLE_VAULT_PASSWORD_FILE, or by ansible.cfg."
    # Before 2.19 it breaks its lines, and so a long name, wherever they end.
    whole = re.compile(r"\s?".join(map(re.escape, str(path.absolute()))))
    found = "; ".join(whole.sub(lambda _: path.name, said)[:300] for said in told)
    return InventoryError(
        f"Ansible cannot read {path}", expected="an inventory", found=found[:600], hint=hint
    )


def _messages(printed: Printed, kind: str) -> list[str]:
    """Its warnings or errors, each in one line and without what it repeats of them.

    Before version 2.19 an error begins with ``ERROR!``, and a plugin's warning with an asterisk."""
    text = " ".join(printed.errors.split())
    begins = r"(?:\[{0}\]: |{0}! )"
    other = begins.format("(?:[A-Z]+ )?(?:WARNING|ERROR)")
    found = re.findall(rf"{begins.format(kind)}(?:\* )?(.*?)(?= ?{other}|$)", text)
    lines = [
        re.split(r" (?:Failed to parse inventory with|<<< caused by|Origin: )", said)[0] for said in found
    ]
    return list(dict.fromkeys(line[:MAX_SAID] for line in lines))
