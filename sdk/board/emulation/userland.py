"""A Debian userland for ARM, made by mmdebstrap and kept: what a board's disk holds, without its kernel.

The packages are unpacked, and none of their scripts runs (mmdebstrap's variant ``extract``), so that it takes seconds
and needs neither root nor an emulator; :func:`_finish` writes the few files that the scripts would have written. Kept
under ``$XDG_CACHE_HOME/armlet/userlands`` by the digest of the recipe:

    <digest>.tar.gz             as mmdebstrap made it: root's files
    <digest>/root-<uid>/        unpacked, for root or for the user who counts instructions; nothing is
                                written there but Python's bytecode
    <digest>/root-<uid>-<core>/ the same through links, with that core's /proc and /sys
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from sdk.board.emulation.cores import Core, system_files
from sdk.board.emulation.tools import QEMU, require, which
from sdk.errors import BoardError
from sdk.tools.progress import Progress
from sdk.tools.system import folders
from sdk.tools.system.locks import lock

_MERGED_USR = Path("/usr/share/mmdebstrap/hooks/merged-usr")

#: The release as it is, so that two builds differ less, and two archives less have to be in order.
_RELEASE_ONLY = 'sed -i "/-updates\\|-security/d" "$1/etc/apt/sources.list"'

#: What the agent and a person who logs in need. python3 brings its whole standard library, openssh-client
#: ssh-keygen, libstdc++6 is what the runtimes link to and every board's image has.
PACKAGES = (
    "base-files",
    "base-passwd",
    "bash",
    "coreutils",
    "dash",
    "findutils",
    "grep",
    "gzip",
    "hostname",
    "libc-bin",
    "libstdc++6",
    "openssh-client",
    "procps",
    "python3",
    "sed",
    "tar",
    "util-linux",
)

#: Left out: nobody reads a manual there.
LEFT_OUT = ("usr/share/doc", "usr/share/info", "usr/share/locale", "usr/share/man")

#: Packages of Python's library whose bytecode is made; compiling all of it would take a minute, most of it for nothing.
COMPILED_PACKAGES = (
    "collections",
    "concurrent",
    "concurrent/futures",
    "ctypes",
    "email",
    "encodings",
    "importlib",
    "importlib/metadata",
    "json",
    "logging",
    "multiprocessing",
    "re",
    "unittest",
    "urllib",
)

#: The same for numpy, where it is Debian's.
COMPILED_NUMPY = ("", "compat", "core", "fft", "lib", "linalg", "ma", "matrixlib", "polynomial", "random")

#: The login of an emulated board. The number is one that no host gives to anybody (Debian Policy 9.2.2: 60000-64999 is
#: allocated on demand), so that processes of the board own nothing on the host.
USER = "armlet"
USER_ID = 60472


@dataclass(frozen=True)
class UserlandRecipe:
    """The settings that decide the content of a userland."""

    architecture: str  # Debian's name
    suite: str = "bookworm"
    packages: tuple[str, ...] = PACKAGES
    left_out: tuple[str, ...] = LEFT_OUT

    @property
    def digest(self) -> str:
        """Sixteen hexadecimal digits of all that decides what is built; the archive's name."""
        # Spelled out, not this class's repr: another name of the class would have every userland built again.
        ours = (
            f"Recipe(architecture={self.architecture!r}, suite={self.suite!r}, packages={self.packages!r}, "
            f"left_out={self.left_out!r})"
        )
        rest = (account(), COMPILED_PACKAGES, COMPILED_NUMPY, _RELEASE_ONLY)
        return short_digest(f"({ours}, {repr(rest)[1:]}")


#: By what ``uname -m`` says there.
RECIPES = {
    "aarch64": UserlandRecipe("arm64"),
    # The package index has no numpy for 32-bit ARM, so there the board brings it, as Raspberry Pi OS does.
    "armv7l": UserlandRecipe("armhf", packages=(*PACKAGES, "python3-numpy")),
}


def cache_folder() -> Path:
    """The folder of built userlands."""
    return folders.cache_folder("userlands")


