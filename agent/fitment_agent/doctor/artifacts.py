"""Do the servers answer that models come from? Known once a model was offered."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path

from fitment_agent.doctor.finding import Finding, fail, ok
from fitment_agent.doctor.patient import Patient
from fitment_agent.errors import StorageError
from fitment_agent.worker.http_range import GivenUp, PassingTrouble, open_from, origin
from fitment_contract.artifact import Artifact

_NAME = "artifacts"


def check(patient: Patient) -> list[Finding]:
    """One finding for each server that offered a file."""
    settings = patient.settings
    try:
        urls = _one_for_each_server(_offered(settings.state_dir))
    except StorageError as error:
        return [ok(_NAME, f"not tried: {error.detail}", patient.doctor)]
    if not urls:
        return [ok(_NAME, "no model was offered to this device yet")]
    return [_ask(url, patient) for url in urls]


def _offered(state_dir: Path) -> Iterable[Artifact]:
    from fitment_agent.journal import Journal
    from fitment_agent.wiring import JOURNAL_FILE

    path = state_dir / JOURNAL_FILE
    if not path.exists():
        return []
    journal = Journal.read_only(path)
    try:
        deployments = journal.deployments().values()
    finally:
        journal.close()
    return [
        artifact
        for deployment in deployments
        for artifact in (deployment.assignment.variant.artifact,)
    ]


def _one_for_each_server(artifacts: Iterable[Artifact]) -> list[str]:
    servers: dict[tuple[str, str, int | None], str] = {}
    for artifact in artifacts:
        for encoding in artifact.encodings:
            for url in encoding.urls:
                try:
                    servers.setdefault(origin(url), url)
                except GivenUp:
                    continue
    return list(servers.values())


def _ask(url: str, patient: Patient) -> Finding:
    token_file = patient.settings.artifact_token_file
    scheme, host, port = origin(url)
    server = f"{scheme}://{host}:{port}"
    try:
        token = token_file.read_text(encoding="ascii").strip() if token_file else None
        with open_from(url, 0, token):
            return ok(_NAME, f"{server} answers")
    except (OSError, UnicodeDecodeError):
        what = f"{server} was not tried: the token file cannot be read by this user"
        return ok(_NAME, what, patient.doctor)
    except GivenUp as error:
        if error.reason.value == "not_found":
            return ok(_NAME, f"{server} answers; it has that file no more")
        fix = f"{patient.install} --artifact-token-file FILE"
        return fail(_NAME, f"{server} refuses this device: {error}", fix)
    except PassingTrouble as error:
        return fail(_NAME, f"{server}: {error}", f"curl -I {shlex.quote(server)}")
