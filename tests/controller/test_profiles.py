"""Profile files: the shipped ones are right, and a wrong one says where and what would be right."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from fitment_contract.messages import DeployConditions, WaitReason, Weekday, Window
from fitment_controller.errors import NotFoundError, ProfileError
from fitment_controller.profiles import builtin_directory, load_profiles, validate
from fitment_controller.profiles.kinds import KINDS, MaxDefer
from fitment_controller.profiles.schemas import SCHEMA_FILES, schema

GOOD_REGION = """\
apiVersion: fitment/v1
kind: Region
name: moon
title: The Moon
link:
  downlink_bytes_per_second: 1000
  metered: true
deny:
  - traits: [dynamic]
    reason: no air to cool with
"""


def shipped_files() -> list[Path]:
    return sorted(builtin_directory().rglob("*.yaml"))


def problems_of(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "moon.yaml"
    path.write_text(text, encoding="utf-8")
    return [str(problem).removeprefix(f"{path}:") for problem in validate([path])]


def test_shipped_profiles_are_valid_and_complete() -> None:
    profiles = load_profiles()
    assert {item.name for item in profiles.classes} == {
        "pi-zero-2",
        "pi-3",
        "pi-4",
        "pi-5",
        "jetson-nano",
        "jetson-orin",
        "android-arm64",
        "x86-vnni",
        "x86-avx2",
        "generic",
    }
    assert profiles.classes[-1].name == "generic"
    assert set(profiles.regions) == {"eu-west", "south-asia", "east-africa"}
    assert set(profiles.objectives) == {"balanced", "fastest", "frugal"}


@pytest.mark.parametrize("path", shipped_files(), ids=lambda path: path.stem)
def test_shipped_files_name_their_schema_and_follow_it(path: Path) -> None:
    """An editor checks against the published schema what the loader checks with its own."""
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("# yaml-language-server: $schema=")
    published = json.loads((path.parent / first.partition("=")[2]).read_text(encoding="utf-8"))
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    jsonschema.Draft7Validator.check_schema(published)
    jsonschema.Draft7Validator(published).validate(data)
    assert data["name"] == path.stem


@pytest.mark.parametrize("kind", KINDS)
def test_published_schemas_are_up_to_date(kind: str) -> None:
    """Mend with: python -m fitment_controller.profiles.schemas."""
    path = builtin_directory() / "schemas" / SCHEMA_FILES[kind]
    assert json.loads(path.read_text(encoding="utf-8")) == schema(KINDS[kind])


def test_a_good_file_has_no_problems(tmp_path: Path) -> None:
    assert problems_of(tmp_path, GOOD_REGION) == []


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("  metered: true", "  meterd: true", "7: unknown key 'meterd'; did you mean 'metered'?"),
        ("kind: Region", "kind: Regoin", "2: unknown kind 'Regoin'; did you mean 'Region'?"),
        ("name: moon\n", "", "1: name is missing; add `name:`"),
        ("second: 1000", "second: -5", "6: link.downlink_bytes_per_second is -5; input should"),
        ("second: 1000", "second: fast", "6: link.downlink_bytes_per_second is 'fast'; input"),
        ("    reason: no air to cool with\n", "", "9: deny.0.reason is missing; add `reason:`"),
        ("traits: [dynamic]", "trait: [dynamic]", "9: unknown key 'trait'; did you mean 'traits'?"),
        ("title: The Moon", "title: [", "6: not YAML:"),
        ("title: The Moon", "name: sun", "4: key 'name' stands here twice; mend the YAML"),
        ("name: moon", "name: unassigned", "3: the name is taken; choose another name"),
        ("v1\n", "v2\n", "1: apiVersion is 'fitment/v2'; input should be 'fitment/v1'"),
    ],
)
def test_a_fault_has_its_line_and_its_cure(
    tmp_path: Path, old: str, new: str, expected: str
) -> None:
    assert old in GOOD_REGION
    found = problems_of(tmp_path, GOOD_REGION.replace(old, new))
    assert len(found) == 1
    assert found[0].startswith(expected)


NIGHTS = """
conditions:
  max_bytes_per_day: 4000000
  quiet_in_foreground: true
  windows:
    - start: 22:00
      end: 5:30
      days: [mon, sun]
  max_defer_seconds: 86400
  max_defer:
    window_seconds: 604800
