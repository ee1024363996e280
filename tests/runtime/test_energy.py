"""Meters are read in the formats that devices really have; energy is said only when it is known."""

from __future__ import annotations

import json
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fitment_runtime.energy import Meter, find_meter, mean_power, measure_energy

ORIN = "sys/bus/i2c/devices/1-0040/hwmon/hwmon3"
NANO = "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0"
BATTERY = "sys/class/power_supply/BAT0"

PI_5 = """\
     3V7_WL_SW_A current(0)=0.12589930A
       3V3_SYS_A current(1)=0.06148218A
        VDD_CORE_A current(7)=1.50000000A
     3V7_WL_SW_V volt(8)=3.71873800V
       3V3_SYS_V volt(9)=3.31558600V
        VDD_CORE_V volt(15)=0.80000000V
       EXT5V_V volt(24)=5.15420000V
      BATT_V volt(25)=0.00000000V
"""


def write(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content + "\n")
    return root


def rails(folder: str, *labels: str) -> dict[str, str]:
    """An INA3221 whose channel n has n volts and n amperes."""
    found = {f"{folder}/name": "ina3221", f"{folder}/in7_label": "sum of shunt voltages"}
    for channel, label in enumerate(labels, start=1):
        found[f"{folder}/in{channel}_label"] = label
        found[f"{folder}/in{channel}_input"] = str(1000 * channel)
        found[f"{folder}/curr{channel}_input"] = str(1000 * channel)
    return found


def meter_of(root: Path) -> Meter:
    meter = find_meter(root)
    assert meter is not None
    return meter


def test_a_jetson_is_measured_at_its_input(tmp_path: Path) -> None:
    meter = meter_of(write(tmp_path, rails(ORIN, "VDD_CPU_GPU_CV", "VDD_IN", "VDD_SOC")))
    assert (meter.name, meter.channel, meter.read()) == ("ina3221", "VDD_IN", 4.0)


def test_a_jetson_without_such_a_rail_is_the_sum_of_its_rails(tmp_path: Path) -> None:
    write(tmp_path, rails(ORIN, "VDD_GPU_SOC", "NC", "VIN_SYS_5V0"))
    write(tmp_path, rails("sys/bus/i2c/devices/1-0041/hwmon/hwmon4", "VDDQ"))
    write(tmp_path, {**rails("sys/bus/i2c/devices/1-004c/hwmon/hwmon5", "fan")})
    write(tmp_path, {"sys/bus/i2c/devices/1-004c/hwmon/hwmon5/name": "tmp451"})
    meter = meter_of(tmp_path)
    assert (meter.channel, meter.read()) == ("VDD_GPU_SOC+VIN_SYS_5V0+VDDQ", 1.0 + 9.0 + 1.0)


def test_an_old_jetson_says_milliwatts(tmp_path: Path) -> None:
    names = ("POM_5V_IN", "POM_5V_GPU", "POM_5V_CPU")
    for channel, label in enumerate(names):
        write(
            tmp_path,
            {
                f"{NANO}/rail_name_{channel}": label,
                f"{NANO}/in_power{channel}_input": str(2500 - 1000 * channel),
            },
        )
    meter = meter_of(tmp_path)
    assert (meter.name, meter.channel, meter.read()) == ("ina3221", "POM_5V_IN", 2.5)


def test_a_pi_5_is_the_sum_of_rails_with_voltage_and_current(tmp_path: Path) -> None:
    meter = meter_of(write(tmp_path, {"commands/vcgencmd-pmic_read_adc": PI_5}))
    watts = 0.12589930 * 3.71873800 + 0.06148218 * 3.31558600 + 1.5 * 0.8
    assert (meter.name, meter.channel) == ("pmic", "sum of 3 rails")
    assert meter.read() == pytest.approx(watts)


def test_a_pi_4_has_no_such_chip(tmp_path: Path) -> None:
    said = 'error=1 error_msg="Command not registered"'
    assert find_meter(write(tmp_path, {"commands/vcgencmd-pmic_read_adc": said})) is None


def rapl(package: int, microjoules: int, limit: int = 1000_000) -> dict[str, str]:
    folder = f"sys/class/powercap/intel-rapl:{package}"
    return {
        f"{folder}/name": f"package-{package}",
        f"{folder}/energy_uj": str(microjoules),
        f"{folder}/max_energy_range_uj": str(limit),
        f"{folder}:0/name": "core",
        f"{folder}:0/energy_uj": "5",
        f"{folder}:0/max_energy_range_uj": "9",
    }


