"""Latencies, operators' times and the best number of threads, by measurement.

May import: device_agent.errors, device_agent.record, device_agent.run.
"""
