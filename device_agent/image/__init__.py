"""From any picture to the values of a model's input: decoded, fitted, scaled.

Pure. May import: device_agent.errors, device_agent.record.
"""
