"""Phrases that several screens share."""

from __future__ import annotations

from fitment_controller.cli.output import Item, percent


def low_power_limits(limits: Item) -> str:
    """When a second variant is used: `below 30.0 %, above 70 °C`."""
    charge, temperature = limits["below_charge_ratio"], limits["above_temperature_celsius"]
    words = [
        f"below {percent(charge)} charge" if charge is not None else "",
        f"above {temperature:g} °C" if temperature is not None else "",
    ]
    return ", ".join(word for word in words if word)
