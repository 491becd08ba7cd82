"""Many boards: their inventory, rollouts board by board, and the journal that resumes them.

May import: device_agent.record, sdk.board, sdk.board.ssh, sdk.errors, sdk.tools, sdk.tools.system.
"""
