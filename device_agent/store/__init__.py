"""The store of a board, on its disk: blobs, releases, slots, quick starts, and the environments that ran
before.

May import: device_agent.errors, device_agent.record.
"""
