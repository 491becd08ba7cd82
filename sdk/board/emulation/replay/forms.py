"""The groups of A64 instructions (forms.txt): which opcodes belong to each, and the forms that its key tells apart."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_name("forms.txt")


@dataclass(frozen=True)
class Group:
    """A line of forms.txt. ``operands`` and ``flags`` are its words, as the replay reads them."""

    name: str
    mask: int
    value: int
    key: int
    words: tuple[str, ...]

    @property
    def bits(self) -> tuple[int, ...]:
        """Places of the bits of the key, the lowest first."""
        return tuple(bit for bit in range(32) if self.key >> bit & 1)

    @property
    def forms(self) -> int:
        """How many forms the key could tell apart; not all of them are instructions."""
        return 1 << len(self.bits)

    def spread(self, form: int) -> int:
        """The opcode's fixed bits of a form: its number's bits put to their places."""
        return self.value | sum((form >> i & 1) << bit for i, bit in enumerate(self.bits))

    def form_of(self, opcode: int) -> int:
        """The number of an opcode's form."""
        return sum((opcode >> bit & 1) << i for i, bit in enumerate(self.bits))


def read_groups() -> tuple[Group, ...]:
    """All groups, in the order in which an opcode is compared with them."""
    groups = []
    for line in SOURCE.read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            name, mask, value, key, *words = line.split()
            mask_bits = int(mask, 16)
            groups.append(Group(name, mask_bits, int(value, 16), int(key, 16) & ~mask_bits, tuple(words)))
    return tuple(groups)


def group_of(opcode: int, groups: tuple[Group, ...]) -> int | None:
    """The place of the first group that an opcode matches; None where none does."""
    return next((i for i, g in enumerate(groups) if opcode & g.mask == g.value), None)
