"""The labels of a text file, as people write them: one per line, numbered, as CSV, JSON, YAML or pbtxt. Pure."""

from __future__ import annotations

import csv
import itertools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sdk.errors import DataError

#: What stands for a class without a name, as in TensorFlow's lists for COCO.
UNNAMED = "???"
#: A class number in a file is at most this; more would be an attack on memory.
MAX_CLASS = 1 << 16
_BYTE_ORDER_MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
_NUMBER_FIRST = re.compile(r"(\d+)\s*(?:[\s:,;|=\t]|\.\s)\s*(\S.*)")
_NUMBER_LAST = re.compile(r"(\S.*?)\s*[\s:,;|=\t]\s*(\d+)")
_HEADER = {
    "id",
    "index",
    "idx",
    "class",
    "class_id",
    "class_index",
    "label",
    "labels",
    "name",
    "class_name",
    "number",
}
_PBTXT_ITEM = re.compile(r"item\s*\{(.*?)\}", re.DOTALL)
_PBTXT_FIELD = re.compile(r"(id|name|display_name)\s*:\s*(?:\"([^\"]*)\"|'([^']*)'|(\d+))")
_YAML_ENTRY = re.compile(r"\s+(?:-|['\"]?(\d+)['\"]?\s*:)\s*(.+)")
_EXPECTED = "one label per line, numbered or not, or a list or numbered names as JSON, YAML, CSV or pbtxt"


def parse_labels(data: bytes, name: str) -> tuple[str, ...]:
    """The labels by class number. ``name`` is the file's, for its suffix and for errors. Raises DataError."""
    text = _text(data, name)
    stripped = text.strip()
    suffix = name.rpartition(".")[2].lower()
    if (stripped[:1] in ("[", "{") and suffix not in ("txt",)) or suffix == "json":
        return _of_json(stripped, name)
    if suffix in ("yaml", "yml"):
        return _of_yaml(text, name)
    if re.match(r"item\s*\{", stripped):
        return _of_pbtxt(stripped, name)
    lines = [line.strip() for line in text.rstrip().splitlines()]
    if not lines or not all(lines):
        raise DataError(
            f"{name} has a line without a label",
            expected=_EXPECTED,
            found=f"line {lines.index('') + 1} empty" if lines else "an empty file",
        )
    return _of_lines(lines, name, is_csv=suffix in ("csv", "tsv"))


def _text(data: bytes, name: str) -> str:
    encoding = next((encoding for mark, encoding in _BYTE_ORDER_MARKS if data.startswith(mark)), None)
    if encoding is None and len(data) > 3 and data[1::2][:64].count(0) > len(data[1::2][:64]) // 2:
        encoding = "utf-16-le"
    try:
        return data.decode(encoding or "utf-8").replace("\x00", "\ufffd")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{name} is not text in UTF-8 or UTF-16",
            expected=_EXPECTED,
            found=str(error),
            hint="Save it as UTF-8.",
        ) from None


def _of_lines(lines: Sequence[str], name: str, *, is_csv: bool) -> tuple[str, ...]:
    if is_csv or _is_table(lines):
        rows = [tuple(cell.strip() for cell in row) for row in csv.reader(lines, delimiter=_delimiter(lines))]
        if rows and len(rows) > 1 and {cell.casefold() for cell in rows[0]} <= _HEADER:
            rows = rows[1:]
        if all(len(row) == 1 for row in rows):
            return tuple(row[0] for row in rows)
        if all(len(row) == 2 for row in rows):
            for number, label in ((0, 1), (1, 0)):
                if all(row[number].isdecimal() for row in rows):
                    return _by_number([(int(row[number]), row[label]) for row in rows], name)
    for pattern, number, label in ((_NUMBER_FIRST, 1, 2), (_NUMBER_LAST, 2, 1)):
        found = [pattern.fullmatch(line) for line in lines]
        if all(found) and len(lines) > 1:
            pairs = [(int(match[number]), match[label].strip()) for match in found if match]
            if len({text for _, text in pairs}) < (2 if pattern is _NUMBER_FIRST else len(pairs)):
                continue  # `class 0`, `class 1`: the number is part of the name
            if _counts(pairs) or (pattern is _NUMBER_FIRST and _may_have_gaps(pairs)):
                return _by_number(pairs, name)
    return tuple(lines)


def _is_table(lines: Sequence[str]) -> bool:
    return (
        len(lines) > 1
        and all(re.fullmatch(r"[^,;\t]+[,;\t][^,;\t]+", line) for line in lines)
        and ({cell.strip().casefold() for cell in re.split(r"[,;\t]", lines[0])} <= _HEADER)
    )


def _delimiter(lines: Sequence[str]) -> str:
    return next((mark for mark in ("\t", ";") if all(mark in line for line in lines)), ",")


