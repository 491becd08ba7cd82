"""The parts of an emulated board: a Debian userland for ARM, the files that tell its programs which core they run
on, and a QEMU plugin that counts the instructions they execute. Real ARM machine code, and no ARM hardware.

May import: device_agent.package, device_agent.record, sdk.errors, sdk.tools, sdk.tools.system.
"""