def recipe_of(machine: str) -> UserlandRecipe:
    """The recipe for ``aarch64`` or ``armv7l``. Raises BoardError for another."""
    if machine not in RECIPES:
        raise BoardError("no userland for this architecture", expected=" or ".join(RECIPES), found=machine)
    return RECIPES[machine]


# -- building -------------------------------------------------------------------------------------------------------


def archive_path(machine: str, cache: Path | None = None) -> Path:
    """The path of :func:`archive`'s result."""
    return (cache if cache is not None else cache_folder()) / f"{recipe_of(machine).digest}.tar.gz"


def archive(machine: str, *, cache: Path | None = None, progress: Progress | None = None) -> Path:
    """The .tar.gz of a userland for ``machine``: from the cache, or built from Debian's packages (half a minute and
    the network). Raises BoardError."""
    path = archive_path(machine, cache)
    if path.exists():
        return path
    require("mmdebstrap")
    with _locked(path):
        if not path.exists():  # another process may have built it while we waited
            with tempfile.TemporaryDirectory(prefix=".building-", dir=path.parent) as temporary:
                unfinished = Path(temporary) / "userland.tar.gz"
                _run_mmdebstrap(recipe_of(machine), unfinished, progress)
                give_to_user(unfinished)
                unfinished.replace(path)
    return path


def mmdebstrap_command(recipe: UserlandRecipe, output: Path) -> list[str]:
    """The command that builds a userland's archive at ``output``."""
    command = [
        which("mmdebstrap") or "mmdebstrap",
        f"--architectures={recipe.architecture}",
        "--variant=extract",
    ]
    command += [f"--include={','.join(recipe.packages)}", '--aptopt=Acquire::Retries "3"']
    command.append(f"--setup-hook={_RELEASE_ONLY}")
    # dpkg's own path-exclude would filter each package through a script, which takes four times as long.
    command.append(f'--extract-hook=cd "$1" && rm -rf {" ".join(recipe.left_out)}')
    if _MERGED_USR.is_dir():
        command.append(f"--hook-dir={_MERGED_USR}")
    return [*command, recipe.suite, str(output)]


def _run_mmdebstrap(recipe: UserlandRecipe, output: Path, progress: Progress | None) -> None:
    stage = f"build Debian {recipe.suite} {recipe.architecture}"
    if progress is not None:
        progress(stage, 0, 0)
    with subprocess.Popen(
        mmdebstrap_command(recipe, output),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        # A package's file keeps its mode whatever the user's umask is; messages are searched below.
        umask=0o022,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
    ) as process:
        assert process.stderr is not None
        errors: list[str] = []
        for line in process.stderr:
            if line.startswith("I: ") and progress is not None:
                progress(f"{stage}: {line[3:].strip().rstrip('.')}", 0, 0)
            elif not line.startswith("I: "):
                errors.append(line.strip())
        status = process.wait()
    if status != 0 or not output.exists():
        output.unlink(missing_ok=True)
        telling = (
            [line for line in errors if re.match(r"(E|W|Err|error)\b", line)] or errors or ["no message"]
        )
        raise BoardError(
            f"mmdebstrap could not make a Debian {recipe.suite} for {recipe.architecture}",
            expected="Debian's package archive within reach",
            found=telling[0][:200],
            hint="Without root it needs the packages uidmap or fakechroot; with root, neither."
            if os.geteuid() != 0
            else None,
        )


def root_folder(machine: str, *, cache: Path | None = None, progress: Progress | None = None) -> Path:
    """The userland of ``machine``, unpacked; nothing in it is to be written. Root's own where root asks, since a server
    takes no other for its chroot. Raises BoardError."""
    source = archive(machine, cache=cache, progress=progress)
    root = source.with_name(source.name.removesuffix(".tar.gz")) / f"root-{os.geteuid()}"
    with _locked(source):
        if not root.exists():
            if progress is not None:
                progress("unpack the userland", 0, 0)
            _unpack(machine, source, root)
    return root


