"""The dashboard as a service of the stack, and the work group of its queries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from config import Settings
from config.loader import PROJECT_ROOT
from infra.local.athena.query_command import open_athena
from infra.local.layout import VENV, Layout
from infra.local.service import Service, answers

if TYPE_CHECKING:
    from mypy_boto3_athena import AthenaClient

APP = PROJECT_ROOT / "dashboard" / "streamlit_app.py"
MB = 10**6


def dashboard_service(layout: Layout) -> Service:
    """Streamlit; it answers before Athena does, and its pages then say so."""
    host, port = layout.stack.bind_host, layout.stack.ports.dashboard
    return Service(
        name="dashboard",
        command=streamlit_command(host, port),
        ports={"dashboard": port},
        depends_on=("athena",),
        prepare=lambda: make_work_group(open_athena(layout.settings), layout.settings),
        is_ready=lambda _: answers(f"http://{host}:{port}/_stcore/health"),
    )


def streamlit_command(host: str, port: int) -> tuple[str, ...]:
    """A server that looks for no changed files: it would look through all that is imported for each new window."""
    options = (f"--server.address={host}", f"--server.port={port}", "--server.fileWatcherType=none")
    return (str(VENV / "bin" / "python"), "-m", "dashboard.serve", "run", str(APP), *options)


def make_work_group(athena: AthenaClient, settings: Settings) -> None:
    """Athena's work group of the dashboard, with its limit; one that exists gets the limit."""
    chosen = settings.pipeline.dashboard
    limit = chosen.scan_limit_mb * MB
    try:
        athena.create_work_group(
            Name=chosen.work_group,
            Description="the dashboard's queries",
            Configuration={
                "ResultConfiguration": {"OutputLocation": f"{settings.paths.athena_results}/"},
                "BytesScannedCutoffPerQuery": limit,
                "EnforceWorkGroupConfiguration": True,
            },
        )
    except ClientError as error:
        if "already created" not in str(error):
            raise
        athena.update_work_group(
            WorkGroup=chosen.work_group,
            ConfigurationUpdates={
                "BytesScannedCutoffPerQuery": limit,
                "EnforceWorkGroupConfiguration": True,
                "ResultConfigurationUpdates": {"OutputLocation": f"{settings.paths.athena_results}/"},
            },
        )
