"""Names of compression codecs."""

from __future__ import annotations

from infra.local.athena.plan import StatementError

TRINO_CODECS = {
    "NONE": "NONE",
    "UNCOMPRESSED": "NONE",
    "SNAPPY": "SNAPPY",
    "GZIP": "GZIP",
    "ZLIB": "GZIP",
    "DEFLATE": "GZIP",
    "ZSTD": "ZSTD",
    "LZ4": "LZ4",
}


def trino_codec(name: str) -> str:
    """The value of Trino's `compression_codec`. Raises StatementError for a codec that the engine cannot write."""
    codec = TRINO_CODECS.get(name.upper())
    if codec is None:
        raise StatementError(f"Unsupported compression '{name}'. Supported: {', '.join(TRINO_CODECS)}")
    return codec
