"""Load, run, score and time one model, the same way on the build host and on a device.

The benchmark protocol lives here and nowhere else, so that a number from the build host and a
number from a device differ only by the machine. Importing this package imports neither numpy nor
an inference runtime; the modules that need them do so themselves.
"""

import os

# onnxruntime sends telemetry unless it is told not to before it is imported, and leaves a device
# identity in the home for that. A fleet's devices tell nobody but their headquarters.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
