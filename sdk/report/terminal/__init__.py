"""Records as tables and lines for a terminal.

Pure. May import: device_agent.record, sdk.board.description, sdk.explain, sdk.explain.soaking, sdk.explain.speed,
sdk.package, sdk.report.
"""