def _counts(pairs: Iterable[tuple[int, str]]) -> bool:
    """True where the numbers are each of 0 ... n - 1, or of 1 ... n, once."""
    numbers = sorted(number for number, _ in pairs)
    return numbers in (list(range(len(numbers))), list(range(1, len(numbers) + 1)))


def _may_have_gaps(pairs: Sequence[tuple[int, str]]) -> bool:
    """True where numbers go up from 0 or 1 with gaps, as in Coral's list for COCO; not for labels such as `7 up`."""
    numbers = [number for number, _ in pairs]
    rising = all(a < b for a, b in itertools.pairwise(numbers))
    return rising and numbers[0] <= 1 and numbers[-1] <= 2 * len(numbers)


def _by_number(pairs: Sequence[tuple[int, str]], name: str) -> tuple[str, ...]:
    """The labels in the order of their numbers; from 1 where none is 0 and none is left out."""
    numbers = [number for number, _ in pairs]
    if len(set(numbers)) < len(numbers) or max(numbers) > MAX_CLASS:
        again = next((n for n in numbers if numbers.count(n) > 1), max(numbers))
        raise DataError(f"{name} numbers its labels wrongly", expected="each number once", found=str(again))
    first = 1 if min(numbers) == 1 and _counts(pairs) else 0
    labels = [UNNAMED] * (max(numbers) + 1 - first)
    for number, label in pairs:
        labels[number - first] = label
    return tuple(labels)


def _of_json(text: str, name: str) -> tuple[str, ...]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{name} is not JSON", expected=_EXPECTED, found=str(error)[:200]) from None
    labels = _of_value(found, name)
    if labels is None:
        raise DataError(
            f"{name} holds no labels", expected=_EXPECTED, found=f"JSON of another form: {text[:60]}"
        )
    return labels


def _of_value(found: Any, name: str) -> tuple[str, ...] | None:
    """Labels in what JSON holds: a list, names by number, numbers by name, or one of these within."""
    if isinstance(found, list) and found and all(isinstance(entry, str) for entry in found):
        return tuple(found)
    if isinstance(found, list) and found and all(isinstance(entry, Mapping) for entry in found):
        named = [(entry.get("id"), entry.get("name", entry.get("label"))) for entry in found]
        if all(type(number) is int and isinstance(label, str) for number, label in named):
            return _by_number(named, name)
    if not isinstance(found, Mapping) or not found:
        return None
    for key in ("id2label", "names", "labels", "classes", "class_names", "categories"):
        if isinstance(found.get(key), list | dict):
            return _of_value(found[key], name)
    pairs: list[tuple[int, str]] = []
    for key, value in found.items():
        if isinstance(value, list) and value and all(isinstance(part, str) for part in value):
            value = " ".join(value)  # Keras' imagenet_class_index: a synset and a name
        if key.isdecimal() and isinstance(value, str):
            pairs.append((int(key), value))
        elif type(value) is int and value >= 0:
            pairs.append((value, key))
        else:
            return None
    return _by_number(pairs, name)


def _of_yaml(text: str, name: str) -> tuple[str, ...]:
    """The `names:` of a YOLO data set's file, or one list; the little of YAML that these are written in."""
    inline = re.search(r"^\s*(?:names|labels|classes)\s*:\s*\[(.*?)\]", text, re.MULTILINE | re.DOTALL)
    if inline:
        return tuple(part.strip().strip("'\"") for part in inline[1].split(",") if part.strip())
    lines = text.splitlines()
    start = next((i for i, line in enumerate(lines) if re.match(r"(names|labels|classes)\s*:\s*$", line)), -1)
    pairs: list[tuple[int, str]] = []
    for line in lines[start + 1 :]:
        entry = _YAML_ENTRY.fullmatch(" " + line.rstrip())
        if entry is None:
            if line.strip() and not line.lstrip().startswith("#"):
                break
            continue
        pairs.append((len(pairs) if entry[1] is None else int(entry[1]), entry[2].strip().strip("'\"")))
    if not pairs:
        raise DataError(f"{name} holds no labels", expected="a list of `names:`", found="none")
    return _by_number(pairs, name)


def _of_pbtxt(text: str, name: str) -> tuple[str, ...]:
    pairs = []
    for item in _PBTXT_ITEM.findall(text):
        fields = {key: a or b or number for key, a, b, number in _PBTXT_FIELD.findall(item)}
        if "id" not in fields or not fields.keys() & {"name", "display_name"}:
            raise DataError(
                f"{name} has an item without id or name", expected=_EXPECTED, found=item.strip()[:60]
            )
        pairs.append((int(fields["id"]), fields.get("display_name") or fields["name"]))
    return _by_number(pairs, name)
