"""Speaks to the agent on a board: deploys, measurements, profiles, services; no answer is believed unchecked.

May import: device_agent.errors, device_agent.record, device_agent.tensors, sdk.board.ssh, sdk.errors, sdk.package,
sdk.tools.
"""
