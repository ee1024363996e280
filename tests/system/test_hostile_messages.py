"""Malformed, oversized, foreign and out-of-order messages: counted, reported, never fatal."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from fitment_contract.codec import MAX_MESSAGE_BYTES, encode
from fitment_contract.topics import DownChannel, Topics, UpChannel
from support.contract_samples import MESSAGES
from support.system_fleet import Agent, Headquarters, wait_for
from support.system_portfolio import MODEL, write_toy_portfolio

pytestmark = pytest.mark.system

TOPICS = Topics()


@pytest.fixture
def stranger(headquarters: Headquarters) -> Iterator[mqtt.Client]:
    """Somebody else on the same broker."""
    parts = urlsplit(headquarters.broker_url)
    client = mqtt.Client(CallbackAPIVersion.VERSION2, "stranger")
    client.connect(str(parts.hostname), parts.port or 1883)
    client.loop_start()
    wait_for(client.is_connected, "the stranger to connect")
    yield client
    client.disconnect()
    client.loop_stop()


def say(client: mqtt.Client, topic: str, payload: bytes, retain: bool = False) -> None:
    client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(10)


def vitals(**changes: object) -> bytes:
    fields = json.loads(encode(MESSAGES["vitals"]))
    return json.dumps({**fields, "device": "box", **changes}).encode()


def dropped(headquarters: Headquarters) -> dict[str, int]:
    return dict(headquarters.api.get("/v1/status")["broker"]["dropped"])


def test_the_controller_counts_what_it_cannot_read_and_goes_on(
    tmp_path: Path, headquarters: Headquarters, join: Callable[..., Agent], stranger: mqtt.Client
) -> None:
    join("box")
    topic = TOPICS.up("box", UpChannel.VITALS)
    for payload in (
        b"{",
        b"x" * (MAX_MESSAGE_BYTES + 1),
        vitals(version=99),
        vitals(type="birth"),
        vitals(device="another"),
        vitals(session=0, sequence=0),
    ):
        say(stranger, topic, payload)
    say(stranger, "fitment/v1/up/box/nonsense", b"{}")
    expected = {"malformed", "oversized", "unknown_version", "unknown_type", "topic"}
    wait_for(lambda: expected <= set(dropped(headquarters)), "every fault to be counted")
    wait_for(lambda: any("stale" in k or "order" in k for k in dropped(headquarters)), "the stale")
    with urlopen(f"{headquarters.api.url}/metrics") as answer:
        metrics = answer.read().decode()
    assert 'reason="malformed"' in metrics

    write_toy_portfolio(tmp_path / "portfolio")
    headquarters.push(tmp_path / "portfolio")
    rollout = headquarters.finished(headquarters.start_rollout(model=MODEL))
    assert rollout["state"] == "completed"


def test_a_stale_will_does_not_make_a_device_offline(
    headquarters: Headquarters, join: Callable[..., Agent], stranger: mqtt.Client
) -> None:
    join("box")
    will = json.loads(encode(MESSAGES["death"]))
    stale = json.dumps({**will, "device": "box", "session": 0}).encode()
    before = sum(dropped(headquarters).values())
    say(stranger, TOPICS.up("box", UpChannel.DEATH), stale)
    wait_for(lambda: sum(dropped(headquarters).values()) > before, "the stale will to be dropped")
    assert headquarters.online("box")


def test_the_agent_reports_what_it_cannot_read_and_goes_on(
    tmp_path: Path, headquarters: Headquarters, join: Callable[..., Agent], stranger: mqtt.Client
) -> None:
    agent = join("box")
    topic = TOPICS.down("box", DownChannel.DESIRED)
    for payload in (b"not json", b"x" * (MAX_MESSAGE_BYTES + 1), b'{"type":"desired","version":7}'):
        say(stranger, topic, payload)

    def reported() -> bool:
        events = headquarters.api.get("/v1/events", {"limit": 500})["items"]
        said = " ".join(e["message"] for e in events if e.get("device") == "box")
        return all(reason in said for reason in ("malformed", "oversized", "unknown_version"))

    wait_for(reported, "the device to say what it could not read")
    assert agent.process.alive()
    write_toy_portfolio(tmp_path / "portfolio")
    headquarters.push(tmp_path / "portfolio")
    rollout = headquarters.finished(headquarters.start_rollout(model=MODEL))
    assert rollout["state"] == "completed"
    assert agent.pointer(MODEL)
