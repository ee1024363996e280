"""A small headquarters for one real agent: a broker, an artifact server and a controller's ear."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from fitment_agent.settings import Settings, runtime_environment
from fitment_contract.artifact import Artifact
from fitment_contract.base import utc_now
from fitment_contract.benchmark import BenchmarkProtocol
from fitment_contract.codec import decode, encode
from fitment_contract.messages import (
    Assignment,
    Birth,
    Command,
    CommandName,
    Desired,
    ModelState,
    Reported,
    UpMessage,
)
from fitment_contract.phase import Phase
from fitment_contract.topics import DownChannel, Topics, UpTopic
from fitment_contract.variant import Needs, Variant
from support.runtime_models import save_mlp

DEVICE = "bench-1"
MODEL = "activity"
TOPICS = Topics()
LIMIT_SECONDS = 60.0
QUICK = BenchmarkProtocol(warmup=1, min_seconds=0.05, min_count=5, wall_limit_seconds=60.0)


def wait_until(condition: Callable[[], Any], what: str, seconds: float = LIMIT_SECONDS) -> Any:
    """Polls until `condition` gives something true, and gives it back."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s in vain: {what}"
        time.sleep(0.02)
    return found


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


class LabBroker:
    """A real broker without persistence: Mosquitto where it is installed, NATS otherwise."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._command(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_until(self._listens, "the broker to listen")

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _command(self) -> list[str]:
        mosquitto = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        config = self._folder / "broker.conf"
        if mosquitto is not None:
            config.write_text(
                f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence false\n"
            )
            return [mosquitto, "-c", str(config)]
        nats = str(Path(sys.executable).with_name("nats-server"))
        config.write_text(
            f'server_name: lab\nlisten: "127.0.0.1:{free_port()}"\n'
            f'jetstream {{ store_dir: "{self._folder}/js-{time.time_ns()}" }}\n'
            f'mqtt {{ listen: "127.0.0.1:{self.port}" }}\n'
        )
        return [nats, "-c", str(config)]

    def _listens(self) -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0


class Headquarters:
    """What a controller would hear from one device, and how it would answer."""

    def __init__(self, port: int, device: str = DEVICE) -> None:
        self.device = device
        self.heard: list[UpMessage] = []
        self.retained: dict[str, bytes] = {}
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=f"hq-{port}-{device}")
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = self._on_connect
        self._client.on_message = self._on_message
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        wait_until(self._client.is_connected, "headquarters to connect")

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def desire(self, generation: int, *assignments: Assignment) -> None:
        message = Desired(
            device=self.device, sent_at=utc_now(), generation=generation, assignments=assignments
        )
        self.send(encode(message), retain=True)

    def send(
        self, payload: bytes, channel: DownChannel = DownChannel.DESIRED, retain: bool = False
    ) -> None:
        topic = TOPICS.down(self.device, channel)
        if retain:
            self.retained[topic] = payload
        self._client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(10)

    def command(self, name: CommandName, model: str | None = None) -> None:
        command = Command(
            device=self.device, sent_at=utc_now(), id=uuid.uuid4().hex, name=name, model=model
        )
        topic = TOPICS.down(self.device, DownChannel.COMMAND)
        self._client.publish(topic, encode(command), qos=1)

    def all(self, kind: type[UpMessage]) -> list[Any]:
        return [message for message in list(self.heard) if type(message) is kind]

    def states(self) -> list[ModelState]:
        """Every model state heard, in order."""
        told = [m for m in list(self.heard) if isinstance(m, Birth | Reported)]
        return [state for message in told for state in message.models]

    def await_state(
        self, phase: Phase, generation: int, model: str = MODEL, seconds: float = LIMIT_SECONDS
    ) -> ModelState:
        def latest() -> ModelState | None:
            of_model = [state for state in self.states() if state.model == model]
            if of_model and of_model[-1].phase is phase and of_model[-1].generation >= generation:
                return of_model[-1]
            return None

        found: ModelState = wait_until(
            latest, f"{model} to be {phase.value} in generation {generation}", seconds
        )
        return found

    def _on_connect(self, client: mqtt.Client, *_: Any) -> None:
        client.subscribe(TOPICS.all_up(), qos=1)
        for topic, payload in self.retained.items():
            client.publish(topic, payload, qos=1, retain=True)
        if self.heard:  # what was said meanwhile was missed: ask, as a controller does
            self.command(CommandName.REPORT)

    def _on_message(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        topic = TOPICS.parse(message.topic)
        assert isinstance(topic, UpTopic)
        if topic.device == self.device:
            up = decode(topic, bytes(message.payload))
            assert isinstance(up, UpMessage)
            self.heard.append(up)


class _ArtifactHandler(BaseHTTPRequestHandler):
    server: _ArtifactServer

    def do_GET(self) -> None:
        content = self.server.contents.get(self.path.lstrip("/"))
        if content is None:
            self.send_error(404)
            return
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(wanted[1]) if wanted else 0
        self.send_response(206 if wanted else 200)
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.server.hits += 1
        self.wfile.write(content[start:])

    def log_message(self, *_: Any) -> None:
        return


class _ArtifactServer(ThreadingHTTPServer):
    contents: dict[str, bytes]
    hits: int


class Artifacts:
    """Serves bytes by their digest over real HTTP, with Range."""

    def __init__(self) -> None:
        self._server = _ArtifactServer(("127.0.0.1", 0), _ArtifactHandler)
        self._server.contents = {}
        self._server.hits = 0
        self._serve()

    def unplug(self) -> None:
        """Refuse connections until `plug_in`."""
        self.close()

    def plug_in(self) -> None:
        """Listen again, where it did before."""
        before = self._server
        self._server = _ArtifactServer(before.server_address, _ArtifactHandler)
        self._server.contents, self._server.hits = before.contents, before.hits
        self._serve()

    @property
    def hits(self) -> int:
        return self._server.hits

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def add(self, content: bytes) -> Artifact:
        digest = hashlib.sha256(content).hexdigest()
        self._server.contents[digest] = content
        artifact = Artifact(digest=digest, size_bytes=len(content))
        return artifact.located(f"{self.url}/{digest}")

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _serve(self) -> None:
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()


class Lab:
    """Broker, artifacts and headquarters for agents under one temporary folder."""

    def __init__(self, folder: Path, device: str = DEVICE) -> None:
        self.folder = folder
        self.device = device
        self.broker = LabBroker(folder)
        self.broker.start()
        self.artifacts = Artifacts()
        self.headquarters = Headquarters(self.broker.port, device)

    def close(self) -> None:
        self.headquarters.close()
        self.artifacts.close()
        self.broker.stop()

    @property
    def state_dir(self) -> Path:
        return self.folder / "state"

    def assignment(
        self,
        features: int = 8,
        model: str = MODEL,
        protocol: BenchmarkProtocol = QUICK,
        **terms: Any,
    ) -> Assignment:
        """A tiny real ONNX model, offered; another number of features is another variant."""
        path = save_mlp(self.folder / f"mlp-{features}.onnx", features=features)
        artifact = self.artifacts.add(path.read_bytes())
        variant = Variant(
            name=f"fp32-{features}",
            model=model,
            format="onnx",
            precision="fp32",
            artifact=artifact,
            compressed_bytes=artifact.size_bytes,
            needs=Needs(runtime="onnxruntime"),
        )
        return Assignment(model=model, variant=variant, protocol=protocol, **terms)

    def settings(self, **changes: Any) -> Settings:
        given: dict[str, Any] = {
            "device_id": self.device,
            "state_dir": self.state_dir,
            "broker_url": self.broker.url,
            "heartbeat_seconds": 1.0,
            "reconnect_min_seconds": 0.1,
            "reconnect_max_seconds": 0.5,
            "reserve_bytes": 0,
        }
        return Settings(**{**given, **changes})


class AgentProcess:
    """A real agent: the very process that `fitment-agent run` becomes, or `program` around it."""

    def __init__(self, settings: Settings, program: str | None = None, *arguments: str) -> None:
        self.log = settings.state_dir.parent / f"agent-{time.time_ns()}.log"
        code = ["-c", program] if program else ["-m", "fitment_agent.daemon_main"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, *code, settings.to_json(), *arguments],
                stdout=log,
                stderr=log,
                env=runtime_environment(),
            )

    @property
    def has_ended(self) -> bool:
        """Whether it runs no more."""
        return self.process.poll() is not None

    def await_death(self, seconds: float = LIMIT_SECONDS) -> int:
        """The return code, as `subprocess` gives it."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the agent lives on:\n{self.log.read_text()}") from None

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.await_death()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def running_agent(settings: Settings) -> Iterator[AgentProcess]:
    agent = AgentProcess(settings)
    try:
        yield agent
    finally:
        agent.kill()


def pointer(state_dir: Path, model: str = MODEL) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(
        (state_dir / "models" / model / "active.json").read_bytes()
    )
    return content
