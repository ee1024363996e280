"""Topics are built and parsed in one place, and every wrong one is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitment_contract.errors import TopicError
from fitment_contract.topics import DownChannel, DownTopic, Topics, UpChannel, UpTopic

devices = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True)
roots = st.from_regex(r"[a-z0-9]{1,8}(/[a-z0-9]{1,8}){0,2}", fullmatch=True)


@given(roots, devices, st.sampled_from(UpChannel))
def test_upward_topics_come_back(root: str, device: str, channel: UpChannel) -> None:
    topics = Topics(root)
    assert topics.parse(topics.up(device, channel)) == UpTopic(device, channel)


@given(roots, devices, st.sampled_from(DownChannel))
def test_downward_topics_come_back(root: str, device: str, channel: DownChannel) -> None:
    topics = Topics(root)
    assert topics.parse(topics.down(device, channel)) == DownTopic(device, channel)


@given(st.text(max_size=60))
def test_no_text_raises_anything_but_a_topic_error(text: str) -> None:
    with pytest.raises(TopicError):
        Topics().parse(text)


@pytest.mark.parametrize("root", ["", "a//b", "/a", "a/", "a+", "#", "a b"])
def test_a_root_with_wildcards_or_gaps_is_refused(root: str) -> None:
    with pytest.raises(TopicError):
        Topics(root)


@pytest.mark.parametrize("device", ["", "+", "#", "a/b", "-a", "a" * 65, "ü", "a\n"])
def test_a_device_id_is_one_plain_level(device: str) -> None:
    with pytest.raises(TopicError):
        Topics().up(device, UpChannel.BIRTH)


@pytest.mark.parametrize(
    "topic",
    [
        "fitment/v2/up/pi/birth",
        "other/v1/up/pi/birth",
        "x/fitment/v1/up/pi/birth",
        "fitment/v1/up/pi/desired",
        "fitment/v1/down/pi/birth",
        "fitment/v1/sideways/pi/birth",
        "fitment/v1/up/pi/birth/more",
    ],
)
def test_other_topics_are_refused(topic: str) -> None:
    with pytest.raises(TopicError):
        Topics().parse(topic)
