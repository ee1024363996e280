"""Profile files in, checked records out; every fault with its file, its line and its cure.

Built-in profiles ship with the package. A directory of the user's own adds to them; a profile of
the same kind and name replaces the built-in one whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from fitment_controller.errors import ProfileError
from fitment_controller.profiles.kinds import (
    KINDS,
    UNASSIGNED,
    DeviceClass,
    Objective,
    ProfileKind,
    Region,
)
from fitment_controller.profiles.lookup import Profiles, suggest
from fitment_controller.profiles.schemas import keys_at
from fitment_controller.profiles.yaml_lines import LinedYaml, YamlProblem, load_lined

MAX_PROFILE_BYTES = 256 * 1024


@dataclass(frozen=True)
class ProfileProblem:
    """One fault in one file.

    Attributes:
        line: counted from 1.
        what: the fault.
        fix: what would be right.
    """

    path: Path
    line: int
    what: str
    fix: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}; {self.fix}"


def builtin_directory() -> Path:
    """Where the shipped profiles are: inside an installed package, else in the checkout."""
    here = Path(__file__).resolve()
    packaged = here.parents[1] / "_profiles"
    return packaged if packaged.is_dir() else here.parents[3] / "profiles"


def load_profiles(user_directory: Path | None = None) -> Profiles:
    """The built-in profiles with the user's own laid over them.

    Raises:
        ProfileError: with every fault of every file.
    """
    chosen: _Layer = {}
    problems: list[ProfileProblem] = []
    for directory in (builtin_directory(), user_directory):
        if directory is not None:
            layer, faults = _load_layer([directory])
            chosen.update(layer)
            problems += faults
    problems += _dangling(chosen, chosen)
    if problems:
        raise ProfileError([str(problem) for problem in problems])
    records = [record for _, record in chosen.values()]
    classes = [record for record in records if isinstance(record, DeviceClass)]
    return Profiles(
        classes=tuple(sorted(classes, key=lambda item: (-item.priority, item.name))),
        regions={record.name: record for record in records if isinstance(record, Region)},
        objectives={record.name: record for record in records if isinstance(record, Objective)},
        sources={key: path for key, (path, _) in chosen.items()},
    )


def validate(paths: Sequence[Path]) -> list[ProfileProblem]:
    """Every fault in these files, and in the YAML files below these directories.

    A region may name an objective from the same files or a built-in one.
    """
    found, problems = _load_layer(paths)
    builtin, _ = _load_layer([builtin_directory()])
    return problems + _dangling(found, {**builtin, **found})


_Layer = dict[tuple[str, str], tuple[Path, ProfileKind]]
"""By kind and name: the file and what it says."""


def _dangling(layer: _Layer, known: _Layer) -> list[ProfileProblem]:
    """Regions whose objective does not exist."""
    objectives = [name for kind, name in known if kind == "Objective"]
    return [
        ProfileProblem(
            path,
            load_lined(path.read_text(encoding="utf-8")).line(["objective"]),
            f"no objective is called {region.objective!r}",
            suggest(region.objective, objectives),
        )
        for path, region in layer.values()
        if isinstance(region, Region)
        and region.objective is not None
        and region.objective not in objectives
    ]


def _load_layer(paths: Sequence[Path]) -> tuple[_Layer, list[ProfileProblem]]:
    found: _Layer = {}
    problems: list[ProfileProblem] = []
    for path in _files(paths):
        record = _read(path, problems)
        if record is None:
            continue
        key = (record.kind, record.name)
        if key in found:
            problems.append(
                ProfileProblem(
                    path,
                    1,
                    f"{record.kind} {record.name!r} is also in {found[key][0]}",
                    "give one of them another name",
                )
            )
        found[key] = (path, record)
    return found, problems


def _files(paths: Iterable[Path]) -> list[Path]:
    files: list[Path] = []
    for path in paths:
        files += sorted([*path.rglob("*.yaml"), *path.rglob("*.yml")]) if path.is_dir() else [path]
    return files


def _read(path: Path, problems: list[ProfileProblem]) -> ProfileKind | None:
    """The record in one file, or None with its problems added."""
    try:
        if path.stat().st_size > MAX_PROFILE_BYTES:
            raise YamlProblem(1, f"larger than {MAX_PROFILE_BYTES} bytes")
        document = load_lined(path.read_text(encoding="utf-8"))
    except OSError as error:
        cause = error.strerror or "unknown error"
        problems.append(ProfileProblem(path, 1, f"cannot be read: {cause}", "check the path"))
        return None
    except UnicodeDecodeError:
        problems.append(ProfileProblem(path, 1, "not UTF-8 text", "save it as UTF-8"))
        return None
    except YamlProblem as error:
        problems.append(ProfileProblem(path, error.line, error.what, "mend the YAML"))
        return None
    kind = document.data.get("kind") if isinstance(document.data, dict) else None
    model = KINDS.get(kind) if isinstance(kind, str) else None
    if model is None:
        what = f"unknown kind {kind!r}" if kind is not None else "no `kind`"
        fix = suggest(str(kind), KINDS) if kind is not None else f"add one of {', '.join(KINDS)}"
        problems.append(ProfileProblem(path, document.line(["kind"]), what, fix))
        return None
    try:
        record = model.model_validate(document.data)
    except ValidationError as error:
        problems += [_explain(path, document, model, fault) for fault in error.errors()]
        return None
    if record.name == UNASSIGNED.name and isinstance(record, Region):
        problems.append(
            ProfileProblem(
                path, document.line(["name"]), "the name is taken", "choose another name"
            )
        )
        return None
    return record


def _explain(
    path: Path,
    document: LinedYaml,
    model: type[DeviceClass] | type[Region] | type[Objective],
    fault: ErrorDetails,
) -> ProfileProblem:
    """What a validation error means to the person who wrote the file."""
    location = fault["loc"]
    line = document.line(location)
    where = ".".join(str(step) for step in location)
    if fault["type"] == "extra_forbidden":
        allowed = keys_at(model, location[:-1])
        return ProfileProblem(
            path, line, f"unknown key {str(location[-1])!r}", suggest(str(location[-1]), allowed)
        )
    if fault["type"] == "missing":
        return ProfileProblem(path, line, f"{where} is missing", f"add `{location[-1]}:`")
    return ProfileProblem(path, line, f"{where} is {_shown(fault['input'])}", _wanted(fault))


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _wanted(fault: ErrorDetails) -> str:
    message = fault["msg"]
    return message[:1].lower() + message[1:]