def test_counters_of_packages_start_again_at_their_range(tmp_path: Path) -> None:
    meter = meter_of(write(tmp_path, {**rapl(0, 900_000), **rapl(1, 0)}))
    assert (meter.name, meter.channel) == ("rapl", "package-0+package-1")
    assert meter.read() == 0.0
    write(tmp_path, {**rapl(0, 100_000), **rapl(1, 300_000)})
    assert meter.read() == pytest.approx(0.2 + 0.3)
    write(tmp_path, rapl(0, 50_000))
    assert meter.read() == pytest.approx(0.2 + 0.95 + 0.3)


def test_a_battery_that_counts_energy(tmp_path: Path) -> None:
    files = {"type": "Battery", "status": "Discharging", "energy_now": "40000000"}
    meter = meter_of(write(tmp_path, {f"{BATTERY}/{key}": said for key, said in files.items()}))
    assert (meter.name, meter.channel) == ("battery", "BAT0")
    meter.read()
    write(tmp_path, {f"{BATTERY}/energy_now": "39990000"})
    assert meter.read() == pytest.approx(36.0)


def test_a_sagging_voltage_is_no_use_of_energy(tmp_path: Path) -> None:
    files = {
        "type": "Battery",
        "status": "Discharging",
        "charge_now": "5000000",
        "voltage_now": "4000000",
    }
    meter = meter_of(write(tmp_path, {f"{BATTERY}/{key}": said for key, said in files.items()}))
    meter.read()
    write(tmp_path, {f"{BATTERY}/voltage_now": "3800000"})
    assert meter.read() == 0.0
    write(tmp_path, {f"{BATTERY}/charge_now": "4999000"})
    assert meter.read() == pytest.approx(0.001 * 3.8 * 3600)


def test_a_battery_on_the_charger_or_of_a_mouse_says_nothing(tmp_path: Path) -> None:
    files = {"type": "Battery", "status": "Charging", "energy_now": "40000000"}
    write(tmp_path, {f"{BATTERY}/{key}": said for key, said in files.items()})
    assert find_meter(tmp_path) is None
    write(tmp_path, {f"{BATTERY}/status": "Discharging", f"{BATTERY}/scope": "Device"})
    assert find_meter(tmp_path) is None


def phone(**changes: object) -> str:
    said: dict[str, object] = {
        "present": True,
        "technology": "Li-ion",
        "health": "GOOD",
        "plugged": "UNPLUGGED",
        "status": "DISCHARGING",
        "temperature": 27.4,
        "voltage": 4000,
        "current": -312000,
        "current_average": None,
        "percentage": 81,
        "charge_counter": 3_000_000,
        "energy": None,
        "cycle": None,
    }
    return json.dumps({**said, **changes})


def test_a_phone_counts_through_termux(tmp_path: Path) -> None:
    command = "commands/termux-battery-status"
    meter = meter_of(write(tmp_path, {command: phone()}))
    assert (meter.name, meter.channel) == ("battery", "termux")
    meter.read()
    write(tmp_path, {command: phone(charge_counter=2_999_000, voltage=3900)})
    assert meter.read() == pytest.approx(0.001 * 3.9 * 3600)


@pytest.mark.parametrize(
    "said",
    [
        phone(status="CHARGING"),
        phone(charge_counter=None),
        phone(charge_counter=True),
        phone(voltage="4000"),
        phone(charge_counter=10**30),
        "API_ERROR",
        "[" * 5000,
        "[1]",
    ],
)
def test_a_phone_that_does_not_tell_has_no_meter(tmp_path: Path, said: str) -> None:
    assert find_meter(write(tmp_path, {"commands/termux-battery-status": said})) is None


