"""Releases on their way to boards: a session with a board that is ready, and exports for other engines.

May import: device_agent, sdk.board, sdk.board.description, sdk.board.ssh, sdk.deploy.agent, sdk.deploy.provision,
sdk.errors, sdk.package, sdk.tools, sdk.tools.system.
"""
