"""The space of recipes: valid, distinct, named, and complete enough to hold what people write."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fitment_compress.recipe import Recipe, load_recipes
from fitment_compress.search.moves import ALL_MOVES, QUANTISERS
from fitment_compress.search.naming import ALIASES, identity, named, to_yaml
from fitment_compress.search.rules import SourceFacts, facts_of
from fitment_compress.search.space import Space
from fitment_compress.techniques import known_techniques
from support.runtime_models import save_conv_classifier
from support.search_landscape import FACTS, stand_ins, step

STAND_INS = stand_ins()
SPACE = Space(FACTS, 0.5, STAND_INS)
INSTALLED = Space(FACTS, 0.5)


class DataDraw:
    """Choices that hypothesis makes."""

    def __init__(self, data: st.DataObject) -> None:
        self._data = data
        self.made: dict[str, str] = {}

    def choose(self, name: str, words: Sequence[str]) -> str:
        assert name not in self.made
        assert len(set(words)) == len(words) > 1
        self.made[name] = self._data.draw(st.sampled_from(list(words)))
        return self.made[name]

    level = choose


@given(st.data())
@settings(max_examples=120, deadline=None)
def test_every_sampled_recipe_is_valid_and_has_a_name(data: st.DataObject) -> None:
    recipe = SPACE.propose(DataDraw(data))
    assert SPACE.problem(recipe) is None
    assert re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,63}", recipe.name)


@given(st.data(), st.data())
@settings(max_examples=120, deadline=None)
def test_different_choices_make_different_recipes_with_different_names(
    one: st.DataObject, other: st.DataObject
) -> None:
    draws = DataDraw(one), DataDraw(other)
    a, b = (SPACE.propose(draw) for draw in draws)
    same = draws[0].made == draws[1].made
    assert (SPACE.identity(a) == SPACE.identity(b)) == same
    assert (a.name == b.name) == same


@given(st.data())
@settings(max_examples=120, deadline=None)
def test_the_choices_behind_a_recipe_are_found_again(data: st.DataObject) -> None:
    draw = DataDraw(data)
    recipe = SPACE.propose(draw)
    assert SPACE.choices_of(Recipe("written by hand", recipe.steps)) == draw.made
    assert SPACE.choices_of(SPACE.with_epochs(recipe, 7.0)) == draw.made


@given(st.lists(st.data(), min_size=1, max_size=3))
@settings(max_examples=30, deadline=None)
def test_sampled_recipes_survive_a_recipe_file(
    tmp_path_factory: pytest.TempPathFactory, several: list[st.DataObject]
) -> None:
    recipes = {}
    for data in several:
        recipe = INSTALLED.propose(DataDraw(data))
        recipes[recipe.name] = recipe
    path = tmp_path_factory.mktemp("recipes") / "found.yaml"
    path.write_text(to_yaml(list(recipes.values())), "utf-8")
    read = {recipe.name: recipe for recipe in load_recipes(path)}
    assert {name: read[name] for name in recipes} == recipes


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_nothing_follows_a_quantiser_but_correction_and_recovery(data: st.DataObject) -> None:
    techniques = [entry.technique for entry in SPACE.propose(DataDraw(data)).steps]
    behind = [index for index, name in enumerate(techniques) if name in QUANTISERS]
    assert len(behind) <= 1
    if behind:
        assert set(techniques[behind[0] + 1 :]) <= {"bias-correct", "recover"}


def test_the_space_contains_what_the_project_ships() -> None:
    shipped = [
        Recipe("a", (step("magnitude-prune", sparsity=0.8), step("int8-static"))),
        Recipe("b", (step("int8-static", activation="s8", weight="s8", per_channel=False),)),
        Recipe("c", (step("channel-prune"), step("recover", epochs=9.0), step("int8-static"))),
        Recipe(
            "d",
            (
                step("recover"),
                step("magnitude-prune", sparsity=0.9),
            ),
        ),
    ]
    assert [SPACE.choices_of(recipe) is not None for recipe in shipped] == [True, True, True, False]
    odd = Recipe("odd", (step("magnitude-prune", sparsity=0.81),))
    assert SPACE.choices_of(odd) is None


def test_the_installed_techniques_have_every_option_that_the_table_names() -> None:
    for move in ALL_MOVES:
        technique = known_techniques()[move.technique]
        for dimension in move.dimensions:
            for choice in dimension.choices:
                assert technique.options.model_validate(choice)
    for extra in ("recover", "equalise", "bias-correct"):
        assert extra in known_techniques()


def test_orders_of_the_same_techniques_are_different_recipes() -> None:
    class Ordered:
        def __init__(self, order: str) -> None:
            self._answers = {
                "structure": "channel-prune",
                "sparsity": "magnitude-prune",
                "order of structure, sparsity": order,
            }

        def choose(self, name: str, words: Sequence[str]) -> str:
            return self._answers.get(name, words[0])

        level = choose

    one = SPACE.propose(Ordered("structure then sparsity"))
    other = SPACE.propose(Ordered("sparsity then structure"))
    assert [entry.technique for entry in one.steps] == ["channel-prune", "magnitude-prune"]
    assert one.steps == other.steps[::-1]
    assert one.name == "channels0.125-prune0.3"
    assert other.name == "prune0.3-channels0.125"


def test_without_samples_to_learn_from_nothing_learns() -> None:
    facts = SourceFacts(FACTS.opset, FACTS.operators, FACTS.weighted_operators, can_learn=False)
    space = Space(facts, techniques=STAND_INS)
    recipe = Recipe("r", (step("channel-prune"), step("recover")))
    assert SPACE.problem(recipe) is None
    assert space.problem(recipe) == "nothing at hand for recover"
    assert space.choices_of(recipe) is None
    assert space.digest() != SPACE.digest()


def test_a_model_without_operators_for_a_technique_is_not_offered_it() -> None:
    facts = SourceFacts(17, frozenset({"Conv"}), frozenset({"Conv"}), can_learn=False)
    space = Space(facts, techniques=STAND_INS)
    recipe = Recipe("r", (step("int4-weights"),))
    assert space.problem(recipe) == "nothing at hand for int4-weights"
    assert space.choices_of(recipe) is None


@pytest.mark.parametrize(
    ("steps", "problem"),
    [
        ((step("int8-static"), step("magnitude-prune")), "magnitude-prune cannot follow int8-s"),
        ((step("int4-weights"), step("recover")), "recover cannot follow int4-weights"),
        ((step("to-tflite"), step("fp16")), "fp16 reads onnx, and gets tflite"),
        ((step("magnitude-prune", sparsity=2.0),), "magnitude-prune: Input should be less than 1"),
        ((step("no-such"),), "no technique is called 'no-such'"),
    ],
)
def test_what_cannot_work_is_named(steps: tuple[object, ...], problem: str) -> None:
    found = SPACE.problem(Recipe("r", steps))  # type: ignore[arg-type]
    assert found is not None
    assert found.startswith(problem)


def test_only_a_harsher_recipe_is_judged_by_a_milder_one() -> None:
    def pruned(sparsity: float, epochs: float = 2.0, **flavour: object) -> Recipe:
        steps = (
            step("magnitude-prune", sparsity=sparsity),
            step("recover", epochs=epochs),
            step("int8-static", **flavour),
        )
        return Recipe("r", steps)

    worse = SPACE.harsher_or_equal
    assert worse(pruned(0.8), pruned(0.8))
    assert worse(pruned(0.9), pruned(0.8))
    assert worse(pruned(0.9, epochs=0.5), pruned(0.8))
    assert not worse(pruned(0.7), pruned(0.8))
    assert not worse(pruned(0.9, epochs=8.0), pruned(0.8))
    assert not worse(pruned(0.9, per_channel=False), pruned(0.8))
    assert not worse(Recipe("r", pruned(0.9).steps[:1]), pruned(0.8))
    fewer, more = (Recipe("r", (step("codebook", bits=bits),)) for bits in (3, 5))
    assert worse(fewer, more)
    assert not worse(more, fewer)


def test_a_taken_or_long_name_ends_in_a_digest() -> None:
    steps = [step("magnitude-prune", sparsity=0.8)]
    assert named(steps).name == "prune0.8"
    other = named(steps, taken=["prune0.8"])
    assert re.fullmatch(r"prune0\.8-[0-9a-f]{10}", other.name)
    long = named([step("magnitude-prune", sparsity=0.8, scope="per-layer")] * 4)
    assert len(long.name) == 64
    assert long.name != named([step("magnitude-prune", sparsity=0.7, scope="global")] * 4).name


def test_spelling_out_a_default_changes_nothing() -> None:
    assert identity([step("int8-static", per_channel=True)]) == identity([step("int8-static")])
    assert identity([step("int8-static", per_channel=False)]) != identity([step("int8-static")])


def test_aliases_are_the_names_of_nothing_else() -> None:
    assert len(set(ALIASES.values())) == len(ALIASES)
    assert not set(ALIASES.values()) & {*known_techniques(), *(m.technique for m in ALL_MOVES)}


def test_facts_are_read_off_a_model(tmp_path: Path) -> None:
    import onnx

    model = onnx.load(save_conv_classifier(tmp_path / "m.onnx"))
    facts = facts_of(model, can_learn=False)
    assert facts.opset == next(entry.version for entry in model.opset_import)
    assert {"Conv", "Gemm"} & facts.weighted_operators
    assert "Relu" in facts.operators - facts.weighted_operators
