"""The contract as an AsyncAPI 3 document, generated from the message models.

`python -m fitment_contract.asyncapi > docs/asyncapi.json` writes it; a test compares the file with
the models, so that the document is never behind the code.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from pydantic.json_schema import models_json_schema

from fitment_contract.codec import MAX_MESSAGE_BYTES, message_types
from fitment_contract.topics import DEFAULT_ROOT, DownChannel, UpChannel

_SCHEMAS = "#/components/schemas"
_RETAINED = frozenset({DownChannel.DESIRED})


def document() -> dict[str, Any]:
    """The AsyncAPI 3.0 document of contract version 1, as plain data."""
    types = message_types()
    _, definitions = models_json_schema(
        [(kind, "serialization") for kind in types.values()], ref_template=_SCHEMAS + "/{model}"
    )
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Fitment device contract",
            "version": "1",
            "description": (
                "What devices and controller say to each other over MQTT. Payloads are JSON of at "
                f"most {MAX_MESSAGE_BYTES} bytes; unknown fields are ignored."
            ),
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {channel.value: _channel(channel) for channel in types},
        "operations": {channel.value: _operation(channel) for channel in types},
        "components": {
            "messages": {
                kind.__name__: {"payload": {"$ref": f"{_SCHEMAS}/{kind.__name__}"}}
                for kind in types.values()
            },
            "schemas": definitions["$defs"],
        },
    }


def _channel(channel: UpChannel | DownChannel) -> dict[str, Any]:
    direction = "up" if isinstance(channel, UpChannel) else "down"
    name = message_types()[channel].__name__
    return {
        "address": f"{DEFAULT_ROOT}/v1/{direction}/{{device}}/{channel.value}",
        "parameters": {"device": {"description": "The device's id."}},
        "messages": {name: {"$ref": f"#/components/messages/{name}"}},
    }


def _operation(channel: UpChannel | DownChannel) -> dict[str, Any]:
    """What a device does on the channel: it sends upwards and receives downwards."""
    return {
        "action": "send" if isinstance(channel, UpChannel) else "receive",
        "channel": {"$ref": f"#/channels/{channel.value}"},
        "bindings": {"mqtt": {"qos": 1, "retain": channel in _RETAINED, "bindingVersion": "0.2.0"}},
    }


if __name__ == "__main__":
    json.dump(document(), sys.stdout, indent=2)
    sys.stdout.write("\n")
