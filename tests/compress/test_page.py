"""The page stands alone, says what the portfolio says, and nothing in it can break out."""

from __future__ import annotations

import base64
import hashlib
import random
import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitment_compress.page import render
from fitment_compress.page.labels import Box, Spot, box_around, place
from fitment_compress.page.scales import for_scores, logarithmic
from fitment_compress.page.sections import DASH
from fitment_compress.page.units import bytes_unit, count_unit, seconds_unit
from fitment_compress.pareto import draw
from fitment_contract.portfolio import Portfolio
from support.portfolio_samples import (
    CHANNELS,
    INT8,
    PRUNE,
    RECOVER,
    Made,
    hostile,
    layers,
    rich,
    sample,
    stage,
)

LIMIT_BYTES = 300_000
MINUS = "\u2212"
EMPTY = {"meta", "col", "br"}
SECTIONS = ["glance", "fronts", "variants", "steps", "orders", "layers", "failed", "method"]


class Page(HTMLParser):
    """What a browser would see: elements with attributes, the text, the text under each id."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.open: list[tuple[str, str]] = []
        self.words: dict[str, list[str]] = {"": []}
        self.code: dict[str, str] = {}
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {key: value or "" for key, value in attrs}
        self.elements.append((tag, attributes))
        if tag not in EMPTY:
            self.open.append((tag, attributes.get("id", "")))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {key: value or "" for key, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        tag = self.open[-1][0] if self.open else ""
        if tag in ("script", "style"):
            self.code[tag] = data
            return
        for identity in {"", *(identity for _, identity in self.open)}:
            self.words.setdefault(identity, []).append(data)

    def text(self, identity: str = "") -> str:
        return " ".join(" ".join(self.words[identity]).split())


HOSTILE = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>'",
    "</style></script></title><h1>",
    "&lt;b&gt; &amp;#60; ]]>",
    "a\u202eb\x00c\ud800d",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_what_a_portfolio_says_stays_text(text: str) -> None:
    page, plain = Page(render(hostile(text))), Page(render(hostile("plain")))
    assert not page.open, "every element is closed"
    assert [(tag, sorted(attributes)) for tag, attributes in page.elements] == [
        (tag, sorted(attributes)) for tag, attributes in plain.elements
    ], "no element and no attribute was smuggled in"
    visible = re.sub("[\u202e\x00\ud800]", "\ufffd", text)
    assert page.text().count(visible) == plain.text().count("plain")
    render(hostile(text)).encode()


@pytest.mark.parametrize("text", HOSTILE)
def test_the_picture_is_well_formed_whatever_it_says(text: str) -> None:
    root = ElementTree.fromstring(draw(hostile(text)))
    assert any(re.sub("[\u202e\x00\ud800]", "\ufffd", text) in (e.text or "") for e in root.iter())


def test_the_page_loads_nothing() -> None:
    markup = render(rich())
    page = Page(markup)
    for tag, attributes in page.elements:
        assert tag not in {"link", "img", "iframe", "object", "embed", "base", "form"}
        assert not any(key.startswith("on") or key in ("src", "style") for key in attributes)
        assert attributes.get("href", "#").startswith("#")
    assert "http" not in markup.replace("http-equiv", "")
    assert "url(" not in markup
    assert "@import" not in markup


def test_the_policy_lets_only_its_own_style_and_script_run() -> None:
    page = Page(render(rich()))
    (policy,) = [
        attributes["content"] for _, attributes in page.elements if "http-equiv" in attributes
    ]
    digests = {
        kind: base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
        for kind, code in page.code.items()
    }
    assert policy == (
        f"default-src 'none'; style-src 'sha256-{digests['style']}'; "
        f"script-src 'sha256-{digests['script']}'"
    )


def searched(count: int) -> Portfolio:
    """A search's portfolio: many recipes of three steps, every ninth with sensitivities."""
    chance = random.Random(1)
    made = [Made("fp32")]
    for number in range(count):
        score, size = 0.92 - 0.1 * chance.random() ** 3, chance.randint(20_000, 300_000)
        seconds = 20e-6 + 200e-6 * chance.random()
        steps = tuple(chance.sample([PRUNE, RECOVER, CHANNELS, INT8], 3))
        tried = layers((number,)) if number % 9 == 0 else ()
        stages = tuple(stage(each, score, size, seconds, sensitivity=tried) for each in steps)
        name = f"search-{number:03d}-prune-recover-int8"
        made.append(
            Made(name, steps, score=score, transferred=size, seconds=seconds, stages=stages)
        )
    return sample(*made)


@pytest.mark.parametrize("count", [20, 100])
def test_the_page_stays_small_and_complete(count: int) -> None:
    portfolio = searched(count)
    markup = render(portfolio)
    assert len(markup.encode()) < LIMIT_BYTES
    table = Page(markup).text("variants")
    assert all(entry.name in table for entry in portfolio.entries)


