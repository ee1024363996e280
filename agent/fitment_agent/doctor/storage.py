"""Can the state be written, and is there room for a model?"""

from __future__ import annotations

import errno
import os
import shlex
import shutil
import tempfile
from pathlib import Path

from fitment_agent.doctor.finding import Finding, fail, ok, warn
from fitment_agent.doctor.patient import Patient
from fitment_agent.install.systemd import STATE

_FOLDER = "state folder"
_COMFORTABLE_BYTES = 256 * 1024 * 1024
_MEBIBYTE = 1024 * 1024


def check(patient: Patient) -> list[Finding]:
    """The folder, who owns what is in it, and the room beside it."""
    folder = patient.settings.state_dir
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    return [_writable(patient, folder, existing), _room(existing, patient.settings.reserve_bytes)]


def _writable(patient: Patient, folder: Path, existing: Path) -> Finding:
    strangers = _strangers(folder)
    if strangers:
        names = ", ".join(strangers[:3])
        fix = f"sudo chown -R --reference={shlex.quote(str(folder))} {shlex.quote(str(folder))}"
        return fail(_FOLDER, f"{folder} holds files of another user: {names}", fix)
    try:
        with tempfile.NamedTemporaryFile(dir=existing, prefix=".fitment-doctor-") as file:
            file.write(b"x")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return _refused(patient, folder, existing, error)
    return ok(_FOLDER, str(folder) if folder.exists() else f"{folder}, made at the first start")


def _refused(patient: Patient, folder: Path, existing: Path, error: OSError) -> Finding:
    quoted = shlex.quote(str(folder))
    if error.errno == errno.EROFS:
        fix = "dmesg | tail: a card that fails is made read-only; else sudo mount -o remount,rw /"
        return fail(_FOLDER, f"{existing} is on a read-only file system", fix)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return fail(
            _FOLDER, f"{existing} is full", f"make room: du -xh {existing} | sort -h | tail"
        )
    if isinstance(error, PermissionError) and str(folder) == STATE:
        what = f"{folder} is the service's; this user may only read it"
        return ok(_FOLDER, what, patient.doctor)
    if isinstance(error, PermissionError):
        fix = f"sudo install -d -o $(id -un) {quoted}, or name another with --state-dir"
        return fail(_FOLDER, f"{existing} may not be written by this user", fix)
    return fail(_FOLDER, f"{existing}: {error.strerror}", f"ls -ld {existing}")


def _strangers(folder: Path) -> list[str]:
    """What somebody else left there, mostly root, who ran the agent by hand once."""
    try:
        owner = folder.stat().st_uid
        return sorted(path.name for path in folder.iterdir() if path.lstat().st_uid != owner)
    except OSError:
        return []


def _room(existing: Path, reserve_bytes: int) -> Finding:
    name = "disk"
    free = shutil.disk_usage(existing).free
    text = f"{free // _MEBIBYTE} MiB free at {existing}"
    fix = f"make room: du -xh {shlex.quote(str(existing))} | sort -h | tail"
    if free <= reserve_bytes:
        keep = f"{reserve_bytes // _MEBIBYTE} MiB"
        return fail(name, f"{text}; transfers keep {keep} free, so none begins", fix)
    if free < _COMFORTABLE_BYTES:
        return warn(name, f"{text}, which is little for a model and the one before", fix)
    return ok(name, text)
