"""What boards say of the power they draw, from outputs and trees in the formats that their makers document."""

from __future__ import annotations

from pathlib import Path

import pytest

from device_agent.measuring import power
from device_agent.measuring.power import find_meter, parse_pmic, total_watts

#: As `vcgencmd pmic_read_adc` of a Raspberry Pi 5 prints it, the names set to the right.
PMIC = """\
 3V7_WL_SW_A current(0)=0.10000000A
   3V3_SYS_A current(1)=0.05000000A
  DDR_VDD2_A current(3)=0.20000000A
  DDR_VDDQ_A current(4)=0.00000000A
  VDD_CORE_A current(7)=5.00000000A
   0V8_AON_A current(16)=0.01000000A
 3V7_WL_SW_V volt(8)=3.70000000V
   3V3_SYS_V volt(9)=3.30000000V
  DDR_VDD2_V volt(11)=1.10000000V
  DDR_VDDQ_V volt(12)=0.60000000V
  VDD_CORE_V volt(15)=0.90000000V
   0V8_AON_V volt(19)=0.80000000V
     EXT5V_V volt(24)=5.10000000V
      BATT_V volt(25)=0.00000000V
"""


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return root


def chip(folder: str, **files: str) -> dict[str, str]:
    return {f"sys/class/hwmon/{folder}/{file}": text for file, text in files.items()}


def test_a_raspberry_pi_5_is_the_sum_of_its_rails_by_name_not_by_number():
    rails = parse_pmic(PMIC)
    assert set(rails) == {"3V7_WL_SW", "3V3_SYS", "DDR_VDD2", "DDR_VDDQ", "VDD_CORE", "0V8_AON"}
    assert rails["VDD_CORE"] == pytest.approx(4.5)
    assert total_watts(rails) == pytest.approx(0.37 + 0.165 + 0.22 + 0.0 + 4.5 + 0.008)


@pytest.mark.parametrize(
    "text",
    [
        "",
        'error=1 error_msg="Command not registered"\n',
        "VCHI initialization failed\n",
        "EXT5V_V volt(24)=5.1V\n",
        "VDD_CORE_A current(7)=nanA\n VDD_CORE_V volt(15)=0.9V\n",
    ],
)
def test_what_is_no_answer_of_the_pmic_is_no_power(text):
    assert total_watts(parse_pmic(text)) is None


def test_an_ina219_multiplies_by_itself(tmp_path):
    root = tree(
        tmp_path,
        chip(
            "hwmon2",
            name="ina219",
            in0_input="6",
            in1_input="5096",
            curr1_input="812",
            power1_input="4140000",
        ),
    )
    meter = find_meter(root)
    assert meter is not None
    assert meter.read() == pytest.approx(4.14)
    assert meter.source == "ina219 hwmon2 channel 1 (hwmon)"
    (root / "sys/class/hwmon/hwmon2/power1_input").write_text("5000000\n")
    assert meter.read() == pytest.approx(5.0)


def test_an_ina3221_is_volts_times_amperes_of_the_channels_that_are_connected(tmp_path):
    channels = chip("hwmon3", name="ina3221", curr4_input="9999", in7_label="sum of shunt voltages")
    for number, (label, volts, amperes, enabled) in enumerate(
        [("VDD_GPU_SOC", "12000", "250", "1"), ("VDD_CPU_CV", "12000", "100", "1"), ("NC", "0", "0", "0")], 1
    ):
        channels.update(
            chip(
                "hwmon3",
                **{
                    f"in{number}_label": label,
                    f"in{number}_input": volts,
                    f"curr{number}_input": amperes,
                    f"in{number}_enable": enabled,
                },
            )
        )
    meter = find_meter(tree(tmp_path, channels))
    assert meter is not None
    assert meter.read() == pytest.approx(3.0 + 1.2)
    assert meter.source == "VDD_GPU_SOC + VDD_CPU_CV (hwmon)"


def test_the_supply_of_a_jetson_is_the_whole_and_what_it_feeds_is_not_added(tmp_path):
    channels = chip("hwmon1", name="ina3221")
    for number, label in enumerate(("VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC"), 1):
        channels.update(
            chip(
                "hwmon1",
                **{f"in{number}_label": label, f"in{number}_input": "5000", f"curr{number}_input": "800"},
            )
        )
    meter = find_meter(tree(tmp_path, channels))
    assert meter is not None
    assert meter.read() == pytest.approx(4.0)
    assert meter.source == "VDD_IN (hwmon)"


def test_the_older_driver_of_a_jetson_tells_milliwatts(tmp_path):
    folder = "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0"
    files = {
        f"{folder}/rail_name_{i}": name for i, name in enumerate(("POM_5V_IN", "POM_5V_GPU", "POM_5V_CPU"))
    }
    files.update({f"{folder}/in_power{i}_input": watts for i, watts in enumerate(("2468", "40", "612"))})
    meter = find_meter(tree(tmp_path, files))
    assert meter is not None
    assert meter.read() == pytest.approx(2.468)
    assert meter.source == "POM_5V_IN (ina3221x)"


def test_a_monitor_that_fails_while_it_is_read_tells_nothing_instead_of_a_part(tmp_path):
    channels = chip("hwmon1", name="ina3221")
    for number in (1, 2):
        channels.update(chip("hwmon1", **{f"in{number}_input": "5000", f"curr{number}_input": "100"}))
    root = tree(tmp_path, channels)
    meter = find_meter(root)
    assert meter is not None
    assert meter.read() == pytest.approx(1.0)
    (root / "sys/class/hwmon/hwmon1/curr2_input").unlink()
    assert meter.read() is None


def test_a_sensor_of_temperature_is_no_power_meter(tmp_path):
    assert find_meter(tree(tmp_path, chip("hwmon0", name="cpu_thermal", temp1_input="48000"))) is None


def test_a_raspberry_pi_5_is_asked_through_its_program(tmp_path, monkeypatch):
    program = tmp_path / "vcgencmd"
    program.write_text(f'#!/bin/sh\n[ "$1" = pmic_read_adc ] || exit 1\ncat <<END\n{PMIC}END\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    meter = power._pmic_meter()  # noqa: SLF001 - this machine may have a monitor of its own, which comes first
    assert meter is not None
    assert meter.read() == pytest.approx(5.263)
    assert meter.source == "the PMIC's 6 rails (pmic_read_adc)"
    program.write_text("#!/bin/sh\necho 'error=1'\n")
    assert meter.read() is None
    assert power._pmic_meter() is None  # noqa: SLF001 - as above: an older board has the program, and no PMIC