def test_what_is_left_out_is_said() -> None:
    assert "68 more recipes are in portfolio.json." in Page(render(searched(100))).text("steps")
    assert "portfolio.json" not in Page(render(rich())).text("steps")


def test_the_contents_lead_to_every_section() -> None:
    page = Page(render(rich()))
    identities = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(set(identities)) == len(identities)
    assert [attributes["href"][1:] for tag, attributes in page.elements if tag == "a"] == SECTIONS
    assert set(SECTIONS) <= set(identities)
    alone = Page(render(sample(Made("fp32"))))
    assert [attributes["href"][1:] for tag, attributes in alone.elements if tag == "a"] == [
        *("glance", "fronts", "variants", "method")
    ]


def test_the_head_says_what_was_compressed_with_what_and_where() -> None:
    text = Page(render(rich())).text()
    for words in (
        "fashion version 3",
        "18 variants were built and measured, 10 of them on the front",
        "2 candidates failed",
        "model.onnx, 546.0 kB, opset 17",
        "135,274 parameters, 3,618,944 MACs",
        "10,000 to evaluate, 300 to calibrate, 60,000 to learn from (100 % with labels)",
        "Metric top1",
        "Example CPU (x86_64), onnxruntime 1.32.0",
        "2026-01-01 12:30 UTC",
    ):
        assert words in text


def test_a_row_holds_every_number_of_a_variant() -> None:
    page = Page(render(rich()))
    assert page.text("v3") == (
        "3 int8-u8s8-per-channel 91.8 ± 0.3 % no difference Shirt 78.0 % 99.6 % "
        "178.1 142.3 0.28 78.0 82.7 104.5 1.14 54.6 13/13 1/1 7.2 50.2 135.3 3.62"
    )
    assert f"{MINUS}14.6 ± 0.2 pt" in page.text("v4")
    heads = page.text("variants")
    for words in ("on disk kB", "p99 µs", "2 threads", "activations kB", "MACs M"):
        assert words in heads


def test_what_was_not_measured_is_a_dash_with_a_name() -> None:
    portfolio = rich()
    entries = [
        entry.model_copy(update={"latency_all_threads": None}) for entry in portfolio.entries
    ]
    page = Page(render(portfolio.model_copy(update={"entries": tuple(entries)})))
    assert f"1.14 {DASH} 13/13" in page.text("v3")
    assert any(attributes.get("aria-label") == "not measured" for _, attributes in page.elements)


def test_each_step_is_shown_with_what_it_did() -> None:
    text = Page(render(rich())).text("steps")
    assert "prune80-share5 front magnitude-prune (sparsity=0.8) 84.4 ± 0.3 %" in text
    assert f"share-weights (bits=5) 91.5 ± 0.3 % {MINUS}0.4 ± 0.2 pt 38.4 89.0 92.0" in text
    assert "164.1 89.0 545.4 135.3 3.62 74.2 s" in text
    assert "14 tensors share 32 values each." in text
    assert "Failed: magnitude-prune: no tensor of floating-point weights is left." in text


def test_the_last_step_has_the_numbers_of_the_final_file() -> None:
    """A stage is timed on its own, the final file in turns with all others: one is shown."""
    made = Made("int8", (INT8,), score=0.91, seconds=70e-6, stages=(stage(INT8, 0.9, 9, 99e-6),))
    text = Page(render(sample(Made("fp32"), made))).text("steps")
    assert "91.0 ± 0.3 %" in text
    assert "70" in text.split()
    assert "99" not in text.split()


def test_the_winning_order_is_named_with_its_lead() -> None:
    text = Page(render(rich())).text("orders")
    assert "the first wins with fewer transferred bytes, 64.7 kB against 66.9 kB" in text
    assert "3 int8-static → magnitude-prune → recover" in text
    assert f"{MINUS}2.6 ± 0.3 pt" in text
    assert "recover → int8-static → magnitude-prune recover-int8-prune80 Failed:" in text


def test_spared_layers_are_marked_in_words() -> None:
    text = Page(render(rich())).text("layers")
    assert "mixed-precision (budget=0.002) in mixed-precision" in text
    assert "/stage2/conv9/Conv Conv 3.4 % spared /stage0/conv1/Conv Conv 2.1 % spared" in text
    assert text.count("spared") == 3, "two layers and the legend"


def test_the_method_says_what_is_disjoint_and_how_often_was_timed() -> None:
    text = Page(render(rich())).text("method")
    assert "10,000 samples. None of them is one of the 300 samples for calibration" in text
    assert "none of the 60,000 samples to learn from" in text
    assert "threads: 1; 4,255 to 47,619 were timed per variant" in text
    assert "protocol fitment-bench/2 (quick)" in text


