"""Inputs and outputs of a model: real values and stored ones, and answers compared with expected ones.

Pure. May import: device_agent.errors, device_agent.record.
"""
