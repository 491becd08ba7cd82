"""Facts about the machine, from files recorded on boards."""

from __future__ import annotations

from pathlib import Path

import pytest

from device_agent.run import conditions
from device_agent.run.conditions import Conditions, read_conditions


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def cpu(number: int, **files: str) -> dict[str, str]:
    return {f"{conditions.CPU}/cpu{number}/{name.replace('__', '/')}": text for name, text in files.items()}


@pytest.mark.parametrize(
    ("text", "celsius"),
    [("48686\n", 48.686), ("-5000", -5.0), ("45\n", 45.0), ("", None), ("N/A", None), ("999999999", None)],
)
def test_a_temperature_is_in_thousandths_of_a_degree(text, celsius):
    assert conditions.parse_millidegrees(text) == celsius


@pytest.mark.parametrize(
    ("text", "hertz"), [("1800000\n", 1.8e9), ("<unknown>\n", None), ("0", None), ("", None)]
)
def test_a_clock_is_in_kilohertz(text, hertz):
    assert conditions.parse_kilohertz(text) == hertz


@pytest.mark.parametrize(
    ("text", "now", "since_boot"),
    [
        ("throttled=0x0\n", (), ()),
        ("throttled=0x50000\n", (), ("under-voltage", "throttled")),
        ("throttled=0x50005\n", ("under-voltage", "throttled"), ("under-voltage", "throttled")),
        # As owners published it: raspberrypi/firmware, issue 1431; raspiblitz/raspiblitz, issue 4008.
        ("throttled=0x20002\n", ("ARM frequency capped",), ("ARM frequency capped",)),
        ("throttled=0x80000\n", (), ("soft temperature limit",)),
        ("throttled=0xa\n", ("ARM frequency capped", "soft temperature limit"), ()),
        ("80008\n", ("soft temperature limit",), ("soft temperature limit",)),
        ("throttled=0xe0000\n", (), ("ARM frequency capped", "throttled", "soft temperature limit")),
    ],
)
def test_a_raspberry_pi_tells_why_it_is_slow_and_why_it_was(text, now, since_boot):
    assert conditions.parse_throttled(text) == conditions.Throttled(now, since_boot)


@pytest.mark.parametrize("text", ["VCHI initialization failed\n", "", "error=1"])
def test_what_is_no_answer_of_the_firmware_tells_nothing(text):
    assert conditions.parse_throttled(text) is None


def test_peak_memory_is_read_from_the_status_of_a_process():
    status = "Name:\tpython3\nVmPeak:\t  512000 kB\nVmHWM:\t   65432 kB\nThreads:\t1\n"
    assert conditions.parse_status_kilobytes(status, "VmHWM") == 65432 * 1024
    assert conditions.parse_status_kilobytes(status, "VmSwap") is None


def test_the_zone_that_names_the_cpu_is_taken_before_hotter_ones():
    rk3588 = [("soc-thermal", 44.0), ("gpu-thermal", 60.0), ("npu-thermal", 61.0)]
    assert conditions.choose_zone(rk3588) == 44.0
    assert conditions.choose_zone([("cpu-thermal", 50.0), ("soc", 70.0)]) == 50.0
    assert conditions.choose_zone([("nvme", 40.0), ("wifi", 42.0)]) == 42.0
    assert conditions.choose_zone([]) is None


def test_a_raspberry_pi_4_is_read_whole(tmp_path):
    root = tree(
        tmp_path,
        {
            "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
            "sys/class/thermal/thermal_zone0/temp": "48686\n",
            "sys/devices/platform/soc/soc:firmware/get_throttled": "50005\n",
            **{k: v for n in range(4) for k, v in cpu(n, cpufreq__scaling_cur_freq="1500000\n").items()},
            **cpu(0, cpufreq__scaling_governor="ondemand\n", cpufreq__scaling_cur_freq="1800000\n"),
        },
    )
    assert read_conditions(root=root) == Conditions(
        48.686, 1.8e9, "ondemand", ("under-voltage", "throttled"), None, ("under-voltage", "throttled")
    )
    assert read_conditions([2], root=root).frequency_hz == 1.5e9


def test_where_nothing_is_told_nothing_is_known(tmp_path):
    assert read_conditions(root=tmp_path) == Conditions(None, None, None, None, None)
    assert conditions.read_peak_memory(tmp_path) is None
    assert conditions.big_cores(tmp_path) == ()


def test_an_x86_tells_its_clock_in_cpuinfo_and_counts_throttling(tmp_path):
    root = tree(
        tmp_path,
        {
            "proc/cpuinfo": "processor\t: 0\ncpu MHz\t\t: 2445.404\n\nprocessor\t: 1\ncpu MHz\t\t: 3100.5\n",
            **cpu(
                0, thermal_throttle__core_throttle_count="3\n", thermal_throttle__package_throttle_count="4\n"
            ),
        },
    )
    found = read_conditions(root=root)
    assert found.frequency_hz == 3100.5e6
    assert found.throttle_count == 7


def test_big_cores_are_those_of_the_highest_capacity(tmp_path):
    capacities = {0: 404, 1: 404, 4: 1024, 5: 1024}
    root = tree(
        tmp_path, {k: v for n, c in capacities.items() for k, v in cpu(n, cpu_capacity=f"{c}\n").items()}
    )
    assert conditions.big_cores(root) == (4, 5)


def test_big_cores_of_one_kind_may_differ_a_little_in_their_clock(tmp_path):
    rk3588 = {**dict.fromkeys(range(4), 1800000), 4: 2256000, 5: 2256000, 6: 2304000, 7: 2304000}
    root = tree(
        tmp_path,
        {k: v for n, c in rk3588.items() for k, v in cpu(n, cpufreq__cpuinfo_max_freq=f"{c}\n").items()},
    )
    assert conditions.big_cores(root) == (4, 5, 6, 7)


def test_big_cores_are_else_those_of_the_highest_clock(tmp_path):
    clocks = {0: 1908000, 1: 1908000, 2: 2208000}
    root = tree(
        tmp_path,
        {k: v for n, c in clocks.items() for k, v in cpu(n, cpufreq__cpuinfo_max_freq=f"{c}\n").items()},
    )
    assert conditions.big_cores(root) == (2,)


def test_cores_that_are_all_alike_are_not_told_apart(tmp_path):
    root = tree(tmp_path, {k: v for n in range(4) for k, v in cpu(n, cpu_capacity="1024\n").items()})
    assert conditions.big_cores(root) == ()


def test_this_process_knows_its_own_memory():
    peak = conditions.read_peak_memory()
    assert peak is not None
    assert peak > 1 << 20
