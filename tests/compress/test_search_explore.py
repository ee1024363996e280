"""The search over a landscape with a known answer: budget, order, failures, interrupts."""

from __future__ import annotations

import signal
import sqlite3
import threading
from _thread import interrupt_main
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from fitment_compress.errors import OutputError, RequestError, TechniqueError
from fitment_compress.recipe import Recipe
from fitment_compress.search.explore import Ending, SearchRequest, SearchResult, search, study_name
from fitment_compress.search.front import Standing
from fitment_compress.search.seam import Evaluation
from fitment_compress.search.space import Space
from support.search_landscape import FACTS, FIXED, Clock, Landscape, stand_ins, step

EPOCHS = (0.5, 2.0, 8.0)
SPACE = Space(FACTS, EPOCHS[0], stand_ins())


@dataclass
class Told:
    """Progress that is kept."""

    lines: list[str] = field(default_factory=list)

    def stage(self, name: str, total: int) -> None:
        self.lines.append(name)

    def step(self, what: str) -> None:
        self.lines.append(what)

    def note(self, text: str) -> None:
        self.lines.append(text)


def request(folder: Path, seconds: float, **changes: object) -> SearchRequest:
    made = SearchRequest(
        study="landscape",
        storage=f"sqlite:///{folder}/study.db",
        budget_seconds=seconds,
        fixed=FIXED,
        epochs=EPOCHS,
        seed=1,
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # its stub knows no keywords


def explored(folder: Path, seconds: float, **changes: object) -> tuple[SearchResult, Landscape]:
    """A search on a clock that only evaluations move."""
    clock = Clock()
    landscape = Landscape(clock=clock, sleep=clock.sleep)
    asked = request(folder, seconds, **changes)
    return search(asked, SPACE, landscape, Told(), clock), landscape


def names(result: SearchResult) -> list[str]:
    return [entry.name for entry in result.results]


def test_fixed_recipes_come_first_and_none_beats_the_front(tmp_path: Path) -> None:
    result, landscape = explored(tmp_path, 400.0)
    fixed = [recipe.name for recipe in FIXED]
    assert landscape.calls[: len(fixed)] == fixed
    assert len(landscape.calls) > 2 * len(fixed)
    assert all(entry.standing is not Standing.NOT_MEASURED for entry in result.fixed)
    assert all(
        entry.standing is Standing.ON_FRONT or entry.by is not None for entry in result.fixed
    )
    assert len(set(landscape.calls)) == len(landscape.calls)


@pytest.mark.parametrize("seconds", [120.0, 600.0])
@pytest.mark.parametrize("jobs", [1, 2])
def test_the_budget_is_kept(tmp_path: Path, seconds: float, jobs: int) -> None:
    result, landscape = explored(tmp_path, seconds, jobs=jobs)
    assert result.ending is Ending.TIME
    assert landscape.given_up == []  # nothing was begun that did not fit
    assert 0.8 * seconds <= result.spent_seconds <= 1.2 * seconds


def test_a_candidate_that_takes_far_longer_than_expected_is_given_up(tmp_path: Path) -> None:
    clock = Clock()
    slow = Landscape(clock=clock, sleep=clock.sleep, pace=20.0)
    result = search(request(tmp_path, 100.0), SPACE, slow, Told(), clock)
    assert result.spent_seconds <= 120.0
    assert names(result)[0] == "fp32"
    assert result.fixed[-1].standing is Standing.NOT_MEASURED


def test_promising_candidates_learn_for_longer_and_others_do_not(tmp_path: Path) -> None:
    result, _ = explored(tmp_path, 900.0)
    rungs = [entry.rung for entry in result.results if entry.rung is not None]
    assert rungs.count(0) > rungs.count(1) > rungs.count(2) > 0


def test_a_failing_technique_costs_one_candidate_and_is_not_tried_again(tmp_path: Path) -> None:
    clock = Clock()
    landscape = Landscape(clock=clock, sleep=clock.sleep, breaks="int8-static")
    told = Told()
    result = search(request(tmp_path, 300.0), SPACE, landscape, told, clock)
    failed = [entry for entry in result.results if entry.failure is not None]
    assert {entry.name for entry in FIXED[1:]} <= {entry.name for entry in failed}
    assert all(entry.failure == "int8-static does not work here." for entry in failed)
    assert any("int8 failed: int8-static does not work here." in line for line in told.lines)
    # The fixed recipe `int8` failed, so nothing else begins with that step.
    assert sum(entry.steps[0].technique == "int8-static" for entry in failed) == 1
    assert len(result.points) > 5


def test_a_baseline_that_fails_is_an_error(tmp_path: Path) -> None:
    class Broken(Landscape):
        def evaluate(self, recipe: Recipe, deadline: float) -> Evaluation:
            raise TechniqueError("broken")

    with pytest.raises(TechniqueError, match="broken"):
        search(request(tmp_path, 10.0), SPACE, Broken(), Told())


def test_a_fault_of_the_evaluator_is_not_hidden(tmp_path: Path) -> None:
    class Faulty(Landscape):
        def evaluate(self, recipe: Recipe, deadline: float) -> Evaluation:
            if recipe.steps:
                raise ZeroDivisionError("a bug")
            return super().evaluate(recipe, deadline)

    with pytest.raises(ZeroDivisionError):
        search(request(tmp_path, 10.0), SPACE, Faulty(pace=0.001), Told())


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C works, also where whoever started the tests in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_ends_with_what_there_is_and_can_be_continued(tmp_path: Path) -> None:
    class Interrupted(Landscape):
        """Somebody presses Ctrl-C while the third candidate is evaluated."""

        def evaluate(self, recipe: Recipe, deadline: float) -> Evaluation:
            if len(self.calls) == 2:
                interrupt_main()
                self.cancelled.wait(20.0)
            return super().evaluate(recipe, deadline)

    asked = request(tmp_path, 60.0)
    result = search(asked, SPACE, Interrupted(pace=0.01), Told())
    assert result.ending is Ending.INTERRUPTED
    assert names(result) == ["fp32", "int8"]
    clock = Clock()
    again = Landscape(clock=clock, sleep=clock.sleep)
    continued = search(asked, SPACE, again, Told(), clock)
    assert again.calls[0] == "prune80-int8"
    assert names(continued)[:2] == ["fp32", "int8"]
    assert "fp32" not in again.calls


def test_several_candidates_are_evaluated_at_a_time(tmp_path: Path) -> None:
    meeting = threading.Barrier(2, timeout=20.0)

    class Meeting(Landscape):
        def evaluate(self, recipe: Recipe, deadline: float) -> Evaluation:
            if recipe.name in ("int8", "prune80-int8"):
                meeting.wait()
            return super().evaluate(recipe, deadline)

    facts = replace(FACTS, operators=frozenset(), weighted_operators=frozenset())
    nothing_else = Space(facts, EPOCHS[0], stand_ins())
    asked = request(tmp_path, 60.0, jobs=2)
    result = search(asked, nothing_else, Meeting(pace=0.001), Told())
    assert {"int8", "prune80-int8"} <= set(names(result))


def test_a_space_that_is_exhausted_ends_the_search(tmp_path: Path) -> None:
    facts = replace(FACTS, can_learn=False)
    known = {name: stand_ins()[name] for name in ("fp16", "int8-dynamic", "int8-static")}
    small = Space(facts, EPOCHS[0], {"fp16": known["fp16"], "int8-dynamic": known["int8-dynamic"]})
    clock = Clock()
    landscape = Landscape(clock=clock, sleep=clock.sleep)
    result = search(
        request(tmp_path, 1e6, fixed=(Recipe("fp32"),)), small, landscape, Told(), clock
    )
    assert result.ending is Ending.NOTHING_NEW
    assert sorted(names(result)) == ["dynamic", "dynamic1", "fp16", "fp32"]


def test_time_is_kept_for_making_what_was_made_elsewhere(tmp_path: Path) -> None:
    explored(tmp_path, 100.0)
    clock = Clock()
    landscape = Landscape(clock, clock.sleep, elsewhere=True)
    result = search(request(tmp_path, 200.0), SPACE, landscape, Told(), clock)
    listed = {recipe.name for recipe in FIXED} | {point.name for point in result.front}
    missing = [each for each in result.results if each.name in listed - set(landscape.calls)]
    needed = sum(each.evaluation.seconds_spent for each in missing if each.evaluation)
    assert needed > 20.0
    assert result.spent_seconds + needed <= 1.1 * 200.0


def test_what_is_found_has_a_name_of_its_own(tmp_path: Path) -> None:
    theirs = Recipe("int8", (step("int8-static", activation="s8"),))
    small = Space(FACTS, EPOCHS[0], {"int8-static": stand_ins()["int8-static"]})
    clock = Clock()
    landscape = Landscape(clock, clock.sleep)
    asked = request(tmp_path, 1e4, fixed=(Recipe("fp32"), theirs))
    result = search(asked, small, landscape, Told(), clock)
    assert "int8" in landscape.calls[2:], "the search proposes a recipe of that name"
    assert len(set(names(result))) == len(names(result))
    assert next(each for each in result.results if each.name == "int8").steps == theirs.steps


def test_what_is_left_is_said(tmp_path: Path) -> None:
    clock, told = Clock(), Told()
    search(request(tmp_path, 300.0), SPACE, Landscape(clock, clock.sleep), told, clock)
    assert told.lines[0] == "searching for 5 min"
    assert told.lines[1] == "fp32  (5 min left)"
    assert told.lines[2] == "int8  (5 min left)"
    assert told.lines[-1].endswith("s left)")


def test_a_storage_that_cannot_be_opened_is_named_without_its_password(tmp_path: Path) -> None:
    asked = request(tmp_path, 1.0, storage="postgresql://me:secret@127.0.0.1:1/none")
    with pytest.raises(RequestError) as caught:
        search(asked, SPACE, Landscape(), Told())
    assert "secret" not in str(caught.value)
    with pytest.raises(RequestError, match="not the URL of a database"):
        search(request(tmp_path, 1.0, storage="nonsense"), SPACE, Landscape(), Told())


def test_a_storage_that_fails_on_the_way_is_named(tmp_path: Path) -> None:
    class Destroying(Landscape):
        def evaluate(self, recipe: Recipe, deadline: float) -> Evaluation:
            if recipe.steps:
                with sqlite3.connect(tmp_path / "study.db") as storage:
                    storage.execute("DROP TABLE trial_user_attributes")
            return super().evaluate(recipe, deadline)

    with pytest.raises(OutputError, match=r"storage of the search failed: .*no such table"):
        search(request(tmp_path, 10.0), SPACE, Destroying(pace=0.001), Told())


def test_studies_of_different_data_have_different_names() -> None:
    assert study_name("net", ["a", "b"]) != study_name("net", ["a", "c"])
    assert study_name("net", ["a", "b"]).startswith("net-")
