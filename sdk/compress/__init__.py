"""Compression, a room for each kind of step: recipes over solve and train over rewrite over weights; board_form
beside them.

Pure. May import: nothing.
"""
