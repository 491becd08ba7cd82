"""What models do after the first minute, and the memory that they need: figures of a soak, and its report.

Pure. May import: device_agent.record, sdk.errors, sdk.explain, sdk.graph, sdk.tools.
"""
