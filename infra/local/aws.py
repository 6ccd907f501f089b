"""S3 and Glue on disk, behind one port: ministack, started through `aws_endpoint`."""

from __future__ import annotations

import requests

from infra.local.layout import MINISTACK_VENV, Layout
from infra.local.service import Service


def aws_service(layout: Layout) -> Service:
    port = layout.stack.ports.aws
    return Service(
        name="aws",
        command=(str(MINISTACK_VENV / "bin" / "python"), "-m", "infra.local.aws_endpoint"),
        environment=endpoint_environment(layout),
        ports={"aws": port},
        prepare=lambda: (layout.state / "aws" / "tmp").mkdir(parents=True, exist_ok=True),
        is_ready=lambda _: _is_healthy(f"http://{layout.stack.bind_host}:{port}"),
    )


def endpoint_environment(layout: Layout) -> dict[str, str]:
    """Settings of ministack; the last three tell `aws_endpoint` what must exist before the port opens."""
    state = layout.state / "aws"
    return {
        "GATEWAY_PORT": str(layout.stack.ports.aws),
        "BIND_HOST": layout.stack.bind_host,
        "MINISTACK_HOST": layout.stack.bind_host,
        "MINISTACK_REGION": layout.environment.aws.region,
        "LOG_LEVEL": "WARNING",
        "IOT_MTLS_ENABLED": "0",  # both would open a port of their own, on every interface
        "SFTP_ENABLED": "0",
        "PERSIST_STATE": "1",
        "STATE_DIR": str(state / "state"),
        "S3_PERSIST": "1",
        "S3_DATA_DIR": str(state / "s3"),
        "TMPDIR": str(state / "tmp"),
        "DOCKER_HOST": f"unix://{state}/no-docker.sock",  # it looks for containers to clean up
        "LAKEHOUSE_BUCKET": layout.environment.aws.bucket,
        "LAKEHOUSE_WAREHOUSE": layout.settings.paths.warehouse,
        "LAKEHOUSE_DATABASE": layout.settings.paths.database,
    }


def _is_healthy(url: str) -> bool:
    try:
        return requests.get(f"{url}/_ministack/health", timeout=2, proxies={"http": ""}).ok
    except requests.RequestException:
        return False
