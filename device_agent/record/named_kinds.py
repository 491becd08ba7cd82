"""Kinds with names: an annotation of a record may name them (``threads: Threads``); a type checker sees plain types."""

from __future__ import annotations

from typing import TYPE_CHECKING

from device_agent.record.kinds import MAX_NUMBER, Integer, Number, Text, TextOfCount

#: No single time is longer than this many seconds (a day).
MAX_SECONDS = 86_400.0

if TYPE_CHECKING:
    Seconds = float
    SignedSeconds = float
    UnixSeconds = float
    Celsius = float
    Hertz = float
    Positive = float
    Share = float
    Rate = float
    Count = int
    Size = int
    Threads = int
    Cpu = int
    Sha256 = str
    Sentence = str
    TensorName = str
    RawText = str
    CountKey = int
else:
    Seconds = Number(0.0, MAX_SECONDS)
    SignedSeconds = Number(-MAX_SECONDS, MAX_SECONDS)
    UnixSeconds = Number(0.0, 1e11)
    Celsius = Number(-100.0, 300.0)
    Hertz = Number(0.0, 1e12)
    Positive = Number(0.0, MAX_NUMBER, low_excluded=True)
    Share = Number(0.0, 1.0)
    Rate = Number(1.0, MAX_NUMBER)  # of operations or bytes per second
    Count = Integer(0, 1 << 50)  # of bytes, or whatever else happens often
    Size = Integer(1)  # of something that is there
    Threads = Integer(1, 1024)
    Cpu = Integer(0, 4096)
    Sha256 = Text(64, 64, "[0-9a-f]*", "64 lower-case hexadecimal digits")
    Sentence = Text(2000)
    TensorName = Text(1 << 14)  # converters join the names of everything that they fuse
    RawText = Text(1 << 16, any_characters=True)
    CountKey = TextOfCount()
