"""What a device says about itself.

A fact that could not be read is `None` and `unknown` says why; nothing is guessed. The
*fingerprint* is the hash of those facts that decide speed and numerics: two devices with the same
fingerprint are expected to measure the same, so evidence is kept per fingerprint.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Final

from pydantic import Field, StringConstraints

from fitment_contract.base import (
    Bytes,
    Count,
    Name,
    Ratio,
    Record,
    canonical_json,
    sha256_hex,
)

Fingerprint = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]
"""The first 16 hexadecimal digits of the SHA-256 over the deciding facts."""


EMULATED: Final = "emulated"
"""The label, with the value `true`, of a device whose processor is emulated: it computes what the
real one would, and how long that takes says nothing about any device."""


class PowerSource(str, Enum):
    """What feeds the device now."""

    MAINS = "mains"
    BATTERY = "battery"
    UNKNOWN = "unknown"


class LinkKind(str, Enum):
    """The interface that carries the device's traffic."""

    ETHERNET = "ethernet"
    WIFI = "wifi"
    CELLULAR = "cellular"
    LOOPBACK = "loopback"
    UNKNOWN = "unknown"


class CoreCluster(Record):
    """Cores of one kind; chips that mix fast and slow ones have several clusters.

    Attributes:
        cores: their numbers, as the kernel counts them.
        capacity: computing power per core as the kernel rates it, 1024 for the fastest.
        max_frequency_hertz: the highest clock.
    """

    cores: tuple[Count, ...]
    capacity: Count | None = None
    max_frequency_hertz: Count | None = None


class Hardware(Record):
    """The parts that do not change while the device runs.

    Attributes:
        board: the maker's name of the board, for example `Raspberry Pi 5 Model B Rev 1.0`.
        soc: the chip, for example `bcm2712`; on x86 the CPU's model name.
        architecture: as `uname -m` says: `aarch64`, `armv7l`, `x86_64`.
        isa: instruction-set features that decide which kernels a runtime picks, sorted, in the
            kernel's spelling (`asimddp`, `i8mm`, `avx2`, `avx512_vnni`).
        cores: cores that this process may use.
        clusters: those cores by kind, the fastest first; empty where the kernel does not tell.
        memory_bytes: physical memory.
        accelerators: what could run models besides the CPU (`cuda`, `tensorrt`, `edgetpu`,
            `hailo`).
    """

    board: str | None = None
    soc: str | None = None
    architecture: str | None = None
    isa: tuple[str, ...] = ()
    cores: Count | None = None
    clusters: tuple[CoreCluster, ...] = ()
    memory_bytes: Bytes | None = None
    accelerators: tuple[Name, ...] = ()


class OperatingSystem(Record):
    """The software under the agent."""

    name: str | None = None
    version: str | None = None
    kernel: str | None = None
    libc: str | None = None
    python: str | None = None


class RuntimeFacts(Record):
    """One inference runtime that this device can load.

    Attributes:
        name: `onnxruntime` or `litert`.
        formats: file formats that it reads (`onnx`, `tflite`).
        opset_max: the highest ai.onnx opset that it loads; None where the notion does not apply.
        providers: execution providers or delegates, in order of preference.
    """

    name: Name
    version: str
    formats: tuple[Name, ...]
    opset_max: Count | None = None
    providers: tuple[str, ...] = ()


class Storage(Record):
    """Room on the file system that holds the agent's state."""

    free_bytes: Bytes | None = None
    total_bytes: Bytes | None = None


class Power(Record):
    """Where the energy comes from.

    Attributes:
        charge_ratio, charging: of the battery; None without one.
        mode: a profile that caps clocks and cores, by its name (`MAXN`, `15W` on a Jetson).
        energy_meter: what can measure energy here: `ina3221`, `pmic`, `rapl` or `battery`.
    """

    source: PowerSource = PowerSource.UNKNOWN
    charge_ratio: Ratio | None = None
    charging: bool | None = None
    mode: str | None = None
    energy_meter: Name | None = None


class Link(Record):
    """How bytes reach the device.

    Attributes:
        interface: its name on the device, for example `wlan0`.
        metered: whether somebody pays by the byte; None when that cannot be known.
        downlink_bytes_per_second: the median over the agent's own latest transfers (or declared).
        downlink_samples, downlink_sample_bytes: how many transfers that median is over, and how
            many bytes they moved; None when the rate was declared.
    """

    kind: LinkKind = LinkKind.UNKNOWN
    interface: str | None = None
    metered: bool | None = None
    downlink_bytes_per_second: Annotated[float, Field(gt=0)] | None = None
    downlink_samples: Count | None = None
    downlink_sample_bytes: Bytes | None = None


class ThrottleReason(str, Enum):
    """Why a device slows itself down."""

    UNDER_VOLTAGE = "under_voltage"
    FREQUENCY_CAPPED = "frequency_capped"
    THROTTLED = "throttled"
    SOFT_TEMPERATURE_LIMIT = "soft_temperature_limit"


class Thermal(Record):
    """Heat, and whether the device slows itself down.

    Attributes:
        temperature_celsius: of the hottest zone.
        zones: every zone by the name that the kernel gives it, in degrees Celsius.
        throttled: it slows itself down now.
        throttle_reasons: why it does now.
        throttled_since_boot: why it ever did since it was started; None where nothing counts it.
    """

    temperature_celsius: float | None = None
    zones: dict[str, float] = Field(default_factory=dict)
    throttled: bool | None = None
    throttle_reasons: tuple[ThrottleReason, ...] = ()
    throttled_since_boot: tuple[ThrottleReason, ...] | None = None


class DeviceFacts(Record):
    """Everything a device says about itself.

    Attributes:
        simulated: the facts were declared in a file, not read from the machine, or its processor
            is emulated. Shown wherever the device shows.
        region: the place the device is configured for; the controller's region files say what
            that means.
        labels: free key-value pairs set by whoever installed the device.
        unknown: for each fact that is missing, its dotted path and the reason.
    """

    simulated: bool = False
    hardware: Hardware = Hardware()
    os: OperatingSystem = OperatingSystem()
    runtimes: tuple[RuntimeFacts, ...] = ()
    storage: Storage = Storage()
    power: Power = Power()
    link: Link = Link()
    thermal: Thermal = Thermal()
    region: Name | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    unknown: dict[str, str] = Field(default_factory=dict)

    def runtime(self, name: str) -> RuntimeFacts | None:
        """The facts of the runtime called `name`, if the device has it."""
        return next((runtime for runtime in self.runtimes if runtime.name == name), None)

    @property
    def fingerprint(self) -> Fingerprint:
        """The hash of the facts that decide speed and numerics.

        A simulated device never shares a fingerprint with a real one: declared hardware says
        nothing about what the machine underneath would measure.
        """
        deciding: dict[str, object] = {
            "simulated": self.simulated,
            "soc": self.hardware.soc,
            "architecture": self.hardware.architecture,
            "isa": sorted(self.hardware.isa),
            "cores": self.hardware.cores,
            "accelerators": sorted(self.hardware.accelerators),
            "runtimes": sorted(
                [runtime.name, runtime.version, *sorted(runtime.providers)]
                for runtime in self.runtimes
            ),
        }
        if self.power.mode is not None:  # most devices have none, and are not told apart by that
            deciding["power_mode"] = self.power.mode
        return sha256_hex(canonical_json(deciding))[:16]
