"""Root file systems of Debian for other processors, unpacked and never configured.

Maintainer scripts would run under emulation and take minutes. Unpacking takes seconds, and what
the scripts would have done for the agent is the few files written here.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from tools.arm.host import debian_mirror, run

SUITE: Final = "bookworm"
PYTHON: Final = "3.11"
"""The Python of that suite; tflite-runtime has armv7l wheels for this one and none later."""

_BASE: Final = (
    "base-files",
    "base-passwd",
    "bash",
    "coreutils",
    "dash",
    "libc-bin",
    "libgcc-s1",
    "libstdc++6",  # numpy and onnxruntime load it
    "python3",
    "util-linux",
)
_MACHINE: Final = ("busybox-static", "linux-image-cloud-arm64")
"""What the arm64 root has besides, for the virtual machine."""
_EXTRA: Final = {
    "arm64": _MACHINE,
    "armhf": ("libblas3", "liblapack3", "python3-numpy"),  # there are no armv7l wheels of numpy
}
_FOLDERS: Final = ("dev", "proc", "root", "run", "site", "state", "sys", "tmp")


def build_root(architecture: str, cache: Path) -> Path:
    """The root for `arm64` or `armhf`, out of `cache` when it is there already.

    Raises:
        UnavailableError: Debian's archive cannot be reached or used.
    """
    packages = (*_BASE, *_EXTRA[architecture])
    key = hashlib.sha256(" ".join((SUITE, *packages)).encode()).hexdigest()[:8]
    root = cache / f"root-{architecture}-{key}"
    if root.is_dir():
        return root
    unfinished = root.with_suffix(".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    options = ["--quiet", f"--architectures={architecture}", "--variant=extract"]
    include = f"--include={','.join(packages)}"
    command = ["mmdebstrap", *options, include, SUITE, unfinished, debian_mirror()]
    run(command, f"unpacking Debian {SUITE} for {architecture}")
    _configure(unfinished, architecture)
    unfinished.rename(root)
    return root


def compile_python(folder: Path) -> None:
    """Leave bytecode beside the modules in `folder`, which no device has to make then.

    Bytecode is the same on every processor. A host without the devices' version of Python leaves
    none: they start several times slower, and work.
    """
    same = sys.version_info[:2] == tuple(map(int, PYTHON.split(".")))
    python = sys.executable if same else shutil.which(f"python{PYTHON}")
    if python is not None:
        # Some packages bring files that do not compile and are never imported.
        options = ["-q", "-q", "-j", "0", "--invalidation-mode", "unchecked-hash"]
        subprocess.run([python, "-m", "compileall", *options, folder], check=False)


def _configure(root: Path, architecture: str) -> None:
    """What the maintainer scripts would have done, as far as the agent needs it."""
    masters = root / "usr/share/base-passwd"
    shutil.copy(masters / "passwd.master", root / "etc/passwd")
    shutil.copy(masters / "group.master", root / "etc/group")
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n")
    if architecture == "armhf":  # alternatives of the linear algebra that numpy calls
        libraries = root / "usr/lib/arm-linux-gnueabihf"
        for folder, name in (("blas", "libblas.so.3"), ("lapack", "liblapack.so.3")):
            (libraries / name).symlink_to(f"{folder}/{name}")
    for name in _FOLDERS:
        (root / name).mkdir(exist_ok=True)
    compile_python(root / "usr/lib")
