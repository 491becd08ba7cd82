"""Tables of right answers for pictures: a class, or values, in a row with the name of a file."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sdk.data.meaning.class_names import check_numbers, match_classes
from sdk.data.picture_files import LeftOut
from sdk.data.scoring.truth import VALUES
from sdk.data.wanted import Wanted
from sdk.errors import DataError
from sdk.graph.dataset import Truth

_SUFFIXES = (".csv", ".tsv", ".txt")
_MAX_BYTES = 64 << 20


def truth_of_tables(
    folder: Path, files: list[Path], left_out: LeftOut, notes: list[str], wanted: Wanted
) -> tuple[list[Path], np.ndarray | None, Truth | None]:
    """Pictures, and the class (n,) or the values of each by a table beside them or by the one that is wanted.

    Where no table names them, all pictures and None. Raises DataError where the wanted table names too few.
    """
    tables = sorted(folder.iterdir()) if wanted.truth is None else [wanted.truth]
    names = {name for file in files for name in (file.name, file.stem)}
    for table in tables:
        if not table.is_file() or table.suffix.lower() not in _SUFFIXES or table.stat().st_size > _MAX_BYTES:
            continue
        named = _rows_by_file(table, names)
        used = [file for file in files if file.name in named or file.stem in named]
        if len(used) < max(1, len(files) // 2):
            continue
        cells = [named.get(file.name, named.get(file.stem, ())) for file in used]
        if len(used) < len(files):
            notes.append(f"pictures that {table.name} does not name are left out: {len(files) - len(used)}")
        left_out.others = [name for name in left_out.others if name != table.name]
        values = _as_values(cells, wanted.values)
        if values is not None:
            told = f"{table.name} holds values, {wanted.values} of each picture"
            notes.append(told)
            return used, None, Truth(VALUES, values.__getitem__, told)
        if any(len(row) != 1 for row in cells):
            raise DataError(
                f"{table.name} holds no right answers",
                expected=f"a class for each picture, or {wanted.values} numbers",
                found=f"a row of {max(map(len, cells))}",
            )
        return used, _classes([row[0] for row in cells], table.name, notes, wanted), None
    if wanted.truth is not None:
        raise DataError(
            f"{wanted.truth} holds no right answers for the pictures in {folder}",
            expected="a table (.csv, .tsv, .txt) of file names and classes or values, for half of them at least",
            found="no such file" if not wanted.truth.is_file() else "other names",
        )
    return files, None, None


def _classes(written: Sequence[str], table: str, notes: list[str], wanted: Wanted) -> np.ndarray:
    if all(word.isdecimal() for word in written):
        numbers = [int(word) for word in written]
        notes.append(check_numbers(numbers, wanted.scores, f"labels in {table}"))
        return np.array(numbers, np.int64)
    words = sorted(set(written))
    match = match_classes(words, labels=wanted.labels, scores=wanted.scores, what=f"names in {table}")
    notes.append(match.how)
    return np.array([match.numbers[words.index(word)] for word in written], np.int64)


def _as_values(cells: Sequence[Sequence[str]], count: int) -> np.ndarray | None:
    """Values (n, count) of rows of text; None where they are something else."""
    if count < 1 or any(len(row) != count for row in cells):
        return None
    try:
        values = np.array([[float(cell) for cell in row] for row in cells])
    except ValueError:
        return None
    return values if are_values(values, count) else None


def are_values(raw: np.ndarray, count: int) -> bool:
    """Whether an array of any shape holds ``count`` values of each sample, and no classes: not 0 and 1 alone."""
    if count < 1 or raw.dtype.kind not in "uifb" or raw.ndim == 0 or raw.size != len(raw) * count:
        return False
    if not np.isfinite(raw).all():
        return False
    return not np.all((raw == 0) | (raw == 1))


def numbers_of_table(path: Path) -> np.ndarray:
    """The numbers of a table, (rows,) or (rows, columns); a first line of names is passed over. Raises DataError."""
    if not path.is_file() or path.suffix.lower() not in _SUFFIXES:
        raise DataError(
            f"{path} holds no right answers",
            expected="an .npz, an .npy or a table (.csv, .tsv, .txt) of numbers",
            found="no such file" if not path.exists() else f"a file {path.suffix or 'without a suffix'}",
        )
    rows = _cells(path)
    for first in (0, 1):
        try:
            found = np.array([[float(cell) for cell in row] for row in rows[first:]])
        except ValueError:
            continue
        if found.ndim == 2 and found.size:
            return found[:, 0] if found.shape[1] == 1 else found
    raise DataError(
        f"{path.name} is not a table of numbers", expected="numbers in rows of one length", found="others"
    )


def _rows_by_file(table: Path, names: set[str]) -> dict[str, tuple[str, ...]]:
    """File name -> the other cells of its row, of a table whose rows begin with a file; empty for other tables."""
    found: dict[str, tuple[str, ...]] = {}
    for row in _cells(table):
        name = row[0].strip().rpartition("/")[2] if row else ""
        if len(row) >= 2 and name in names:
            found[name] = tuple(cell.strip() for cell in row[1:])
    return found


def _cells(table: Path) -> list[list[str]]:
    text = table.read_text("utf-8-sig", "replace")
    lines = [line for line in text.splitlines() if line.strip()]
    mark = next((mark for mark in (",", "\t", ";") if lines and mark in lines[0]), None)
    return list(csv.reader(lines, delimiter=mark)) if mark else [line.split(None, 1) for line in lines]
