"""Everything that knows SSH: where a board is, how to log in, commands and files, signatures by SSH keys.

May import: device_agent.package, device_agent.record, sdk.errors, sdk.tools.system.
"""
