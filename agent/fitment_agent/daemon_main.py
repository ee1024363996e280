"""The process that `fitment-agent run` becomes: the daemon without the command line's libraries.

python -m fitment_agent.daemon_main '<settings as JSON>'
"""

from __future__ import annotations

import logging
import sys

from fitment_agent.errors import AgentError, AlreadyRunningError, FactsFileError, SettingsError
from fitment_agent.memory import settle
from fitment_agent.settings import Settings
from fitment_agent.wiring import build_daemon

_EXIT_ERROR, _EXIT_USAGE, _EXIT_CONFLICT = 1, 2, 5


def main(arguments: list[str]) -> int:
    """Run until told to stop; the exit code."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s"
    )
    try:
        daemon = build_daemon(Settings.from_json(arguments[0]))
        settle()
        daemon.run()
    except AgentError as error:
        sys.stderr.write(f"fitment-agent: {error}\n")
        if isinstance(error, SettingsError | FactsFileError):
            return _EXIT_USAGE
        return _EXIT_CONFLICT if isinstance(error, AlreadyRunningError) else _EXIT_ERROR
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
