"""What the supervisor starts: `python -m infra.local.run_service <name>` becomes the service's own process.

The environment is built here and not in the supervisor's configuration, whose quoting cannot hold JSON and which
would otherwise contain every password.
"""

from __future__ import annotations

import os
import sys

from infra.local.environment import service_environment
from infra.local.layout import open_layout
from infra.local.services import services
from infra.local.supervision import record_process


def main(name: str) -> None:
    layout = open_layout()
    service = next(service for service in services(layout) if service.name == name)
    record_process(layout.state, name)
    environment = {**service_environment(layout, os.environ), **service.environment}
    os.execvpe(service.command[0], service.command, environment)  # noqa: S606


if __name__ == "__main__":
    main(sys.argv[1])
