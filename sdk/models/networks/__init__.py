"""The networks of the papers, each as layers.

Pure. May import: sdk.errors.
"""
