"""What the host must have before it can run ARM programs, and how it gets there."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

_BINFMT: Final = Path("/proc/sys/fs/binfmt_misc")
_ROOT_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PACKAGES: Final = {
    "qemu-aarch64-static": "qemu-user-static",
    "qemu-system-aarch64": "qemu-system-arm",
    "update-binfmts": "binfmt-support",
    "mmdebstrap": "mmdebstrap",
    "arch-test": "arch-test",
    "bwrap": "bubblewrap",
    "mke2fs": "e2fsprogs",
}
_TOLD_LINES: Final = 3
INTERPRETERS: Final = ("qemu-aarch64", "qemu-arm")


class UnavailableError(Exception):
    """This host cannot emulate ARM devices; the message says why, in one sentence."""


def prepare() -> None:
    """Install what is missing and register the emulators; does nothing the second time.

    Raises:
        UnavailableError: it cannot be done here.
    """
    if platform.machine() != "x86_64":
        raise UnavailableError(f"the host is {platform.machine()}; this needs x86-64")
    if os.geteuid() != 0:
        raise UnavailableError("registering emulators and building root file systems needs root")
    debian_mirror()
    _install(sorted({package for command, package in _PACKAGES.items() if not _find(command)}))
    _register()


def run(command: Sequence[str | Path], what: str) -> str:
    """Run a command of the set-up and give its output back.

    Raises:
        UnavailableError: it failed; the message names `what` and quotes its last lines.
    """
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": _path(), "DEBIAN_FRONTEND": "noninteractive"},
    )
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no output"]
        told = "; ".join(line.strip() for line in lines[-_TOLD_LINES:])
        raise UnavailableError(f"{what} failed: {told}")
    return done.stdout


def debian_mirror() -> str:
    """The Debian archive that this host is configured with.

    Raises:
        UnavailableError: its sources name none.
    """
    folder = Path("/etc/apt")
    files = [*sorted(folder.glob("sources.list.d/*.sources")), folder / "sources.list"]
    files += sorted(folder.glob("sources.list.d/*.list"))
    for file in files:
        for line in file.read_text().splitlines() if file.is_file() else ():
            words = line.split()
            if words and words[0] in ("URIs:", "deb"):
                for word in words[1:]:
                    if "://" in word and word.rstrip("/").endswith("/debian"):
                        return word
    raise UnavailableError("the host's apt sources name no Debian archive")


def _install(packages: Sequence[str]) -> None:
    if not packages:
        return
    if not _find("apt-get"):
        raise UnavailableError(f"{', '.join(packages)} are missing, and there is no apt-get")
    run(["apt-get", "update", "-qq"], "apt-get update")
    options = ["-y", "-qq", "--no-install-recommends"]
    run(["apt-get", "install", *options, *packages], f"installing {' '.join(packages)}")


def _register() -> None:
    if not (_BINFMT / "register").exists():
        mount = ["mount", "-t", "binfmt_misc", "binfmt_misc", _BINFMT]
        run(mount, "mounting binfmt_misc")
    for name in INTERPRETERS:
        entry = _BINFMT / name
        if not entry.exists():
            run(["update-binfmts", "--enable", name], f"registering {name}")
        # F: the kernel holds the emulator open, so that it is found inside other roots too.
        flags = entry.read_text() if entry.exists() else ""
        if not any(line.startswith("flags:") and "F" in line for line in flags.splitlines()):
            raise UnavailableError(f"{name} is not registered with the flag F")


def _find(command: str) -> str | None:
    return shutil.which(command, path=_path())


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:{_ROOT_PATH}"
