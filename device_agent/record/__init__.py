"""What host and board write down for each other: records, their schemas, and the one reader and writer of them all.

Pure. May import: device_agent.errors.
"""
