"""Does the broker let this device in? Asked step by step: name, port, TLS, a real CONNECT."""

from __future__ import annotations

import socket
import ssl
import time
import uuid
from typing import Any

from fitment_agent.doctor.finding import Finding, fail, ok
from fitment_agent.doctor.patient import Patient
from fitment_agent.link import BrokerAddress

_NAME = "broker"
_SECONDS = 6.0


def check(patient: Patient) -> list[Finding]:
    """The first step that fails, with what mends it."""
    settings = patient.settings
    password = None
    if settings.password_file is not None:
        try:
            password = settings.password_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            what = "not tried: the password file cannot be read by this user"
            return [ok(_NAME, what, patient.doctor)]
    address = BrokerAddress.parse(settings.broker_url, password, settings.ca_file)
    refusal = _unreachable(patient, address) or _refused(patient, address, settings.device_id)
    return [refusal or ok(_NAME, f"{settings.broker_url} lets {settings.device_id} in")]


def _unreachable(patient: Patient, address: BrokerAddress) -> Finding | None:
    where = f"{address.host}:{address.port}"
    try:
        socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        what = f"the name {address.host} leads nowhere: {error}"
        return fail(_NAME, what, f"getent hosts {address.host}; {patient.install} --broker URL")
    try:
        with socket.create_connection((address.host, address.port), _SECONDS) as connection:
            return _insecure(patient, address, connection) if address.tls else None
    except ConnectionRefusedError:
        what = f"nothing listens at {where}"
        fix = f"at headquarters: fitment up --listen 0.0.0.0 --broker-port {address.port}"
        return fail(_NAME, what, fix)
    except OSError as error:
        what = f"{where} does not answer: {error.strerror or error}"
        return fail(_NAME, what, f"ping {address.host}; look for a firewall between")


def _insecure(
    patient: Patient, address: BrokerAddress, connection: socket.socket
) -> Finding | None:
    """Shake hands as the agent would."""
    try:
        context = ssl.create_default_context(
            cafile=str(address.ca_file) if address.ca_file else None
        )
        with context.wrap_socket(connection, server_hostname=address.host):
            return None
    except ssl.SSLCertVerificationError as error:
        reason = error.verify_message
        fix = f"{patient.install} --ca-file CERTIFICATE_OF_THE_AUTHORITY"
        if "not yet valid" in reason or "expired" in reason:
            fix = "date: a wrong clock makes good certificates bad; sudo timedatectl set-ntp true"
        return fail(_NAME, f"the certificate of {address.host} is not trusted: {reason}", fix)
    except (ssl.SSLError, OSError) as error:
        what = f"{address.host}:{address.port} does not speak TLS: {error}"
        return fail(_NAME, what, f"{patient.install} --broker mqtt://..., or another port")


def _refused(patient: Patient, address: BrokerAddress, device_id: str) -> Finding | None:
    """Say CONNECT under a name of its own: under the agent's it would throw the agent out."""
    answers = _connect(address, f"{device_id}-doctor-{uuid.uuid4().hex[:6]}")
    if not answers:
        what = f"{address.host}:{address.port} does not answer as an MQTT broker"
        return fail(_NAME, what, f"{patient.install} --broker URL, with the broker's own port")
    answer = answers[0]
    if not answer.is_failure:
        return None
    who = f"the user {address.username!r}" if address.username else "a device without a user name"
    fix = f"{patient.install} --broker mqtt://USER@HOST:PORT --password-file FILE"
    return fail(_NAME, f"the broker refuses {who}: {answer}", fix)


def _connect(address: BrokerAddress, client_id: str) -> list[Any]:
    import paho.mqtt.client as mqtt
    from paho.mqtt.enums import CallbackAPIVersion

    answers: list[Any] = []
    client = mqtt.Client(
        CallbackAPIVersion.VERSION2,
        client_id=client_id,
        protocol=mqtt.MQTTv311,
        reconnect_on_failure=False,
    )
    client.on_connect = lambda _client, _data, _flags, code, _more: answers.append(code)
    if address.username is not None:
        client.username_pw_set(address.username, address.password)
    if address.tls:
        client.tls_set(ca_certs=str(address.ca_file) if address.ca_file else None)
    client.connect_timeout = _SECONDS
    deadline = time.monotonic() + _SECONDS
    try:
        client.connect(address.host, address.port)
        while not answers and time.monotonic() < deadline:
            if client.loop(timeout=0.2) != mqtt.MQTT_ERR_SUCCESS:
                break
        client.disconnect()
    except OSError:  # it hung up instead of answering
        return answers
    return answers
