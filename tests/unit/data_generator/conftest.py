"""A bucket in memory and settings that point at it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import boto3
import pytest
from moto import mock_aws

import config
from config import Settings


@pytest.fixture
def settings() -> Settings:
    """The project's settings, with an S3 that is moto's."""
    loaded = config.load()
    aws = replace(loaded.environment.aws, endpoint_url=None, region="us-east-1", bucket="lake")
    environment = replace(loaded.environment, aws=aws)
    return replace(loaded, environment=environment, paths=replace(loaded.paths, truth="s3://lake/truth"))


@pytest.fixture
def bucket(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty bucket; commands started in the test use it too."""
    monkeypatch.setattr(config, "load", lambda: settings)
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    with mock_aws():
        boto3.client("s3", region_name="us-east-1").create_bucket(Bucket="lake")
        yield "lake"
