"""Numbers about work, time and the gap between theory and measurement, and the records of runs.

Pure. May import: device_agent.record, sdk.errors, sdk.graph, sdk.tools.
"""
