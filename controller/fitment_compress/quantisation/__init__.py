"""What the 8-bit techniques share: placement, calibration, the quantiser itself, sensitivity."""
