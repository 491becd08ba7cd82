"""The same with files, folders and terminals: files written whole, caches, checkpoints, progress bars, quiet
libraries.

May import: device_agent.record, sdk.errors, sdk.tools.
"""
