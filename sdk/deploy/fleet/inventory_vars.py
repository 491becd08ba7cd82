"""The variables that stand beside an Ansible inventory: ``group_vars/`` and ``host_vars/``, by the rules of Ansible's
plugin ``host_group_vars``: ``NAME``, ``NAME.yml``, ``NAME.yaml`` or ``NAME.json``, the first that is there; a folder
``NAME`` stands for all such files in it, in the order of their names.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sdk.errors import InventoryError
from sdk.tools.system.files import read_file

EXTENSIONS = ("", ".yml", ".yaml", ".json")
#: A file of variables is no larger than this.
MAX_BYTES = 1 << 20
#: Folders within folders more than this deep are taken for a circle of links.
MAX_DEPTH = 16


class Secret:
    """What only Ansible can open: a value in a vault. Nothing of it is kept or shown."""


class VariablesBeside:
    """What ``group_vars`` and ``host_vars`` in ``folder`` say; None: nothing. Files are read when asked for, once."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._known: dict[tuple[str, str], dict[str, Any]] = {}

    def of_group(self, name: str) -> dict[str, Any]:
        """Variables of a group, by their names. Raises InventoryError or FileError."""
        return self._of("group_vars", name)

    def of_host(self, name: str) -> dict[str, Any]:
        """Variables of a host, by their names. Raises InventoryError or FileError."""
        return self._of("host_vars", name)

    def _of(self, kind: str, name: str) -> dict[str, Any]:
        if self._folder is None or name in (".", "..") or "/" in name:
            return {}
        if (kind, name) not in self._known:
            merged: dict[str, Any] = {}
            for path in _files(self._folder / kind, name):
                merged.update(_variables(path))
            self._known[kind, name] = merged
        return self._known[kind, name]


def _files(folder: Path, name: str) -> list[Path]:
    for extension in EXTENSIONS:
        path = folder / f"{name}{extension}"
        if path.is_dir():
            if not extension:
                return _files_in(path, 0)
        elif path.exists():
            return [path]
    return []


def _files_in(folder: Path, depth: int) -> list[Path]:
    if depth > MAX_DEPTH:
        raise InventoryError(f"{folder}: folders within folders", expected=f"at most {MAX_DEPTH} deep")
    found: list[Path] = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name.endswith("~"):
            continue
        if path.is_dir() and not path.suffix:
            found += _files_in(path, depth + 1)
        elif path.is_file() and path.suffix in EXTENSIONS:
            found.append(path)
    return found


def _variables(path: Path) -> dict[str, Any]:
    data = read_file(path, "variables of an Ansible inventory")
    if len(data) > MAX_BYTES:
        raise InventoryError(
            f"{path} is too large", expected=f"at most {MAX_BYTES} bytes", found=str(len(data))
        )
    if data.startswith(b"$ANSIBLE_VAULT"):
        return {}  # as a whole; what it says of a board is missed, and named, where it is needed
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InventoryError(f"{path} cannot be read", expected="UTF-8 text", found=str(error)) from None
    value = load_yaml(text, path, "variables of an Ansible inventory")
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InventoryError(str(path), expected="a mapping of variables", found=type(value).__name__)
    return {str(key): item for key, item in value.items()}


def load_yaml(text: str, origin: Path, what: str) -> Any:
    """A YAML document (JSON is one) of safe types. Raises InventoryError; ``what`` it was to be."""
    import yaml

    class Loader(yaml.SafeLoader):
        """YAML's safe types, and Ansible's two tags."""

    Loader.add_constructor("!vault", lambda loader, node: Secret())
    Loader.add_constructor("!unsafe", lambda loader, node: str(node.value))
    try:
        return yaml.load(text, Loader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        found = " ".join(str(error).split())[:200]
        raise InventoryError(f"{origin} is not YAML", expected=what, found=found) from None
