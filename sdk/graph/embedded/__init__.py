"""The descriptions in a ``.tflite`` beside its graph: its TFLite metadata, and the files of the zip behind it.

Pure. May import: nothing.
"""