def _unpack(machine: str, source: Path, root: Path) -> None:
    """Whole, or not at all. Devices are left out."""
    make_folder(root.parent)
    temporary = Path(tempfile.mkdtemp(prefix=f".{root.name}-", dir=root.parent))
    try:
        temporary.chmod(0o755)
        done = subprocess.run(
            ["tar", "-xzf", str(source), "-C", str(temporary), "--numeric-owner", "--exclude=./dev/*"],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )
        if done.returncode != 0:
            source.unlink(missing_ok=True)
            raise BoardError(
                "the userland in the cache is damaged",
                found=done.stderr.strip()[-200:],
                hint="It was removed; run the command again to build it again.",
            )
        _finish(temporary)
        _compile_python(machine, temporary)
        temporary.replace(root)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def account() -> str:
    """The line of passwd(5) for the login user."""
    return f"{USER}:x:{USER_ID}:{USER_ID}:{USER}:/home/{USER}:/bin/bash\n"


def _finish(root: Path) -> None:
    """Writes what packages' scripts would have: accounts, names, the mount point of a home folder."""
    masters = root / "usr" / "share" / "base-passwd"
    (root / "etc" / "passwd").write_text((masters / "passwd.master").read_text() + account())
    (root / "etc" / "group").write_text((masters / "group.master").read_text() + f"{USER}:x:{USER_ID}:\n")
    (root / "etc" / "hosts").write_text("127.0.0.1 localhost\n")
    (root / "home" / USER).mkdir(exist_ok=True)
    for library in root.glob("usr/lib/*/*/lib*.so.3"):  # numpy's: update-alternatives would choose among such
        if library.parent.name in ("blas", "lapack"):
            link = library.parent.parent / library.name
            link.unlink(missing_ok=True)
            link.symlink_to(library.relative_to(link.parent))


def _compile_python(machine: str, root: Path) -> None:
    """Python's bytecode, which Debian's packages leave to their scripts. Without it every start of Python on the board
    compiles what it imports, for seconds. Any QEMU will do, and where there is none it is left out."""
    qemu = which(f"{QEMU[machine]}-static") or which(QEMU[machine])
    if qemu is None:
        return
    library = max((root / "usr" / "lib").glob("python3.*"))
    command = [qemu, "-L", str(root), str(root / "usr/bin/python3"), "-sS"]
    numpy = root / "usr" / "lib" / "python3" / "dist-packages" / "numpy"
    folders = [library, *(library / name for name in COMPILED_PACKAGES)]
    folders += [numpy / name for name in COMPILED_NUMPY if numpy.is_dir()]
    subprocess.run(
        [*command, "-m", "compileall", "-q", "-l", "-s", str(root), "-p", "/", *map(str, folders)],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        env={"LC_ALL": "C.UTF-8"},
    )


# -- for programs that run without a board --------------------------------------------------------------------------


def prefix(
    machine: str,
    core: Core,
    *,
    identified: bool = True,
    progress: Progress | None = None,
) -> Path:
    """A folder for ``qemu-aarch64 -L``: a userland whose /proc and /sys are those of ``core``. Needs no root.

    Raises BoardError where the userland cannot be built.
    """
    root = root_folder(machine, progress=progress)
    own = root.with_name(f"{root.name}-{core.name}{'' if identified else '-unidentified'}")
    own.mkdir(exist_ok=True)
    for entry in root.iterdir():
        if entry.name not in ("proc", "sys"):
            with suppress(FileExistsError):
                (own / entry.name).symlink_to(Path("..") / root.name / entry.name)
    for name, text in system_files(core, identified=identified).items():
        path = own / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
    return own


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time builds or unpacks ``path``."""
    make_folder(path.parent)
    held = path.with_name(f"{path.name}.lock")
    with open(held, "w") as file:
        give_to_user(held)
        lock(file.fileno())
        yield


def make_folder(folder: Path) -> None:
    """A private folder; it and the parents that had to be made belong to the user, even under sudo."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(mode=0o700, exist_ok=True)
        give_to_user(path)


def give_to_user(path: Path) -> None:
    """Under sudo, makes ``path`` belong to who asked: they are to use it without sudo later."""
    if os.geteuid() == 0 and os.environ.get("SUDO_UID", "").isdecimal():
        os.chown(
            path, int(os.environ["SUDO_UID"]), int(os.environ.get("SUDO_GID", -1)), follow_symlinks=False
        )


def short_digest(text: str) -> str:
    """The first 16 hexadecimal digits of the text's SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
