"""One emulated device: a root, a site, a board, and a folder for its state."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tools.arm.boards import Board, dress
from tools.arm.packages import build_site
from tools.arm.roots import build_root

STATE: Final = "/state"
"""Where the device sees its state folder."""


@dataclass(frozen=True)
class System:
    """What devices of one architecture share: a root file system and Python packages."""

    root: Path
    site: Path


def build_system(architecture: str, wheel: Path, cache: Path) -> System:
    """The system for `arm64` or `armhf`, with the agent of `wheel` installed.

    Raises:
        UnavailableError: Debian's archive or the packages cannot be had.
    """
    root = build_root(architecture, cache)
    return System(root, build_site(architecture, wheel, cache))


@dataclass(frozen=True)
class Device:
    """What `bwrap` puts together: the host's kernel and network, everything else the board's.

    Attributes:
        board: which kind it is.
        system: what it runs.
        dressed: the board's /proc files and /sys.
        state: writable on the host and on the device.
    """

    board: Board
    system: System
    dressed: Path
    state: Path

    def command(self, *arguments: str) -> list[str]:
        """The host's command line that runs `arguments` on the device.

        Process numbers and the host name are the device's own. When the command dies, so does
        everything on the device.
        """
        places = [
            *("--ro-bind", str(self.system.root), "/", "--proc", "/proc", "--dev", "/dev"),
            *("--ro-bind", str(self.dressed / "cpuinfo"), "/proc/cpuinfo"),
            *("--ro-bind", str(self.dressed / "meminfo"), "/proc/meminfo"),
            *("--ro-bind", str(self.dressed / "sys"), "/sys"),
            *("--ro-bind", str(self.system.site), "/site", "--bind", str(self.state), STATE),
            *("--tmpfs", "/tmp", "--tmpfs", "/run"),
        ]
        isolation = ["--unshare-pid", "--unshare-uts", "--hostname", self.board.name]
        inside = ["/usr/bin/env", "-i", *self._environment(), *arguments]
        return ["bwrap", *places, *isolation, "--die-with-parent", "--", *inside]

    def command_beside(self, pid: int, *arguments: str) -> list[str]:
        """The host's command line that runs `arguments` where the command `pid` runs already.

        Raises:
            OSError: that command has ended.
        """
        inner = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0]
        namespaces = ["--mount", "--pid", "--uts", "--root", "--wd"]
        inside = ["/usr/bin/env", "-i", *self._environment(), *arguments]
        return ["nsenter", "--target", inner, *namespaces, "--", *inside]

    def _environment(self) -> list[str]:
        return [
            "PATH=/usr/bin:/bin:/usr/sbin:/sbin",
            "HOME=/root",
            "LC_ALL=C.UTF-8",
            "PYTHONPATH=/site",
            "PYTHONDONTWRITEBYTECODE=1",
            f"QEMU_CPU={self.board.emulated_cpu}",
        ]


AGENT: Final = ("python3", "-m", "fitment_agent")
"""`fitment-agent` on a device: its site holds packages, and no scripts."""


def build_device(board: Board, system: System, folder: Path) -> Device:
    """The device, with nothing in its state yet.

    Args:
        board: what it is.
        system: of its architecture.
        folder: gets the board's files and the state.
    """
    state = folder / "state"
    state.mkdir(parents=True)
    return Device(board=board, system=system, dressed=dress(board, folder / "board"), state=state)
