"""Which broker a controller uses."""

from __future__ import annotations

from fitment_contract.topics import Topics
from fitment_controller.broker.base import Broker, BrokerLogins
from fitment_controller.broker.embedded import EmbeddedBroker
from fitment_controller.broker.errors import BrokerMissingError
from fitment_controller.broker.external import ExternalBroker, parse_broker_url
from fitment_controller.broker.mosquitto import find_mosquitto, mosquitto_broker
from fitment_controller.broker.nats import find_nats, nats_broker
from fitment_controller.broker.probe import free_port
from fitment_controller.settings import BrokerEngine, Settings

_INSTALL = {
    BrokerEngine.MOSQUITTO: "apt install mosquitto (or brew install mosquitto)",
    BrokerEngine.NATS: "pip install 'fitment[embedded]' (loopback only, needs no root)",
}


def choose_broker(settings: Settings, topics: Topics, logins: BrokerLogins | None) -> Broker:
    """The broker that `settings` ask for; by itself Mosquitto if installed, else NATS.

    Args:
        settings: engine or address, port, and where to listen.
        topics: for the broker's access rules.
        logins: passwords an embedded broker asks for; None on loopback.

    Raises:
        BrokerMissingError: the engine asked for, or every engine, is not installed.
        BrokerExposureError: the engine may not listen where it is asked to.
        BrokerError: the address of the external broker is no such address.
    """
    if settings.broker_url is not None:
        endpoint = parse_broker_url(
            settings.broker_url, settings.broker_password_file, settings.broker_ca_file
        )
        return ExternalBroker(endpoint)
    return _embedded(settings, topics, logins)


def _embedded(settings: Settings, topics: Topics, logins: BrokerLogins | None) -> EmbeddedBroker:
    port = settings.broker_port or free_port(settings.listen)
    directory = settings.data_dir / "broker"
    wanted = settings.embedded_broker
    mosquitto, nats = find_mosquitto(), find_nats()
    if mosquitto and wanted in (BrokerEngine.AUTO, BrokerEngine.MOSQUITTO):
        return mosquitto_broker(mosquitto, directory, settings.listen, port, topics, logins)
    if nats and wanted in (BrokerEngine.AUTO, BrokerEngine.NATS):
        return nats_broker(nats, directory, settings.listen, port)
    installs = [how for engine, how in _INSTALL.items() if wanted in (BrokerEngine.AUTO, engine)]
    raise BrokerMissingError(
        "no broker is installed" if wanted is BrokerEngine.AUTO else f"{wanted.value} is missing",
        " or ".join([*installs, "name your own broker with --broker mqtt://host:1883"]),
    )
