"""Optuna studies: in memory, or in a storage that several machines share."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from sdk.errors import DataError
from sdk.tools.system.locks import lock

# Trials at random before the sampler has something to learn from; the start is known by then.
STARTUP_TRIALS = 6
DEFAULT_NAME = "armlet"
# A worker waits so long for others that write to the same SQLite file.
SQLITE_SECONDS = 60.0
KINDS = "sqlite:///FILE, postgresql://..., mysql://..., journal:FILE, redis://HOST or grpc://HOST:PORT"


def open_study(storage: str | None = None, name: str | None = None, *, seed: int = 0) -> Any:
    """A study that minimises; an existing one of this name is continued.

    ``storage`` is a database URL as Optuna takes it, ``journal:FILE`` (a file that several machines may reach, as over
    NFS), ``redis://...`` or ``grpc://HOST:PORT`` (Optuna's proxy).  None keeps the study in memory, where the same seed
    gives the same trials.  Raises :class:`DataError` where the storage cannot be opened.
    """
    try:
        import optuna
    except ImportError as error:
        raise DataError(
            "a search over recipes needs Optuna",
            expected="the package optuna",
            found=str(error),
            hint="Install the host extra: pip install 'armlet[host]'.",
        ) from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    # Machines that share a study must not suggest the same: only a study of one's own has a fixed seed.
    sampler = optuna.samplers.TPESampler(
        seed=seed if storage is None else None,
        n_startup_trials=STARTUP_TRIALS,
        multivariate=True,
        constant_liar=storage is not None,
    )
    try:
        with _alone(storage):
            return optuna.create_study(
                storage=_opened(optuna, storage),
                study_name=name or DEFAULT_NAME,
                sampler=sampler,
                pruner=optuna.pruners.NopPruner(),  # sdk.compress.recipes.search ends trials, on the same images
                load_if_exists=True,
            )
    except Exception as error:  # each storage has errors of its own, of libraries that may not be installed
        raise DataError(
            f"the storage {storage} cannot be opened",
            expected=KINDS,
            found=(str(error) or type(error).__name__).strip().splitlines()[0],
        ) from error


def _opened(optuna: Any, storage: str | None) -> Any:
    """What ``create_study`` takes: a URL that it opens itself, or a storage object."""
    if storage is None:
        return None
    url = urlsplit(storage)
    journal = optuna.storages.journal
    if url.scheme == "journal":
        return optuna.storages.JournalStorage(
            journal.JournalFileBackend(storage.removeprefix("journal:").removeprefix("//"))
        )
    if url.scheme in ("redis", "rediss"):
        return optuna.storages.JournalStorage(journal.JournalRedisBackend(storage))
    if _sqlite_file(storage):
        waits = {"connect_args": {"timeout": SQLITE_SECONDS}}
        return optuna.storages.RDBStorage(storage, engine_kwargs=waits)
    if url.scheme == "grpc":
        return optuna.storages.GrpcStorageProxy(host=url.hostname or "localhost", port=url.port or 13000)
    return storage


def _sqlite_file(storage: str) -> str:
    """The file of a SQLite URL; "" for another storage, and for a database in memory."""
    if not storage.startswith("sqlite"):
        return ""
    from sqlalchemy.engine import make_url

    file = make_url(storage).database or ""
    return "" if file == ":memory:" else file


@contextlib.contextmanager
def _alone(storage: str | None) -> Iterator[None]:
    """Lets one worker of this machine at a time make the tables of a SQLite file: a second one would find half of them.

    The lock is on the folder: it leaves no file behind and does not disturb SQLite's own locks.
    """
    file = "" if storage is None else _sqlite_file(storage)
    if not file:
        yield
        return
    folder = os.open(os.path.dirname(os.path.abspath(file)), os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # file systems that lock no folders
            lock(folder)
        yield
    finally:
        os.close(folder)
