"""What can go wrong while installing."""

from __future__ import annotations

from fitment_agent.errors import AgentError


class InstallError(AgentError):
    """The agent cannot be made a service here, or not by this user."""
