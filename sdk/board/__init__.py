"""Which boards there are and how each is reached: the catalogue, what a board says of itself, boards on this machine.

May import: device_agent.record, sdk.board.description, sdk.board.emulation, sdk.board.ssh, sdk.errors, sdk.tools,
sdk.tools.system.
"""
