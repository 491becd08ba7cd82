"""What a kind of board is, as records, and the file that says so.

Pure. May import: device_agent.record, sdk.errors, sdk.tools.
"""
