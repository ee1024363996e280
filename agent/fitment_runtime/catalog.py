"""Which runtimes there are, known without importing any of them.

The idle daemon asks for names and versions only; a child process imports a runtime when it needs
to know more. A runtime is one line in `_CATALOG` and one file under `runtimes/`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module, metadata
from typing import Final

from fitment_contract.device import RuntimeFacts
from fitment_runtime.errors import RuntimeFailure, RuntimeMissing, UnsupportedFormat
from fitment_runtime.session import Runtime

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Entry:
    """A known runtime.

    Attributes:
        distributions: packages that provide it, the preferred one first.
        extra: the extra of this distribution that installs it.
        module: where its class lives, as `module:class`.
    """

    name: str
    formats: tuple[str, ...]
    distributions: tuple[str, ...]
    extra: str
    module: str

    def installed_version(self) -> str | None:
        for distribution in self.distributions:
            try:
                return metadata.version(distribution)
            except metadata.PackageNotFoundError:
                continue
        return None

    def build(self) -> Runtime:
        module, _, name = self.module.partition(":")
        runtime: Runtime = getattr(import_module(module), name)()
        return runtime


_CATALOG: Final = (
    _Entry(
        name="onnxruntime",
        formats=("onnx",),
        distributions=("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino"),
        extra="onnx",
        module="fitment_runtime.runtimes.onnx:OnnxRuntime",
    ),
    _Entry(
        name="litert",
        formats=("tflite",),
        distributions=("ai-edge-litert", "tflite-runtime"),
        extra="tflite",
        module="fitment_runtime.runtimes.litert:LiteRtRuntime",
    ),
)


def installed_runtimes() -> tuple[RuntimeFacts, ...]:
    """Names and versions of what is installed; imports no runtime, so it knows no providers."""
    return tuple(
        RuntimeFacts(name=entry.name, version=version, formats=entry.formats)
        for entry, version in _installed()
    )


def described_runtimes() -> tuple[RuntimeFacts, ...]:
    """What every installed runtime can do here. Imports them all: for child processes.

    A runtime that is installed and cannot be imported (a wheel for another CPU or libc) is left
    out, with a warning in the log: the device cannot run anything with it.
    """
    described = []
    for entry, version in _installed():
        try:
            described.append(entry.build().describe(version))
        except (RuntimeFailure, ImportError, OSError) as error:
            _log.warning("%s %s is installed but unusable: %s", entry.name, version, error)
    return tuple(described)


def find_runtime(name: str) -> Runtime:
    """The runtime called `name`.

    Raises:
        UnsupportedFormat: no runtime of that name is known.
        RuntimeMissing: it is known and not installed.
    """
    for entry in _CATALOG:
        if entry.name == name:
            return _build_installed(entry)
    known = ", ".join(entry.name for entry in _CATALOG)
    raise UnsupportedFormat(f"no runtime is called {name!r}; known runtimes: {known}")


def runtime_for_format(format: str) -> Runtime:
    """The runtime that reads files of `format`.

    Raises:
        UnsupportedFormat: no known runtime reads it.
        RuntimeMissing: the one that does is not installed.
    """
    for entry in _CATALOG:
        if format in entry.formats:
            return _build_installed(entry)
    known = ", ".join(format for entry in _CATALOG for format in entry.formats)
    raise UnsupportedFormat(f"no runtime reads the format {format!r}; known formats: {known}")


def _installed() -> Iterator[tuple[_Entry, str]]:
    for entry in _CATALOG:
        version = entry.installed_version()
        if version is not None:
            yield entry, version


def _build_installed(entry: _Entry) -> Runtime:
    if entry.installed_version() is None:
        raise RuntimeMissing(f"{entry.name} is not installed: pip install 'fitment[{entry.extra}]'")
    return entry.build()
