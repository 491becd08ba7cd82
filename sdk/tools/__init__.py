"""Small tools that know nothing of Armlet: progress as a callback, text for terminals, strict TOML.

Pure. May import: device_agent.record, sdk.errors.
"""
