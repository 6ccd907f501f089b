"""Addresses in S3."""

from __future__ import annotations


def split_uri(uri: str) -> tuple[str, str]:
    """Bucket and key of `s3://bucket/key`, also of `s3a://`."""
    bucket, _, key = uri.partition("://")[2].partition("/")
    return bucket, key
