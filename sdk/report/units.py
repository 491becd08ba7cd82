"""Numbers as people read them: one place, so that every table says the same thing in the same way."""

from __future__ import annotations

import math


def bytes_text(size: int) -> str:
    """1234567 as "1.23 MB": decimal units, three digits."""
    if size < 1000:
        return f"{size} B"
    for unit in ("kB", "MB", "GB"):
        size_in = size / 1000.0 ** ("kB", "MB", "GB").index(unit) / 1000.0
        if size_in < 999.5 or unit == "GB":
            return f"{_three_digits(size_in)} {unit}"
    raise AssertionError("unreachable")


def count_text(count: int) -> str:
    """568740352 as "569 M": parameters and multiply-accumulates."""
    for factor, unit in ((10**9, " G"), (10**6, " M"), (10**3, " k")):
        if count >= 0.9995 * factor:
            return f"{_three_digits(count / factor)}{unit}"
    return str(count)


def seconds_text(seconds: float) -> str:
    """0.00123 as "1.23 ms"."""
    for factor, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if seconds >= 0.9995 * factor or unit == "µs":
            return f"{_three_digits(seconds / factor)} {unit}"
    raise AssertionError("unreachable")


def seconds_range_text(low: float, high: float) -> str:
    """0.0012 and 0.0013 as "1.200 - 1.300 ms": in the unit of the lower, with four digits, to tell them apart.

    Where the upper is ten times the lower or more, nobody compares digits, and each has its own unit: "144 µs - 88.7
    ms".
    """
    if high >= 10.0 * low > 0.0:
        return f"{seconds_text(low)} - {seconds_text(high)}"
    factor, unit = next((f, u) for f, u in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")) if low >= f or u == "µs")
    digits = max(0, 3 - int(math.log10(max(low / factor, 1.0))))
    return f"{low / factor:.{digits}f} - {high / factor:.{digits}f} {unit}"


def ratio_text(ratio: float) -> str:
    """3.456 as "3.46x"; from 10 on with one digit behind the point."""
    return f"{ratio:.1f}x" if ratio >= 9.995 else f"{ratio:.2f}x"


def percent_text(share: float, digits: int = 1) -> str:
    """0.7 as "70.0 %"."""
    return f"{100 * share:.{digits}f} %"


def threads_text(count: int) -> str:
    """ "1 thread", "4 threads"."""
    return "1 thread" if count == 1 else f"{count} threads"


def _three_digits(value: float) -> str:
    if value >= 99.95:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"


def moment_text(unix_seconds: float) -> str:
    """1.7e9 as "2023-11-14 22:13 UTC"."""
    import numpy as np  # which knows calendars and no clock

    return str(np.datetime64(int(unix_seconds / 60), "m")).replace("T", " ") + " UTC"
