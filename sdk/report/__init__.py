"""Records in, text out; computes nothing: units, tables and conditions in words.

Pure. May import: device_agent.record, sdk.data.meaning, sdk.explain, sdk.explain.soaking, sdk.explain.speed.
"""
