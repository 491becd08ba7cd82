"""Records as one HTML page with its drawings.

Pure. May import: device_agent.record, sdk.data.meaning, sdk.explain, sdk.explain.soaking, sdk.explain.speed,
sdk.report, sdk.report.terminal.
"""
