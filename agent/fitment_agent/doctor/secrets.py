"""Can the files with secrets be read, and by nobody else?"""

from __future__ import annotations

import os
import shlex
import stat
from pathlib import Path

from fitment_agent.doctor.finding import Finding, fail, ok, warn
from fitment_agent.doctor.patient import Patient

_OTHERS = stat.S_IROTH | stat.S_IWOTH | stat.S_IWGRP


def check(patient: Patient) -> list[Finding]:
    """One finding for each file that the settings name."""
    settings = patient.settings
    named = {
        "password file": settings.password_file,
        "artifact token file": settings.artifact_token_file,
        "CA file": settings.ca_file,
    }
    return [
        _judge(patient, name, path, secret=name != "CA file")
        for name, path in named.items()
        if path
    ]


def _judge(patient: Patient, name: str, path: Path, *, secret: bool) -> Finding:
    quoted = shlex.quote(str(path))
    flag = f"--{name.replace(' ', '-').lower()}"
    try:
        mode = path.stat().st_mode
        content = path.read_bytes()
    except PermissionError:
        return _unreadable(patient, name, path)
    except OSError as error:
        reason = f"{path} cannot be read: {error.strerror}"
        return fail(name, reason, f"{patient.install} {flag} FILE, with a file that is there")
    if not content.strip():
        return fail(name, f"{path} is empty", f"{patient.install} {flag} FILE")
    if secret and mode & _OTHERS:
        return warn(name, f"{path} may be read or changed by others", f"chmod o-rwx,g-w {quoted}")
    return ok(name, str(path))


def _unreadable(patient: Patient, name: str, path: Path) -> Finding:
    """A secret of the service is no business of the person who runs the doctor."""
    if os.access(path.parent, os.X_OK) and path.exists() and path.parent == Path("/etc/fitment"):
        return ok(name, f"{path} is for the service alone", patient.doctor)
    return fail(name, f"{path} cannot be read by this user", f"sudo chmod g+r {path}")
