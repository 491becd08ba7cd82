"""What an agent answers where a verb failed: the parts of its error, for another process or another machine. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from device_agent.record.kinds import Words
from device_agent.record.schema import record

if TYPE_CHECKING:
    Said = str
else:
    Said = Words(2000)


@record(what="the answer of an agent", may_lack=True, takes_unknown=True)
@dataclass(frozen=True)
class Failure:
    """As :class:`device_agent.errors.ArmletError` has them; ``error`` is the name of its class."""

    error: Said | None = None
    what: Said | None = None
    expected: Said | None = None
    found: Said | None = None
    hint: Said | None = None
