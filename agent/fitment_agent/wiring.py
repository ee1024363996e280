"""Builds the agent from its real parts. Nothing else does."""

from __future__ import annotations

import queue
from functools import partial
from importlib import metadata

from fitment_agent.conductor import Conductor
from fitment_agent.daemon import Daemon, Inbox, say_benchmark
from fitment_agent.deployment import RetryPolicy
from fitment_agent.errors import SettingsError
from fitment_agent.facts import FactsKeeper
from fitment_agent.journal import Journal
from fitment_agent.link import Backoff, BrokerAddress, PahoLink
from fitment_agent.probe import make_probe
from fitment_agent.reporting import Reporter
from fitment_agent.settings import Settings
from fitment_agent.state import AgentState
from fitment_agent.timers import Timers
from fitment_agent.work import Workbench
from fitment_contract.topics import Topics

JOURNAL_FILE = "journal.db"


def build_daemon(settings: Settings, *, journal: Journal | None = None) -> Daemon:
    """The daemon, ready to run.

    Args:
        settings: of this agent.
        journal: used instead of the one in the state directory.

    Raises:
        SettingsError: the password file cannot be read.
        FactsFileError: facts are declared, and wrongly.
    """
    inbox: Inbox = queue.SimpleQueue()
    topics = Topics(settings.topic_root)
    probe = make_probe(settings)
    address = BrokerAddress.parse(settings.broker_url, _password(settings), settings.ca_file)
    journal = journal or Journal(settings.state_dir / JOURNAL_FILE)
    state = build_state(settings, journal)
    link = PahoLink(address, settings.device_id, inbox.put)
    reporter = Reporter(settings.device_id, metadata.version("fitment"), topics, link, journal)
    facts, timers = FactsKeeper(probe, journal), Timers()
    bench = Workbench(settings, inbox.put)
    conductor = Conductor(state, bench, facts, timers, settings, partial(say_benchmark, reporter))
    backoff = Backoff(settings.reconnect_min_seconds, settings.reconnect_max_seconds)
    return Daemon(settings, state, conductor, reporter, facts, timers, backoff, topics, inbox)


def build_state(settings: Settings, journal: Journal) -> AgentState:
    """The state of a directory, for the daemon and for a command line without one."""
    policy = RetryPolicy(
        settings.retry_limit, settings.retry_base_seconds, settings.retry_max_seconds
    )
    return AgentState(settings.state_dir, journal, policy)


def _password(settings: Settings) -> str | None:
    if settings.password_file is None:
        return None
    try:
        return settings.password_file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise SettingsError(
            f"The password file {settings.password_file} cannot be read: {error.strerror}.",
            "Name a file that the agent's user may read.",
        ) from None
