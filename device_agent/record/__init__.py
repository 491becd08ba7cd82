"""What is written down or sent, as frozen records and bytes: measurements, profiles, releases, what a package says of
its images, arrays over the wire.

Pure. May import: device_agent.errors.
"""
