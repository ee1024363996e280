"""Device classes, regions and objectives: what they may say, how they are read and looked up."""

from fitment_controller.profiles.files import (
    ProfileProblem,
    builtin_directory,
    load_profiles,
    validate,
)
from fitment_controller.profiles.lookup import Profiles

__all__ = ["ProfileProblem", "Profiles", "builtin_directory", "load_profiles", "validate"]
