"""All checks in the order in which problems follow from each other, and the screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from fitment_agent.doctor import (
    artifacts,
    broker,
    clock,
    doubles,
    firmware,
    phone,
    psutil_there,
    python_version,
    runtimes,
    secrets,
    service,
    storage,
    supply,
    unknown_facts,
)
from fitment_agent.doctor.finding import Finding, Level, fail, ok
from fitment_agent.doctor.patient import Check, Patient
from fitment_agent.errors import AgentError, FactsFileError, SettingsError
from fitment_agent.install.machine import Machine
from fitment_agent.probe import make_probe
from fitment_agent.screens import Screen, table
from fitment_agent.settings import Settings, default_state_dir, load_settings
from fitment_contract.base import utc_now

_OF_THE_MACHINE: Final[tuple[Check, ...]] = (
    python_version.check,
    runtimes.check,
    psutil_there.check,
    clock.check,
    supply.check,
    firmware.check,
    phone.check,
    unknown_facts.check,
)
_OF_THE_SETTINGS: Final[tuple[Check, ...]] = (
    secrets.check,
    storage.check,
    broker.check,
    artifacts.check,
    doubles.check,
    service.check,
)


def examine(flags: Mapping[str, Any], config_file: Path | None = None) -> list[Finding]:
    """Everything that can be found out, whatever is broken.

    Args:
        flags: settings that were given to the doctor itself, by name.
        config_file: read instead of the standard ones.
    """
    try:
        settings = load_settings(flags, config_file=config_file)
        patient = _patient(settings)
    except (SettingsError, FactsFileError) as error:
        prefix = Path(flags.get("root_prefix") or "/")
        settings = Settings("unknown", default_state_dir(), root_prefix=prefix)
        wrong = fail("settings", error.detail, error.next_step)
        return [wrong, *run_checks(_OF_THE_MACHINE, _patient(settings))]
    told = ok("settings", f"device {settings.device_id}, broker {settings.broker_url}")
    return [told, *run_checks((*_OF_THE_MACHINE, *_OF_THE_SETTINGS), patient)]


def run_checks(checks: Sequence[Check], patient: Patient) -> list[Finding]:
    """All findings; a check that breaks is one of them, and does not cost the others."""
    findings: list[Finding] = []
    for check in checks:
        try:
            findings += check(patient)
        except AgentError as error:
            findings.append(fail(_name_of(check), error.detail, error.next_step))
        except Exception as error:  # noqa: BLE001 - a doctor sees the machines that are broken
            what = f"this could not be looked at: {type(error).__name__}: {error}"
            findings.append(fail(_name_of(check), what, "report this as a bug of Fitment"))
    return findings


def findings_screen(findings: Sequence[Finding]) -> Screen:
    """What was found, as one object."""
    return {
        "healthy": all(finding.level is not Level.FAIL for finding in findings),
        "findings": [
            {
                "name": finding.name,
                "level": finding.level.value,
                "what": finding.what,
                "fix": finding.fix,
            }
            for finding in findings
        ],
    }


def findings_text(screen: Screen) -> str:
    """One line for each finding, and one below for what mends it."""
    rows = []
    for finding in screen["findings"]:
        rows.append((finding["level"], finding["name"], finding["what"]))
        if finding["fix"]:
            rows.append(("", "", f"-> {finding['fix']}"))
    return table(rows)


def _patient(settings: Settings) -> Patient:
    facts = make_probe(settings).facts()
    return Patient(settings, Machine.at(settings.root_prefix), facts, utc_now())


def _name_of(check: Check) -> str:
    return str(getattr(check, "__module__", "check")).rpartition(".")[2]
