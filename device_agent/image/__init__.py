"""From any picture to the values of a model's input: decoded, fitted, scaled. The host loads pictures by this, too.

Pure. May import: device_agent.errors, device_agent.record.
"""