def test_pictures_have_words_and_tables_have_heads() -> None:
    page = Page(render(rich()))
    for tag, attributes in page.elements:
        if tag == "svg":
            assert attributes.get("aria-hidden") == "true" or attributes.get("aria-label")
        if tag == "th":
            assert attributes.get("scope") in ("row", "col", "rowgroup", "colgroup")
    told = [
        attributes["aria-label"]
        for tag, attributes in page.elements
        if attributes.get("role") == "img"
    ]
    assert any("On the front: student-12x: 90.2 ± 0.3 %, 21 µs, 41.0 kB; " in each for each in told)


BASELINE = Made("fp32", seconds=1e-3)
EDGES = {
    "alone": sample(BASELINE),
    "collapsed": sample(BASELINE, replace(BASELINE, name="a", score=0.04, seconds=1e-4)),
    "zero": sample(replace(BASELINE, score=0.0), replace(BASELINE, name="a", score=0.0)),
    "lower": sample(
        replace(BASELINE, score=3.2, error=0.0),
        replace(BASELINE, name="a", score=90.0, seconds=5.0, transferred=9),
        metric="regression",
        higher_is_better=False,
    ),
    "uncompared": sample(BASELINE, replace(BASELINE, name="a"), compared=False, labelled=False),
    "rich": rich(),
}


@pytest.mark.parametrize("name", EDGES)
def test_every_variant_is_drawn_within_the_frame(name: str) -> None:
    portfolio = EDGES[name]
    markup = render(portfolio)
    drawings = re.findall(r'<svg viewBox="0 0 420 320".*?</svg>', markup)
    assert len(drawings) == 3
    for drawing in drawings:
        assert "nan" not in drawing
        points = re.findall(r'<g class="point" data-v="(\d+)"', drawing)
        listed = len(portfolio.listed())
        assert sorted(map(int, points)) == list(range(1, listed + 1))
        for x, y in re.findall(r'c?x="([-\d.]+)" c?y="([-\d.]+)"', drawing):
            assert 0 <= float(x) <= 420
            assert 0 <= float(y) <= 320


Place = st.tuples(st.floats(0, 100), st.floats(0, 100), st.integers(1, 20))


@given(st.lists(Place, max_size=12))
def test_labels_cover_no_point_and_no_label(places: list[tuple[float, float, int]]) -> None:
    spots = [Spot(x, y, 3, ("m" * length, "m")) for x, y, length in places]
    frame = Box(0, 0, 100, 100)
    labels = [label for label in place(spots, frame) if label is not None]
    for position, label in enumerate(labels):
        assert label.box.within(frame)
        assert not any(label.box.overlaps(other.box) for other in labels[:position])
        assert not any(label.box.overlaps(box_around(s.x, s.y, s.radius)) for s in spots)


def test_a_label_says_less_where_there_is_less_room() -> None:
    frame, spot = Box(0, 0, 60, 60), Spot(30, 30, 3, ("much too long for it", "12"))
    (label,) = place([spot], frame)
    assert label is not None
    assert label.text == "12"
    assert place([spot], Box(20, 20, 40, 40)) == (None,)


Positive = st.floats(1e-7, 1e9)


@given(st.lists(Positive, min_size=1, max_size=9))
def test_axes_show_their_values_in_order_with_ticks_in_view(values: list[float]) -> None:
    for scale in (logarithmic(values), for_scores(values, error=0.0)):
        shares = [scale.share(value) for value in sorted(values)]
        assert shares == sorted(shares)
        assert 0 <= shares[0] <= shares[-1] <= 1
        assert 1 <= len(scale.ticks) <= 7
        slack = 1e-9 * (abs(scale.low) + abs(scale.high))  # ticks are multiples, and rounded
        assert all(scale.low - slack <= tick <= scale.high + slack for tick in scale.ticks)


@given(st.lists(Positive, min_size=1, max_size=9))
def test_a_column_has_one_unit_and_no_number_vanishes(values: list[float]) -> None:
    for unit in (seconds_unit(values), bytes_unit(values), count_unit(values)):
        shown = [unit.text(value) for value in values]
        assert len({each.partition(".")[2] == "" for each in shown}) == 1
        largest = max(values)
        assert float(unit.text(largest).replace(",", "")) == pytest.approx(
            largest / unit.size, abs=0.5, rel=1e-3
        )


def test_units_fit_the_middle_of_a_column() -> None:
    assert seconds_unit([76e-6, 90e-6, 0.02]).symbol == "µs"
    assert bytes_unit([60_000, 500_000]).text(142_345) == "142"
    assert bytes_unit([9_000, 500_000]).text(142_345) == "142.3"
    assert count_unit([3_618_944, 302_000]).text(3_618_944) == "3.62"
    assert seconds_unit([]).text(0) == "0"
