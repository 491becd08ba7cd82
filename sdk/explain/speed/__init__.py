"""How fast a board is: measured through its runtime (a calibration), or predicted with no board (a prediction).

Pure. May import: device_agent.record, sdk.errors, sdk.explain, sdk.graph, sdk.tools.
"""
