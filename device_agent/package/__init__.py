"""Reads packages: the reader, the C decoder that it loads, and who signed them; PACKAGE_FORMAT.md is the
specification.

May import: device_agent.errors, device_agent.package.codec, device_agent.record.
"""
