"""Every error that Armlet raises on purpose, from the root down.

    ArmletError                 one clear message: what, expected, found, what to do next
    ├── PackageError            the bytes of a .armlet package are not acceptable (device_agent.package.reader)
    ├── RuntimeUnavailable      no TFLite runtime that works is installed where the agent runs
    ├── StoreError              the board's store cannot do what was asked (device_agent.store.store)
    ├── SignatureError          a package is not signed as it has to be (device_agent.package.signature)
    ├── DataError               images, labels or a record cannot be read, or are not what a model takes
    ├── AgentError              a verb of the agent was called wrongly or could not finish
    └── sdk.errors.*            errors of the host

The text has up to four parts, so that a person at a terminal knows what to do next and a program can read
each part from the attribute of the same name.
"""

from __future__ import annotations


class ArmletError(Exception):
    """Root of the tree. ``what`` is one line; ``expected``, ``found`` and ``hint`` are optional one-liners."""

    def __init__(
        self, what: str, *, expected: str | None = None, found: str | None = None, hint: str | None = None
    ) -> None:
        super().__init__(what)
        self.what = what
        self.expected = expected
        self.found = found
        self.hint = hint

    def __str__(self) -> str:
        parts = [self.what]
        if self.expected is not None:
            parts.append(f"expected {self.expected}")
        if self.found is not None:
            parts.append(f"found {self.found}")
        text = "; ".join(parts)
        return f"{text}. {self.hint}" if self.hint else text

    def to_json(self) -> dict[str, str | None]:
        """The error as a JSON-ready dict: ``error`` (class name), ``what``, ``expected``, ``found``, ``hint``."""
        return {
            "error": type(self).__name__,
            "what": self.what,
            "expected": self.expected,
            "found": self.found,
            "hint": self.hint,
        }


class PackageError(ArmletError):
    """The bytes of a ``.armlet`` package break the format; subclasses name the way in which they do."""


class RuntimeUnavailable(ArmletError):
    """No TFLite runtime could be imported, or the one that was found failed to load a model."""


class StoreError(ArmletError):
    """The store on the board cannot do what was asked."""


class SignatureError(ArmletError):
    """A package is not signed, or not by whom it has to be, or was changed after it was."""


class DataError(ArmletError):
    """Images, labels or a record cannot be read, or are not what a model takes."""


class AgentError(ArmletError):
    """A verb of the agent was called wrongly or could not finish."""
