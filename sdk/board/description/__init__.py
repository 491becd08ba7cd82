"""Records of a kind of board, and the reader of its file.

Pure. May import: device_agent.record, sdk.errors, sdk.tools.
"""
