"""Builds a controller from real parts, in the order in which they need each other."""

from __future__ import annotations

import hashlib
import importlib.metadata
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final

from fitment_contract.base import utc_now
from fitment_contract.topics import Topics
from fitment_controller.api.app import ApiParts, create_app
from fitment_controller.api.auth import (
    API_TOKEN_FILE,
    DEVICE_TOKEN_FILE,
    Tokens,
    load_or_create_token,
)
from fitment_controller.blobs import BlobStore
from fitment_controller.broker.base import Broker, BrokerEndpoint, BrokerLogins
from fitment_controller.broker.choose import choose_broker
from fitment_controller.broker.probe import bracketed, is_loopback, loopback_of
from fitment_controller.gateway import Gateway
from fitment_controller.metrics import FleetCollector, FleetMetrics
from fitment_controller.profiles import load_profiles
from fitment_controller.server import (
    READY_FILE,
    Addresses,
    HttpServer,
    ServerError,
    Ticker,
    listening_socket,
    locked,
    write_ready_file,
)
from fitment_controller.service import FleetService
from fitment_controller.service.ports import ServiceSettings
from fitment_controller.settings import Settings, trial_protocol
from fitment_controller.store import Store
from fitment_controller.views.rollouts import rollout_row
from fitment_controller.views.status import BrokerStatus, FleetStatus, fleet_status

_BROKER_TOKEN_FILE: Final = "broker-token"  # noqa: S105 - a file name
_CONNECT_SECONDS = 20.0


@dataclass(frozen=True)
class RunningController:
    """What `fitment up` and the tests hold.

    Attributes:
        addresses: where everything is.
        engine: which broker runs.
        exposed: other machines can reach it.
    """

    addresses: Addresses
    engine: str
    exposed: bool
    service: FleetService


@contextmanager
def running_controller(settings: Settings) -> Iterator[RunningController]:
    """Everything started and answering; stopped in the reverse order at the end.

    Raises:
        ConflictError: another controller uses the data directory.
        BrokerError: there is no broker to be had.
        ServerError: the API cannot listen, or the broker does not let the controller in.
        StoreError, ProfileError: data or profiles cannot be used.
    """
    with ExitStack() as stack:
        stack.enter_context(locked(settings.data_dir))
        exposed = not is_loopback(settings.listen)
        tokens = _tokens(settings) if exposed else None
        server_socket = stack.enter_context(listening_socket(settings.listen, settings.port))
        profiles = load_profiles(settings.profiles_dir)
        store = Store(f"sqlite:///{settings.data_dir / 'controller.db'}")
        stack.callback(store.close)

        topics = Topics(settings.topic_root)
        broker = choose_broker(settings, topics, _logins(settings) if exposed else None)
        endpoint = broker.start()
        stack.callback(broker.stop)
        gateway = Gateway(endpoint, topics, _client_id(settings))

        addresses = _addresses(settings, server_socket.getsockname()[1], endpoint)
        metrics = FleetMetrics(_version())
        service = FleetService(
            store,
            BlobStore(settings.data_dir / "blobs"),
            profiles,
            gateway,
            utc_now,
            ServiceSettings(
                addresses.artifacts_url,
                lease_seconds=settings.lease_seconds,
                protocol=trial_protocol(settings),
            ),
            metrics,
        )
        metrics.registry.register(FleetCollector(service, gateway.connected, gateway.published))
        gateway.start(service)
        stack.callback(gateway.stop)
        if not gateway.wait_connected(_CONNECT_SECONDS):
            raise ServerError(
                f"the broker at {endpoint.url} does not let the controller in",
                "check user and password file, and the lines above",
            )
        ticker = Ticker(service.tick)
        ticker.start()
        stack.callback(ticker.stop)

        parts = _Parts(service, broker, gateway, endpoint)
        http = HttpServer(server_socket)
        stack.callback(http.stop)
        http.start(
            create_app(
                ApiParts(
                    service=service,
                    status=parts.status,
                    metrics=metrics.scrape,
                    healthy=parts.healthy,
                    stopping=http.stopping,
                    tokens=tokens,
                )
            )
        )
        for path in (settings.data_dir / READY_FILE, settings.ready_file):
            if path is not None:
                write_ready_file(path, addresses)
                stack.callback(path.unlink, missing_ok=True)
        yield RunningController(addresses, broker.name, exposed, service)


