"""`python -m fitment_controller.profiles` writes the JSON Schemas beside the built-in profiles."""

from fitment_controller.profiles import builtin_directory
from fitment_controller.profiles.schemas import write_schemas

write_schemas(builtin_directory() / "schemas")
