"""The part of Armlet that lives on the board: standard library, numpy and a TFLite runtime, nothing else.

May import: device_agent.run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Agent", "__version__"]

if TYPE_CHECKING:
    from device_agent.run.agent import Agent

else:

    def __getattr__(name: str) -> Any:
        # Agent needs numpy, which the first steps on a board do without.
        if name == "Agent":
            from device_agent.run.agent import Agent

            return Agent
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
