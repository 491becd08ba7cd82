"""The package's format and its decoders in numpy: every length, count and offset checked before use.

Pure. May import: device_agent.errors.
"""