"""


def test_what_devices_wait_for_reaches_their_assignments(tmp_path: Path) -> None:
    nights = GOOD_REGION + NIGHTS.replace("5:30", "05:30")
    (tmp_path / "moon.yaml").write_text(nights, encoding="utf-8")
    conditions = load_profiles(tmp_path).region("moon").conditions.as_conditions()
    assert conditions == DeployConditions(
        max_bytes_per_day=4_000_000,
        quiet_in_foreground=True,
        windows=(Window(start="22:00", end="05:30", days=(Weekday.MONDAY, Weekday.SUNDAY)),),
        max_defer_seconds=86_400,
        max_defer={WaitReason.WINDOW: 604_800.0},
    )


def test_every_condition_may_have_its_own_patience() -> None:
    patience = MaxDefer(**dict.fromkeys(MaxDefer.model_fields, 60.0))
    assert set(patience.by_reason()) == set(WaitReason) - {WaitReason.RETRY}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("5:30", "5:30", "17: conditions.windows.0.end is '5:30'; string should match"),
        ("5:30", "24:00", "17: conditions.windows.0.end is '24:00'; string should match"),
        ("5:30", "530", "17: conditions.windows.0.end is 530; input should be a valid string"),
        ("[mon, sun]", "[monday]", "18: conditions.windows.0.days.0 is 'monday'; input should be"),
        ("window_seconds", "retry_seconds", "21: unknown key 'retry_seconds'"),
        ("4000000", "0", "13: conditions.max_bytes_per_day is 0; input should be greater than 0"),
    ],
)
def test_a_fault_in_the_conditions_has_its_line(
    tmp_path: Path, old: str, new: str, expected: str
) -> None:
    nights = NIGHTS.replace(old, new)
    if old != "5:30":
        nights = nights.replace("5:30", "05:30")
    (problem,) = problems_of(tmp_path, GOOD_REGION + nights)
    assert problem.startswith(expected)


@pytest.mark.parametrize("text", ["", "[]", "just words", "42"])
def test_something_else_than_a_profile_is_named_as_such(tmp_path: Path, text: str) -> None:
    (problem,) = problems_of(tmp_path, text)
    assert problem.startswith("1: no `kind`; add one of DeviceClass, Region, Objective")


def test_files_that_cannot_be_read_are_problems(tmp_path: Path) -> None:
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    found = [str(problem) for problem in validate([binary, tmp_path / "gone.yaml"])]
    assert "not UTF-8" in found[0]
    assert "cannot be read: No such file" in found[1]


def test_two_files_of_one_name_are_a_problem(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(GOOD_REGION, encoding="utf-8")
    (tmp_path / "b.yaml").write_text(GOOD_REGION, encoding="utf-8")
    (problem,) = validate([tmp_path])
    assert "is also in" in problem.what


def test_a_user_s_profile_replaces_the_built_in_one(tmp_path: Path) -> None:
    path = tmp_path / "eu.yaml"
    path.write_text(GOOD_REGION.replace("moon", "eu-west"), encoding="utf-8")
    profiles = load_profiles(tmp_path)
    assert profiles.region("eu-west").title == "The Moon"
    assert profiles.sources["Region", "eu-west"] == path
    assert set(profiles.regions) == {"eu-west", "south-asia", "east-africa"}


def test_loading_a_wrong_file_names_every_problem(tmp_path: Path) -> None:
    path = tmp_path / "moon.yaml"
    path.write_text(GOOD_REGION + "oxygen: none\nwater: some\n", encoding="utf-8")
    with pytest.raises(ProfileError) as caught:
        load_profiles(tmp_path)
    assert [problem.split(":")[1] for problem in caught.value.problems] == ["11", "12"]


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(NotFoundError, match="Did you mean 'eu-west'"):
        load_profiles().region("eu-wst")


def test_a_region_that_names_an_unknown_objective_is_a_problem(tmp_path: Path) -> None:
    path = tmp_path / "moon.yaml"
    path.write_text(GOOD_REGION + "objective: frugl\n", encoding="utf-8")
    (problem,) = validate([path])
    line = GOOD_REGION.count("\n") + 1
    assert str(problem) == (
        f"{path}:{line}: no objective is called 'frugl'; did you mean 'frugal'?"
    )
    with pytest.raises(ProfileError, match="frugl"):
        load_profiles(tmp_path)
