"""Say which package or data set an example misses, and the command that brings it."""

from importlib.util import find_spec

INSTALL = {
    "numpy": "pip install numpy",
    "onnx": "pip install onnx",
    "onnxruntime": "pip install onnxruntime",
    "seglearn": "pip install --no-deps seglearn==1.2.5",
    "torch": "pip install torch==2.13.0",
    "dataset-fashion-mnist": "apt-get install dataset-fashion-mnist",
}


class MissingRequirementError(Exception):
    """Something an example needs is not on this machine."""

    def __init__(self, name: str, why: str) -> None:
        """Name what is missing, why it is needed, and the command that installs it."""
        super().__init__(f"{why}\nInstall it with: {INSTALL[name]}")
        self.name = name


def require(*modules: str) -> None:
    """Check that modules can be imported, without importing them; name the first that cannot."""
    for module in modules:
        if find_spec(module) is None:
            raise MissingRequirementError(module, f"The Python package {module!r} is missing.")
