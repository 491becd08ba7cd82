"""Many boards: their inventory, rollouts board by board, and the journal that resumes them.

May import: sdk.board, sdk.errors, sdk.tools, sdk.tools.system.
"""
