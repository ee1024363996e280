"""Recipe files keep their order, and their errors point at a line."""

from __future__ import annotations

from pathlib import Path

import pytest

from fitment_compress.errors import RecipeError, RequestError
from fitment_compress.recipe import Recipe, choose, default_recipes, load_recipes
from fitment_contract.variant import RecipeStep


def test_the_shipped_recipes_cover_the_flavours() -> None:
    recipes = default_recipes()
    assert recipes[0] == Recipe("fp32")
    names = [recipe.name for recipe in recipes]
    for flavour in ("u8s8", "s8s8", "u8u8"):
        assert {f"int8-{flavour}-per-channel", f"int8-{flavour}-per-tensor"} <= set(names)
    assert {"fp16", "int8-dynamic", "int4-weights", "prune50-int8", "prune80"} <= set(names)


def write(folder: Path, text: str) -> Path:
    path = folder / "recipes.yaml"
    path.write_text(text)
    return path


def test_steps_keep_their_order_and_options(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "recipes:\n- name: small\n  steps:\n  - magnitude-prune: {sparsity: 0.7}\n  - fp16\n",
    )
    small = load_recipes(path)[1]
    assert small.steps == (
        RecipeStep(technique="magnitude-prune", options={"sparsity": 0.7}),
        RecipeStep(technique="fp16"),
    )


def test_the_baseline_comes_first_whatever_it_is_called(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "recipes:\n- {name: half, steps: [fp16]}\n- {name: plain, steps: []}\n",
    )
    assert [recipe.name for recipe in load_recipes(path)] == ["plain", "half"]
    path = write(tmp_path, "recipes:\n- {name: half, steps: [fp16]}\n")
    assert [recipe.name for recipe in load_recipes(path)] == ["fp32", "half"]


@pytest.mark.parametrize(
    ("text", "line", "problem", "fix"),
    [
        ("", 1, "empty", "recipes:"),
        ("recipes: [\n", 2, "not YAML", "brackets"),
        ("recipes: []\n", 1, "no recipes", "list"),
        ("\nrecipe: []\n", 2, "unknown key 'recipe'", "`recipes`"),
        ("recipes:\n- steps: []\n", 2, "needs a name", "name:"),
        ("recipes:\n- name: Big One\n  steps: []\n", 2, "needs a name", "lower-case"),
        ("recipes:\n- name: a\n", 2, "needs a list of steps", "steps: []"),
        ("recipes:\n- name: a\n  steps:\n  - fp17\n", 4, "'fp17'", "Did you mean 'fp16'"),
        ("recipes:\n- name: a\n  steps:\n  - [fp16]\n", 4, "one technique", "- fp16"),
        (
            "recipes:\n- name: a\n  steps:\n  - int8-static:\n      wieght: s8\n",
            5,
            "wieght: extra inputs are not permitted",
            "activation, weight",
        ),
        (
            "recipes:\n- name: a\n  steps:\n  - int8-static: {activation: s8, weight: u8}\n",
            4,
            "no runtime has kernels",
            "activation, weight",
        ),
        (
            "recipes:\n- name: a\n  steps:\n  - magnitude-prune:\n      sparsity: 1.5\n",
            5,
            "sparsity: input should be less than 1",
            "sparsity, scope",
        ),
        (
            "recipes:\n- name: a\n  steps:\n  - to-tflite\n  - fp16\n",
            5,
            "fp16 reads onnx files, and at this step there is one in tflite",
            "before it",
        ),
        (
            "recipes:\n- {name: a, steps: []}\n- {name: a, steps: [fp16]}\n",
            3,
            "second recipe",
            "unique",
        ),
    ],
)
def test_errors_name_line_cause_and_fix(
    tmp_path: Path, text: str, line: int, problem: str, fix: str
) -> None:
    path = write(tmp_path, text)
    with pytest.raises(RecipeError) as caught:
        load_recipes(path)
    assert caught.value.line == line
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert problem in caught.value.problem
    assert fix in caught.value.fix


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cannot be read"):
        load_recipes(tmp_path / "absent.yaml")


def test_choosing_keeps_the_baseline_and_the_order() -> None:
    recipes = default_recipes()
    chosen = choose(recipes, ["prune80", "fp16"])
    assert [recipe.name for recipe in chosen] == ["fp32", "fp16", "prune80"]
    assert choose(recipes, []) == recipes


def test_choosing_what_does_not_exist_lists_what_does() -> None:
    with pytest.raises(RequestError, match="There are: fp32, fp16"):
        choose(default_recipes(), ["fp8"])
