"""What can go wrong with the converter's environment."""

from __future__ import annotations

from fitment_compress.errors import CompressError


class ConverterError(CompressError):
    """The converter is not installed, cannot be installed, or is not what this version expects."""
