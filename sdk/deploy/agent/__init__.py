"""Speaks to the agent on a board: deploys, measurements, profiles, services; no answer is believed unchecked.

May import: device_agent.record, sdk.board.ssh, sdk.errors, sdk.package, sdk.tools.
"""
