"""Makes a board ready: the runtime's wheels, the agent and its decoder, built and pushed once; instructions
counted.

May import: device_agent, device_agent.record, sdk.board, sdk.board.emulation, sdk.board.ssh, sdk.errors, sdk.tools,
sdk.tools.system.
"""
