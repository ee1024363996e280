"""The HTTP interface of a running controller, with a real broker, database and server."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from fitment_contract.portfolio import Portfolio
from fitment_controller.api.auth import TokenFileError, load_or_create_token
from fitment_controller.api.requests import MAX_BODY_BYTES
from fitment_controller.broker.base import BrokerEndpoint
from fitment_controller.settings import Settings
from fitment_controller.wiring import RunningController, running_controller
from support.edge_device import ScriptedDevice
from support.edge_mqtt import wait_for
from support.edge_portfolio import write_portfolio

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def controller(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningController]:
    data = tmp_path_factory.mktemp("data")
    with running_controller(Settings(data, port=0, broker_port=0)) as controller:
        yield controller


@pytest.fixture(scope="module")
def http(controller: RunningController) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=controller.addresses.url, timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def portfolio_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("portfolio") / "activity"


@pytest.fixture(scope="module")
def portfolio(portfolio_folder: Path) -> Portfolio:
    return write_portfolio(portfolio_folder)


@pytest.fixture(scope="module")
def device(controller: RunningController, http: httpx.Client) -> Iterator[ScriptedDevice]:
    endpoint = BrokerEndpoint(controller.addresses.broker_url)
    with ScriptedDevice(endpoint, "pi-1") as device:
        wait_for(lambda: http.get("/v1/devices/pi-1").status_code == 200, "registration")
        yield device


@pytest.fixture(scope="module")
def pushed(http: httpx.Client, portfolio: Portfolio, portfolio_folder: Path) -> dict[str, Any]:
    for path in (portfolio_folder / "blobs").iterdir():
        assert http.put(f"/v1/blobs/{path.name}", content=path.read_bytes()).status_code == 201
    answer = http.post("/v1/models", content=portfolio.model_dump_json())
    assert answer.status_code == 201, answer.text
    body: dict[str, Any] = answer.json()
    return body


def digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def assert_error(answer: httpx.Response, status: int, reason: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    body: dict[str, Any] = answer.json()
    assert body["apiVersion"] == "fitment/v1"
    assert body["kind"] == "Error"
    assert body["reason"] == reason
    assert body["detail"]
    assert "next" in body
    return body


def test_health_and_status(http: httpx.Client) -> None:
    assert http.get("/healthz").json() == {"healthy": True}
    status = http.get("/v1/status").json()
    assert status["kind"] == "FleetStatus"
    assert status["broker"]["connected"] is True


def test_a_portfolio_without_its_blobs_is_answered_with_what_is_missing(
    http: httpx.Client, tmp_path: Path
) -> None:
    portfolio = write_portfolio(tmp_path / "other", "other")
    body = assert_error(
        http.post("/v1/models", content=portfolio.model_dump_json()), 409, "missing_blobs"
    )
    blobs = {path.name for path in (tmp_path / "other" / "blobs").iterdir()}
    assert set(body["digests"]) <= blobs
    assert len(body["digests"]) >= 2
    assert http.get("/v1/models/other").status_code == 404


def test_a_pushed_model_shows_with_its_variants(http: httpx.Client, pushed: dict[str, Any]) -> None:
    assert (pushed["name"], pushed["variant_count"], pushed["failed_count"]) == ("activity", 2, 1)
    assert [row["name"] for row in http.get("/v1/models").json()["items"]] == ["activity"]
    model = http.get(f"/v1/models/activity/{pushed['version']}").json()
    assert model == http.get("/v1/models/activity").json()
    rows = {row["name"]: row for row in model["variants"]}
    assert rows["int8"]["accuracy_loss"] == pytest.approx(0.004)
    assert rows["int4"]["failure"] == "no MatMul to quantise"
    assert_error(http.get("/v1/models/activity/99"), 404, "not_found")
    assert_error(http.get("/v1/models/poetry"), 404, "not_found")


def test_artifacts_come_whole_and_in_ranges(http: httpx.Client) -> None:
    data = bytes(range(256)) * 1000
    digest = digest_of(data)
    assert http.head(f"/v1/blobs/{digest}").status_code == 404
    assert http.put(f"/v1/blobs/{digest}", content=data).status_code == 201
    head = http.head(f"/v1/blobs/{digest}")
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(data)))
    url = f"/v1/artifacts/{digest}"
    whole = http.get(url)
    assert whole.content == data
    assert whole.headers["etag"] == f'"{digest}"'
    assert "immutable" in whole.headers["cache-control"]
    part = http.get(url, headers={"Range": "bytes=100000-"})
    assert (part.status_code, part.content) == (206, data[100000:])
    assert part.headers["content-range"] == f"bytes 100000-{len(data) - 1}/{len(data)}"
    beyond = http.get(url, headers={"Range": f"bytes={len(data)}-"})
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{len(data)}")
    changed = http.get(url, headers={"Range": "bytes=9-", "If-Range": '"another"'})
    assert (changed.status_code, changed.content) == (200, data)
    assert http.get(url, headers={"If-None-Match": f'"{digest}"'}).status_code == 304


def test_a_blob_must_be_what_its_name_says(http: httpx.Client) -> None:
    right, wrong = b"the right bytes", b"the wrong bytes"
    digest = digest_of(right)
    assert_error(http.put(f"/v1/blobs/{digest}", content=wrong), 422, "blob")
    assert http.head(f"/v1/blobs/{digest}").status_code == 404
    assert_error(http.put(f"/v1/blobs/{digest}", content=iter([right])), 411, "length_required")
    assert_error(http.put("/v1/blobs/not-a-digest", content=right), 400, "bad_request")
    assert_error(http.get(f"/v1/artifacts/{'..%2f' * 3}etc"), 404, "not_found")
    assert_error(http.get(f"/v1/artifacts/{digest}"), 404, "not_found")


def test_a_blob_is_refused_for_its_size_before_a_byte_of_it_is_sent(
    controller: RunningController,
) -> None:
    address = urlsplit(controller.addresses.url)
    connection = HTTPConnection(address.hostname or "", address.port, timeout=30)
    connection.putrequest("PUT", f"/v1/blobs/{digest_of(b'')}")
    connection.putheader("Content-Length", str(2**40))
    connection.endheaders()
    answer = connection.getresponse()
    assert (answer.status, json.load(answer)["reason"]) == (413, "too_large")
    connection.close()


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"not json", 400), (b"[]", 400), (b"{}", 400), (b'{"model": 7}', 400), (b"\xff", 400)],
)
def test_bodies_that_make_no_sense_are_refused(
    http: httpx.Client, body: bytes, status: int
) -> None:
    for path in ("/v1/models", "/v1/plan", "/v1/rollouts"):
        assert_error(http.post(path, content=body), status, "bad_request")


def test_a_body_beyond_the_cap_is_refused(http: httpx.Client) -> None:
    body = b'"' + b"x" * MAX_BODY_BYTES + b'"'
    assert_error(http.post("/v1/plan", content=body), 413, "too_large")


def test_unknown_paths_and_methods_are_errors_in_the_same_frame(http: httpx.Client) -> None:
    assert_error(http.get("/v1/poetry"), 404, "not_found")
    assert_error(http.delete("/v1/devices"), 405, "method_not_allowed")


def test_devices_are_paged_and_filtered(http: httpx.Client, device: ScriptedDevice) -> None:
    everything = http.get("/v1/devices").json()
    assert everything["kind"] == "DeviceList"
    assert "pi-1" in [row["id"] for row in everything["items"]]
    row = next(row for row in everything["items"] if row["id"] == "pi-1")
    assert row["simulated"] is True
    assert row["online"] is True
    for query, found in [
        ("region=" + row["region"], True),
        ("region=mars", False),
        ("class=" + row["device_class"], True),
        ("label=site%3Dgreenhouse", True),
        ("label=site%3Dcellar", False),
        ("id=pi-1&id=pi-2", True),
        ("online=false", False),
    ]:
        ids = [item["id"] for item in http.get(f"/v1/devices?{query}").json()["items"]]
        assert ("pi-1" in ids) is found, query
    for query in ("limit=0", "limit=many", "label=site", "online=perhaps", "region=No+Such!"):
        assert_error(http.get(f"/v1/devices?{query}"), 400, "bad_request")
    assert_error(http.get("/v1/devices/nobody"), 404, "not_found")


def test_a_rollout_from_plan_to_proof(
    http: httpx.Client, device: ScriptedDevice, pushed: dict[str, Any]
) -> None:
    request = {"model": "activity", "devices": {"ids": ["pi-1"]}}
    plan = http.post("/v1/plan", json=request).json()
    assert plan["refusals"] == []
    assert [entry["device"] for entry in plan["devices"]] == ["pi-1"]
    wanted = plan["devices"][0]["after"]["variant"]

    why = http.get("/v1/devices/pi-1/why").json()
    assert why["chosen"] == wanted
    assert {verdict["variant"] for verdict in why["verdicts"]} == {"fp32", "int8"}

    started = http.post("/v1/rollouts", json=request, headers={"Fitment-Actor": "ada"})
    assert started.status_code == 201, started.text
    id = started.json()["id"]
    assert started.json()["actor"] == "ada"
    device.wait_for("activity", wanted)
    wait_for(lambda: http.get(f"/v1/rollouts/{id}").json()["done"], "the end of the rollout")
    rollout = http.get(f"/v1/rollouts/{id}").json()
    assert rollout["state"] == "completed", rollout
    assert (rollout["succeeded_count"], rollout["device_count"]) == (1, 1)
    assert http.get(f"/v1/rollouts/{id}/members").json()["items"][0]["device"] == "pi-1"
    gates = http.get(f"/v1/rollouts/{id}/explain").json()["gates"]
    assert gates
    assert all("threshold" in gate and gate["stratum"] for gate in gates)
    assert http.get("/v1/rollouts").json()["items"][0]["id"] == id

    page = http.get("/v1/devices/pi-1").json()
    model = page["models"][0]
    assert (model["active"], model["phase"], model["in_step"]) == (wanted, "active", True)
    assert model["accuracy"] == pytest.approx(0.868)
    assert page["events"]
    assert page["benchmarks"][0]["usable"] is True
    running = {row["name"]: row["device_count"] for row in pushed_variants(http)}
    assert running[wanted] == 1
    assert_error(http.post(f"/v1/rollouts/{id}/pause"), 409, "conflict")
    assert_error(http.post("/v1/rollouts/none/pause"), 404, "not_found")
    check_scrape(http, wanted)


def test_a_device_measures_when_it_is_asked(
    http: httpx.Client, device: ScriptedDevice, pushed: dict[str, Any]
) -> None:
    where = "/v1/devices/pi-1/benchmarks"
    wait_for(lambda: "activity" in device.active, "the rollout before")
    asked = http.post(where, json={"mode": "full"})
    assert asked.status_code == 202, asked.text
    assert (asked.json()["kind"], asked.json()["model"]) == ("BenchmarkRequest", "activity")
    wait_for(lambda: http.get(where).json()["items"][0]["mode"] == "full", "the result")
    (newest, *_) = http.get(where, params={"model": "activity"}).json()["items"]
    assert newest["energy"]["meter"] == "ina3221"
    assert newest["sustained"]["retention"] == 0.97
    assert http.get(where, params={"model": "keyword"}).json()["items"] == []
    text = http.get("/metrics").text
    assert re.search(r'fitment_benchmark_energy_joules{.*simulated="true".*} 0.0123', text)
    assert_error(http.post(where, json={"model": "keyword"}), 404, "not_found")
    assert_error(http.post(where, json={"mode": "endless"}), 400, "bad_request")
    assert_error(http.post("/v1/devices/nobody/benchmarks", json={}), 404, "not_found")
    assert_error(http.get("/v1/devices/nobody/benchmarks"), 404, "not_found")


def pushed_variants(http: httpx.Client) -> list[dict[str, Any]]:
    variants: list[dict[str, Any]] = http.get("/v1/models/activity").json()["variants"]
    return variants


def check_scrape(http: httpx.Client, variant: str) -> None:
    text = http.get("/metrics").text
    assert "fitment_broker_connected 1.0" in text
    assert re.search(
        rf'fitment_assignments{{.*model="activity",phase="active".*variant="{variant}"}} 1.0', text
    )
    assert 'fitment_update_attempts_total{model="activity"' in text
    assert 'fitment_messages_received_total{type="birth"}' in text
    assert "pi-1" not in text, "no series per device"


def test_a_plan_for_nobody_is_refused(http: httpx.Client, pushed: dict[str, Any]) -> None:
    request = {"model": "activity", "devices": {"ids": ["nobody"]}}
    assert http.post("/v1/plan", json=request).json()["refusals"]
    body = assert_error(http.post("/v1/rollouts", json=request), 409, "plan_refused")
    assert body["reasons"]


def test_the_log_is_read_backwards_and_forwards(http: httpx.Client, device: ScriptedDevice) -> None:
    newest = http.get("/v1/events?recent=1").json()["items"]
    assert len(newest) == 1
    forward = http.get("/v1/events?after=0&limit=1000").json()["items"]
    ids = [entry["id"] for entry in forward]
    assert ids == sorted(ids)
    assert ids[-1] >= newest[0]["id"]
    about = http.get("/v1/events?recent=50&device=pi-1").json()["items"]
    assert {entry["device"] for entry in about} == {"pi-1"}
    assert http.get(f"/v1/events?after={10**9}").json()["items"] == []
    assert_error(http.get("/v1/events?after=-1"), 400, "bad_request")


def test_the_log_streams(http: httpx.Client, device: ScriptedDevice) -> None:
    with http.stream("GET", "/v1/events", headers={"Accept": "text/event-stream"}) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = stream.iter_lines()
        first = next(lines)
        assert first.startswith("id: ")
        entry = json.loads(next(lines).removeprefix("data: "))
        assert f"id: {entry['id']}" == first
    header = {"Accept": "text/event-stream", "Last-Event-ID": str(entry["id"])}
    with http.stream("GET", "/v1/events", headers=header) as stream:
        assert next(stream.iter_lines()) != first


def test_profiles_in_force_and_profiles_checked(http: httpx.Client) -> None:
    rows = http.get("/v1/profiles").json()["items"]
    assert {row["kind"] for row in rows} == {"DeviceClass", "Region", "Objective"}
    balanced = http.get("/v1/profiles/balanced").json()
    assert balanced["kind"] == "Objective"
    assert_error(http.get("/v1/profiles/none"), 404, "not_found")
    files = {"mine/fast.yaml": "apiVersion: fitment/v1\nkind: Objektive\n", "../x": "a: ["}
    problems = http.post("/v1/profiles/validate", json={"files": files}).json()["items"]
    assert {problem["file"] for problem in problems} == set(files)
    assert [p["line"] for p in problems if p["file"] == "mine/fast.yaml"] == [2]
    assert_error(http.post("/v1/profiles/validate", json={"files": {}}), 400, "bad_request")


def test_web_pages_cannot_act_on_a_controller_without_tokens(http: httpx.Client) -> None:
    """A page that rebinds its name to this machine, or posts across origins, is refused."""
    for host in ("evil.example", "127.0.0.1.evil.example", "127.evil.example"):
        assert_error(http.get("/v1/status", headers={"Host": host}), 403, "forbidden")
    assert_error(
        http.post("/v1/plan", json={}, headers={"Origin": "http://evil.example"}), 403, "forbidden"
    )
    assert http.get("/v1/status", headers={"Origin": "http://evil.example"}).status_code == 200
    assert "access-control-allow-origin" not in http.get("/v1/status").headers


def test_a_token_is_made_once_and_an_empty_file_lets_nobody_in(tmp_path: Path) -> None:
    path = tmp_path / "api-token"
    token = load_or_create_token(path)
    assert len(token) > 30
    assert load_or_create_token(path) == token
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_text("\n")
    with pytest.raises(TokenFileError, match="is empty"):
        load_or_create_token(path)
