"""Figures of a soak, and its report: speed after the first minute, and memory.

Pure. May import: device_agent.record, sdk.errors, sdk.explain, sdk.graph, sdk.tools.
"""
