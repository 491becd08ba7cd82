"""Releases written for other engines to carry: an OCI image layout, or an Ansible role with a playbook.

However they travel, the agent on the board imports them with the checks of any deploy (its verb ``import``).
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

from sdk.errors import ArmletError
from sdk.package import oci_layout as oci
from sdk.package.release import PreparedRelease
from sdk.tools.system.files import write_file

FORMATS = ("oci", "ansible")
ROLE = "armlet_release"

_PLAYBOOK = f"""\
# ansible-playbook -i INVENTORY playbook.yml
---
- name: Bring compressed models to boards
  hosts: "{{{{ armlet_hosts | default('all') }}}}"
  gather_facts: false
  roles:
    - {ROLE}
"""

_DEFAULTS = """\
---
# What the boards are to run: name and id of each release in files/release.tar.
armlet_releases: {releases}
# How the agent is called on the board, in its shell.
armlet_agent: '"${{ARMLET_HOME:-$HOME/.armlet}}/python" -m device_agent'
# More for the agent's `import`, such as [--max-inference-seconds=0.05], or [--keep-on-trial] to confirm later.
armlet_import_options: []
"""


def export(releases: Sequence[PreparedRelease], output: Path, kind: str) -> dict[str, int]:
    """Writes them to ``output``, which must not be there yet: a folder, or for OCI a file that ends with ``.tar``.

    -> bytes of every file, by its path below ``output``. Raises ArmletError.
    """
    check(output, kind)
    files = oci.layout(releases)
    if kind == "ansible":
        files = _role(releases, oci.archive(files))
    elif output.suffix == ".tar":
        data = oci.archive(files)
        write_file(output, data)
        return {"": len(data)}
    _write_folder(output, files)
    return {path: len(data) for path, data in files.items()}


def check(output: Path, kind: str) -> None:
    """Whether :func:`export` would begin; asked before releases are made ready, which takes its time."""
    if kind not in FORMATS:
        raise ArmletError("there is no such format", expected=" or ".join(FORMATS), found=kind)
    if output.exists():
        raise ArmletError(
            f"{output} is there already", expected="a new name", hint="Remove it, or name another one."
        )


def _role(releases: Sequence[PreparedRelease], archive: bytes) -> dict[str, bytes]:
    """Playbook and role; JSON is YAML, too."""
    named = json.dumps({release.name: release.id for release in releases})
    role = f"roles/{ROLE}"
    return {
        "playbook.yml": _PLAYBOOK.encode(),
        f"{role}/defaults/main.yml": _DEFAULTS.format(releases=named).encode(),
        f"{role}/files/release.tar": archive,
        **{f"{role}/{path}": _shipped(path) for path in ("tasks/main.yml", "meta/main.yml")},
    }


def _shipped(path: str) -> bytes:
    """A file of the role as it comes with this package."""
    return (resources.files("sdk.deploy") / "ansible" / ROLE / path).read_bytes()


def _write_folder(output: Path, files: Mapping[str, bytes]) -> None:
    """Whole or not at all: written beside and renamed."""
    made = None
    try:
        made = Path(tempfile.mkdtemp(dir=output.parent, prefix=f".{output.name}."))
        for path, data in files.items():
            (made / path).parent.mkdir(parents=True, exist_ok=True)
            (made / path).write_bytes(data)
        made.chmod(0o755)
        made.rename(output)
        made = None
    except OSError as error:
        raise ArmletError(
            f"{output} cannot be written",
            expected="an existing folder around it, permission and space",
            found=error.strerror or str(error),
        ) from error
    finally:
        if made is not None:
            shutil.rmtree(made, ignore_errors=True)
