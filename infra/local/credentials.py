"""Passwords and keys of one stack: generated at its first start, kept beside its state, never in the repository."""

from __future__ import annotations

import base64
import dataclasses
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Credentials:
    postgres_password: str
    airflow_database_password: str
    airflow_admin_password: str
    airflow_fernet_key: str
    airflow_jwt_secret: str
    airflow_secret_key: str
    supervisor_password: str


def generate() -> Credentials:
    return Credentials(
        postgres_password=secrets.token_hex(16),
        airflow_database_password=secrets.token_hex(16),
        airflow_admin_password=secrets.token_urlsafe(12),
        airflow_fernet_key=base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        airflow_jwt_secret=secrets.token_hex(32),
        airflow_secret_key=secrets.token_hex(32),
        supervisor_password=secrets.token_hex(16),
    )


def load_or_generate(state: Path) -> Credentials:
    """Those of `state/secrets.json`; written with mode 0600 when there are none yet."""
    file = state / "secrets.json"
    if file.exists():
        return Credentials(**json.loads(file.read_text(encoding="utf-8")))
    credentials = generate()
    write_private(file, json.dumps(dataclasses.asdict(credentials), indent=2) + "\n")
    return credentials


def write_private(file: Path, text: str) -> None:
    """Write atomically a file that only its owner reads."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(file.name + ".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)
    temporary.replace(file)