class _Parts:
    """Answers about the controller itself.

    Args:
        service: knows the fleet.
        broker: knows whether it lives.
        gateway: knows whether messages flow.
        endpoint: where the broker is.
    """

    def __init__(
        self, service: FleetService, broker: Broker, gateway: Gateway, endpoint: BrokerEndpoint
    ) -> None:
        self._service = service
        self._broker = broker
        self._gateway = gateway
        self._endpoint = endpoint
        self._started_at = utc_now()

    def healthy(self) -> bool:
        """Whether broker and connection work."""
        return self._gateway.connected() and self._broker.healthy()

    def status(self) -> FleetStatus:
        """The one-screen state."""
        intake = self._service.intake()
        return fleet_status(
            version=_version(),
            started_at=self._started_at,
            fleet=self._service.fleet_summary(),
            rollouts=[rollout_row(rollout) for rollout in self._service.rollouts(limit=50).items],
            events=self._service.recent_events(200),
            broker=BrokerStatus(
                engine=self._broker.name,
                url=self._endpoint.url,
                connected=self._gateway.connected(),
                received=dict(intake.received),
                dropped=dict(intake.dropped),
            ),
        )


def _addresses(settings: Settings, port: int, endpoint: BrokerEndpoint) -> Addresses:
    exposed = not is_loopback(settings.listen)
    host = settings.advertise or _reachable(settings.listen)
    embedded = settings.broker_url is None
    user = "device@" if exposed and embedded else ""
    broker_url = f"mqtt://{user}{bracketed(host)}:{endpoint.port}" if embedded else endpoint.url
    data_dir = settings.data_dir
    return Addresses(
        data_dir=data_dir,
        url=f"http://{bracketed(loopback_of(settings.listen))}:{port}",
        artifacts_url=f"http://{bracketed(host)}:{port}/v1/artifacts",
        broker_url=broker_url,
        topic_root=settings.topic_root,
        api_token_file=data_dir / API_TOKEN_FILE if exposed else None,
        device_token_file=data_dir / DEVICE_TOKEN_FILE if exposed else None,
    )


def _reachable(listen: str) -> str:
    """The address that other machines use: of the interface that has the default route."""
    if listen not in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        return listen
    family = socket.AF_INET6 if ":" in listen else socket.AF_INET
    far = "2001:db8::1" if ":" in listen else "192.0.2.1"  # documentation addresses, never reached
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((far, 9))  # UDP: chooses an interface and sends nothing
            address: str = probe.getsockname()[0]
        except OSError:
            return socket.gethostname()
    return address


def _tokens(settings: Settings) -> Tokens:
    return Tokens(
        api=load_or_create_token(settings.data_dir / API_TOKEN_FILE),
        device=load_or_create_token(settings.data_dir / DEVICE_TOKEN_FILE),
    )


def _logins(settings: Settings) -> BrokerLogins:
    """The embedded broker's passwords; devices use the same token as for artifacts."""
    logins = BrokerLogins(
        controller=settings.data_dir / _BROKER_TOKEN_FILE,
        device=settings.data_dir / DEVICE_TOKEN_FILE,
    )
    for path in (logins.controller, logins.device):
        load_or_create_token(path)
    return logins


def _client_id(settings: Settings) -> str:
    """The same for every start on this data, so that a broker ends what a crash left behind."""
    identity = f"{socket.gethostname()}:{settings.data_dir}"
    return f"fitment-controller-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"


def _version() -> str:
    return importlib.metadata.version("fitment")
