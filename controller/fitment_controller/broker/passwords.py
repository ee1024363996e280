"""Passwords for Mosquitto, hashed here so that none is ever on a command line."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

_ITERATIONS = 20_000
_SALT_BYTES = 12


def hash_password(password: str, salt: bytes | None = None) -> str:
    """The password as `$7$`, Mosquitto's name for PBKDF2 with HMAC-SHA-512."""
    salt = os.urandom(_SALT_BYTES) if salt is None else salt
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _ITERATIONS)
    encoded = (base64.b64encode(part).decode() for part in (salt, digest))
    return f"$7${_ITERATIONS}$" + "$".join(encoded)


def write_password_file(path: Path, passwords: Mapping[str, str]) -> None:
    """Writes a Mosquitto password file that only its owner can read."""
    lines = [f"{user}:{hash_password(password)}\n" for user, password in passwords.items()]
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        os.fchmod(file.fileno(), 0o600)
        file.writelines(lines)
