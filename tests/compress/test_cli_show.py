"""Commands that show what can be done to a model, and what was done."""

from __future__ import annotations

import json
from pathlib import Path

import typer
from typer.testing import CliRunner, Result

from fitment_compress.cli_show import register
from fitment_compress.techniques import known_techniques
from support.portfolio_samples import rich as sample


def run(*arguments: str) -> Result:
    app = typer.Typer()
    register(app)
    return CliRunner().invoke(app, list(arguments))


def test_every_technique_is_listed_with_options_that_it_accepts() -> None:
    result = run("technique", "list", "-o", "json")
    assert result.exit_code == 0, result.output
    items = json.loads(result.stdout)["items"]
    assert [item["technique"] for item in items] == sorted(known_techniques())
    for item in items:
        known_techniques()[item["technique"]].options.model_validate(item["options"])
    assert "needs PyTorch" in run("technique", "list").stdout


def test_a_portfolio_is_shown_whole_or_recipe_by_recipe(tmp_path: Path) -> None:
    made = sample()
    (tmp_path / "portfolio.json").write_text(made.model_dump_json())
    whole = run("portfolio", "show", str(tmp_path))
    assert whole.exit_code == 0, whole.output
    assert all(entry.name in whole.stdout for entry in made.entries)
    chosen = next(entry for entry in made.entries if entry.stages)
    one = run("portfolio", "show", str(tmp_path), chosen.name)
    assert one.exit_code == 0, one.output
    assert all(stage.step.technique in one.stdout for stage in chosen.stages)


def test_what_is_no_portfolio_is_said(tmp_path: Path) -> None:
    result = run("portfolio", "show", str(tmp_path))
    assert result.exit_code == 1
    assert "is not a portfolio folder" in result.stderr
    (tmp_path / "portfolio.json").write_text(sample().model_dump_json())
    result = run("portfolio", "show", str(tmp_path), "absent")
    assert result.exit_code == 1
    assert "No recipe is called 'absent'. There are:" in result.stderr
