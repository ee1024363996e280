"""The terminal says what a portfolio holds, in any width, and obeys nothing written in it."""

from __future__ import annotations

import re
from io import StringIO

import pytest

from fitment_compress.errors import RequestError
from fitment_compress.report import print_portfolio, print_recipe
from fitment_compress.wording import count_bytes, duration, noise_text, points_text, step_text
from fitment_contract.portfolio import Portfolio
from support.portfolio_samples import Made, hostile, rich, sample, step


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def printed(portfolio: Portfolio) -> str:
    stream = StringIO()
    print_portfolio(portfolio, stream)
    return stream.getvalue()


def explained(portfolio: Portfolio, name: str) -> str:
    stream = StringIO()
    print_recipe(portfolio, name, stream)
    return stream.getvalue()


def line(text: str, beginning: str) -> str:
    (found,) = [each for each in text.splitlines() if each.strip().startswith(beginning)]
    return " ".join(found.split())


def test_below_the_table_stand_the_answers() -> None:
    text = printed(rich())
    assert line(text, "Smallest and fastest without") == (
        "Smallest and fastest without a measurable loss: prune80-recover-int8, "
        "0.13x the bytes, 1.16x the speed, no difference"
    )
    assert line(text, "latency and transferred bytes:") == (
        "latency and transferred bytes: student-12x (21 µs, 41.0 kB), "
        "prune80-share5 (89 µs, 38.4 kB), binary (91 µs, 24.8 kB)"
    )
    assert line(text, "latency and score:").endswith(", and 2 more")
    assert "the first wins with fewer transferred bytes, 64.7 kB against 66.9 kB" in text
    assert line(text, "tflite-int8:").endswith("Run `fitment converter install`.")


def test_one_variant_is_not_compared_with_itself() -> None:
    text = printed(sample(Made("fp32")))
    assert "not beaten" not in text
    assert "other orders" not in text


def test_a_recipe_is_told_step_by_step() -> None:
    text = explained(rich(), "prune80-share5")
    assert line(text, "magnitude-prune (sparsity=0.8)") == (
        "magnitude-prune (sparsity=0.8) 84.4 ± 0.3 % -7.5 pt 163.8 kB 89 µs 545.4 kB 135,274 400 ms"
    )
    assert "no difference" in line(text, "recover (epochs=3)")
    assert "38.4 kB" in line(text, "share-weights (bits=5)")
    assert line(text, "share-weights: ") == "share-weights: 14 tensors share 32 values each."


def test_sensitive_layers_come_first_and_spared_ones_are_marked() -> None:
    text = explained(rich(), "mixed-precision")
    rows = [each.split() for each in text.splitlines() if each.strip().startswith("/")]
    assert rows[0] == ["/stage2/conv9/Conv", "Conv", "3.4", "%", "spared"]
    assert rows[-1] == ["/head/Gemm", "Gemm", "0", "%"]


def test_a_failed_recipe_is_told_as_far_as_it_came() -> None:
    text = explained(rich(), "recover-int8-prune80")
    assert "92.0 ± 0.3 %" in line(text, "recover (epochs=3)")
    assert line(text, "failed:").endswith("Prune before.")


def test_steps_that_were_not_measured_are_not_invented() -> None:
    assert "not measured after each step" in explained(rich(), "binary")


def test_an_unknown_recipe_is_the_requests_fault() -> None:
    with pytest.raises(RequestError, match="There are: fp32, fp16"):
        explained(rich(), "fp64")


@pytest.mark.parametrize("text", ["[/red] [bold", ":boom:", "\x1b[2J\r\u202e"])
def test_what_a_portfolio_says_is_not_obeyed(text: str) -> None:
    shown = text.translate(dict.fromkeys((0x1B, 0x0D, 0x202E), "\ufffd"))
    for output in (printed(hostile(text)), *(explained(hostile(text), name) for name in "ab")):
        assert shown in output
        assert "\x1b" not in output


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_a_terminal_wraps_words_and_cuts_no_number(
    columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("NO_COLOR", "1")
    screen = Terminal()
    print_portfolio(rich(), screen)
    print_recipe(rich(), "prune80-share5", screen)
    text = re.sub(r"\x1b\[\d*m", "", screen.getvalue())
    assert all(len(each) <= columns for each in text.splitlines())
    assert "…" not in text
    assert "38.4 kB" in text, "what is transferred stays"
    assert text.count("91.9 ± 0.3 %") == 4, "three variants, and the source of the recipe"


def test_numbers_are_worded_alike_everywhere() -> None:
    assert [count_bytes(size) for size in (517, 32_600, 4_100_000)] == [
        "517 B",
        "32.6 kB",
        "4.1 MB",
    ]
    assert [duration(seconds) for seconds in (58e-6, 3.4e-3, 1.2)] == ["58 µs", "3.4 ms", "1.2 s"]
    assert points_text("top1", -0.02, 0.006, signed=True) == "-2.0 ± 0.6 pt"
    assert points_text("regression", 0.5, 0.25) == "0.5 ± 0.25"
    assert noise_text(3.4e-4) == "0.034 %"
    assert step_text(step("a", b="c", d=True, e=0.5)) == "a (b=c, d=true, e=0.5)"