EVERYTHING = {
    **rails(ORIN, "VDD_IN", "A", "B"),
    **{f"{NANO}/rail_name_0": "POM_5V_IN", f"{NANO}/in_power0_input": "1"},
    **rapl(0, 5),
    **{f"{BATTERY}/{key}": "1" for key in ("type", "status", "charge_now", "voltage_now")},
    "commands/vcgencmd-pmic_read_adc": PI_5,
    "commands/termux-battery-status": phone(),
}


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_no_content_of_any_file_is_an_error(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name, content in EVERYTHING.items():
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            whole = content.encode()
            cut = st.integers(0, len(whole)).map(lambda end, whole=whole: whole[:end])
            garbage = st.binary(max_size=40)
            path.write_bytes(data.draw(st.one_of(st.just(whole), cut, garbage)))
        meter = find_meter(Path(folder))
        if meter is not None:
            value = meter.read()
            assert value is None or isinstance(value, float | int)


# Means


def test_power_is_the_mean_of_its_readings() -> None:
    found = mean_power([(0.1 * n, 2.0 + n % 2) for n in range(10)], cumulative=False)
    assert found is not None
    assert (found.watts, found.samples) == (2.5, 10)
    assert found.standard_error == pytest.approx(0.527 / 10**0.5, rel=0.01)


def test_too_few_readings_are_no_measurement() -> None:
    assert mean_power([(0.1 * n, 2.0) for n in range(7)], cumulative=False) is None
    assert mean_power([(0.1 * n, 2.0 * n) for n in range(9)], cumulative=True) is None
    assert mean_power([(float(n), 5.0) for n in range(1000)], cumulative=True) is None
    assert mean_power([], cumulative=True) is None


def test_a_coarse_counter_is_read_at_its_steps() -> None:
    """13 joules a step, read every second, 3 watts: the ends would be off by half a step."""
    readings = [(float(second), 13.0 * (3 * second // 13)) for second in range(100)]
    found = mean_power(readings, cumulative=True)
    assert found is not None
    assert found.watts == pytest.approx(3.0, rel=0.03)


@given(
    st.lists(st.tuples(st.floats(0.01, 5.0), st.floats(0.1, 50.0)), min_size=12, max_size=60),
)
def test_steady_counters_give_their_power(steps: list[tuple[float, float]]) -> None:
    now, joules, readings = 0.0, 0.0, []
    for seconds, watts in steps:
        now, joules = now + seconds, joules + seconds * watts
        readings.append((now, joules))
    found = mean_power(readings, cumulative=True)
    assert found is not None
    begin, end = readings[1], readings[-1]
    assert found.watts == pytest.approx((end[1] - begin[1]) / (end[0] - begin[0]))


class Bench:
    """A meter of our own: `idle` watts, and `busy` more while something runs."""

    name = "bench"
    channel = "all"
    interval_seconds = 0.005
    stretch_seconds = 0.3

    def __init__(self, cumulative: bool, idle: float, busy: float) -> None:
        self.cumulative = cumulative
        self.running = threading.Event()
        self._watts = (idle, idle + busy)
        self._noise = self._wobble()
        self._at = time.perf_counter()
        self._joules = 0.0

    def read(self) -> float:
        watts = self._watts[self.running.is_set()] + next(self._noise)
        now = time.perf_counter()
        self._joules += watts * (now - self._at)
        self._at = now
        return self._joules if self.cumulative else watts

    def run(self) -> None:
        self.running.set()
        time.sleep(0.01)

    @staticmethod
    def _wobble() -> Iterator[float]:
        while True:
            yield from (-0.05, 0.0, 0.05)


@pytest.mark.parametrize("cumulative", [False, True])
def test_energy_is_what_inferences_add_to_rest(cumulative: bool) -> None:
    meter = Bench(cumulative, idle=2.0, busy=3.0)
    found = measure_energy(meter, meter.run, limit_seconds=60.0)
    assert found is not None
    assert found.idle_watts == pytest.approx(2.0, abs=0.2)
    assert found.busy_watts == pytest.approx(5.0, abs=0.4)
    each = found.seconds / found.count
    assert found.joules_per_inference == pytest.approx(3.0 * each, rel=0.2)
    assert (found.meter, found.channel) == ("bench", "all")
    assert found.samples >= 8


@pytest.mark.parametrize("busy", [0.0, -1.0])
def test_no_difference_is_no_energy(busy: float) -> None:
    meter = Bench(cumulative=False, idle=2.0, busy=busy)
    assert measure_energy(meter, meter.run, limit_seconds=60.0) is None


def test_a_meter_that_goes_away_measures_nothing() -> None:
    meter = Bench(cumulative=False, idle=2.0, busy=3.0)
    silent: Callable[[], float | None] = lambda: None  # noqa: E731
    meter.read = silent  # type: ignore[assignment]
    assert measure_energy(meter, meter.run, limit_seconds=0.1) is None


def test_a_failing_inference_ends_the_sampling() -> None:
    meter = Bench(cumulative=False, idle=2.0, busy=3.0)

    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        measure_energy(meter, fail, limit_seconds=0.1)
    assert not [thread for thread in threading.enumerate() if thread.name == "energy"]
