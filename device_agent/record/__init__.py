"""The records that host and board exchange: their schemas, and the one reader and writer of them all.

Pure. May import: device_agent.errors.
"""
