"""The page stands alone, says what the portfolio says, and nothing in it can break out."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from fitment_compress.page import render
from support.portfolio_samples import Made, hostile, rich, sample

LIMIT_BYTES = 300_000
VOID = {"meta", "col", "br"}


class Page(HTMLParser):
    """What a browser would see: elements, their attributes, and the text outside of scripts."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {key: value or "" for key, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {key: value or "" for key, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self.open):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


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
    assert [tag for tag, _ in page.elements] == [tag for tag, _ in plain.elements]
    assert [sorted(given) for _, given in page.elements] == [
        sorted(given) for _, given in plain.elements
    ], "no attribute was smuggled in"
    visible = re.sub("[\u202e\x00\ud800]", "\ufffd", text)
    assert page.text.count(visible) == plain.text.count("plain")
    render(hostile(text)).encode()


def test_the_page_loads_nothing_and_is_small() -> None:
    markup = render(rich())
    page = Page(markup)
    for tag, given in page.elements:
        assert tag not in {"link", "img", "iframe", "object", "embed", "base", "form"}
        assert not any(key.startswith("on") or key in ("src", "style") for key in given)
        assert given.get("href", "#").startswith("#")
    assert "http" not in markup.replace("http-equiv", "")
    assert "url(" not in markup
    assert len(markup.encode()) < LIMIT_BYTES


def test_one_variant_alone_makes_a_page() -> None:
    page = Page(render(sample(Made("fp32"))))
    assert "fp32" in page.text
