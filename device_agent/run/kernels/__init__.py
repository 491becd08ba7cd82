"""Kernels for networks with zeros, as a delegate of TensorFlow Lite: C sources, each with its reference in numpy, and
what loads the library.

The host builds the library for the board's processor (sdk/deploy/provision/kernel.py) and pushes one file.

May import: device_agent.errors, device_agent.package, device_agent.package.codec.
"""
