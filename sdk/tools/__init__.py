"""Small tools that know nothing of Armlet: progress as a callback, options of a verb, text for terminals, strict TOML.

Pure. May import: device_agent.record, sdk.errors.
"""
