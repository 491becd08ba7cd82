"""The meaning of data on disk: classes of folders, labels of files, pixels of stored numbers.

Pure. May import: device_agent.record, device_agent.tensors, sdk.errors, sdk.graph.
"""
