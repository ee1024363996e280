"""Why there is no broker."""

from __future__ import annotations

from fitment_controller.errors import ControllerError


class BrokerError(ControllerError):
    """The broker cannot be had as asked for."""

    kind = "broker"


class BrokerMissingError(BrokerError):
    """No engine that could be embedded is installed."""

    kind = "broker_missing"


class BrokerPortError(BrokerError):
    """Another process holds the broker's port."""

    kind = "broker_port"


class BrokerStartError(BrokerError):
    """The broker's process ended or never answered."""

    kind = "broker_start"


class BrokerExposureError(BrokerError):
    """The engine cannot be opened to the network safely."""

    kind = "broker_exposure"
