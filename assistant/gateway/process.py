"""A gateway as a process: `hone serve`, or a private one that a command starts for itself and that ends with it."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assistant import atomic, paths
from assistant.errors import HoneError

if TYPE_CHECKING:
    from assistant.config import Settings
    from assistant.gateway.app import Routes
    from assistant.gateway.fleet import Fleet
    from assistant.gateway.fleet_settings import FleetSettings
    from assistant.gateway.serving import Serving

RECORD = "gateway.json"
KEY = "gateway.key"


@dataclass(frozen=True)
class Service:
    """What a gateway serves, and how much of it at once; `config.Settings` tells each field."""

    model: str
    context_length: int
    threads: int | None
    slots: int
    queue: int
    deadline: float

    @classmethod
    def of(cls, settings: "Settings", model: str | None = None) -> "Service":
        return cls(
            model or settings.model,
            settings.context_length,
            settings.threads,
            settings.slots,
            settings.queue,
            settings.deadline,
        )


@dataclass(frozen=True)
class Running:
    """Where a gateway listens. One of `url` and `uds` is how to reach it; with a Unix socket, `url` is only a name."""

    pid: int
    started: float
    """Of the process, seconds since the epoch: a process id alone could have been given to another one."""
    url: str
    uds: str | None
    key_file: str
    model: str

    @property
    def alive(self) -> bool:
        import psutil

        try:
            return abs(psutil.Process(self.pid).create_time() - self.started) < 1.0
        except psutil.Error:
            return False


def find_running() -> Running | None:
    """The gateway that `hone serve` runs for this state folder, None when there is none."""
    try:
        loaded = json.loads((paths.run_dir() / RECORD).read_text("utf-8"))
        running = Running(**loaded["gateway"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return running if running.alive else None


def serve(
    service: "Service | FleetSettings", host: str, port: int, uds: Path | None, announce: Callable[[Running], None]
) -> None:
    """Serves until a signal ends it: one model, or what other servers do. `announce` is called when requests are
    accepted (the model may still load).

    Raises:
        HoneError: a gateway runs already for this state folder, the address cannot be used, or the model cannot be
            loaded.
    """
    from filelock import FileLock, Timeout

    from assistant.gateway.auth import ensure_key

    run_dir = paths.run_dir()
    lock = FileLock(run_dir / "gateway.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        other = find_running()
        where = f" at {other.uds or other.url} (process {other.pid})" if other else ""
        raise HoneError(f"a gateway runs already{where}; stop it first, or set another HONE_HOME") from error
    record = run_dir / RECORD
    bound: Path | None = None
    try:
        key = ensure_key(run_dir / KEY)
        listener = _listen_unix(uds) if uds else _listen(host, port)
        # Only now: what stood there before is not this gateway's to delete.
        bound = uds
        address = None if uds else listener.getsockname()
        running = Running(
            pid=os.getpid(),
            started=_own_start(),
            url=_url(address),
            uds=str(uds.absolute()) if uds else None,
            key_file=str(run_dir / KEY),
            model=service.model,
        )

        try:
            atomic.write_json(record, {"schema_version": 1, "gateway": asdict(running)}, mode=0o600)
        except OSError as error:
            raise HoneError(f"cannot write {record}: {error.strerror}") from error
        announce(running)
        names = [] if host in ("0.0.0.0", "::") else [host]
        if host != "127.0.0.1":
            names.append(socket.gethostname())
        asyncio.run(_run(service, key, listener, names, private=False))
    finally:
        record.unlink(missing_ok=True)
        if bound:
            bound.unlink(missing_ok=True)
        lock.release()


def serve_private() -> None:
    """Serves whoever started this process, by the configuration in the first line of standard input, until that closes.

    Writes one line to standard output when requests are accepted.
    """
    # Ctrl-C and a closed terminal reach the whole process group; the owner decides what they mean.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    first = sys.stdin.buffer.readline()
    if not first:
        return
    config = json.loads(first)
    uds = Path(config["uds"])
    listener = _listen_unix(uds)
    try:
        sys.stdout.write('{"ready": true}\n')
        sys.stdout.flush()
        asyncio.run(_run(Service(**config["service"]), config["key"], listener, [], private=True))
    finally:
        uds.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            uds.parent.rmdir()


async def _run(
    service: "Service | FleetSettings", key: str, listener: socket.socket, host_names: list[str], private: bool
) -> None:
    serving = _answering(service)
    # Begun before the imports below, which take as long as starting the engine's process.
    loading = asyncio.create_task(serving.load())
    await asyncio.sleep(0)
    import uvicorn

    from assistant.gateway.app import Gateway
    from assistant.gateway.connection import TimedConnection

    routes, status = _endpoints(serving, service)

    class Server(uvicorn.Server):
        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            # uvicorn's own raises the signal again at the end, before the engines are closed.
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM,) if private else (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self.handle_exit, number, None)
            yield

    config = uvicorn.Config(
        Gateway(routes, status, key, host_names),
        http=TimedConnection,
        lifespan="off",
        access_log=False,
        log_level="error",
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=1,
        # Longer than clients keep idle connections, so that none is closed just as it is used again.
        timeout_keep_alive=60,
        ws="none",
    )
    server = Server(config)
    if private:
        threading.Thread(target=_exit_with_owner, args=(server,), daemon=True).start()
    else:
        loading.add_done_callback(lambda _: _end_if_failed(server, serving))
    try:
        await server.serve(sockets=[listener])
    finally:
        loading.cancel()
        await serving.close()
    if not private and (failed := _load_error(serving)) is not None:
        raise failed


def _end_if_failed(server: Any, serving: "Serving | Fleet") -> None:
    if _load_error(serving) is not None:
        server.should_exit = True


def _load_error(serving: "Serving | Fleet") -> HoneError | None:
    from assistant.gateway.serving import Serving

    return serving.error if isinstance(serving, Serving) else None


def _answering(service: "Service | FleetSettings") -> "Serving | Fleet":
    if isinstance(service, Service):
        from assistant.gateway.serving import Serving

        return Serving(service.model, service.context_length, service.threads, service.slots)
    from assistant.gateway.fleet import Fleet

    return Fleet(service)


def _endpoints(serving: "Serving | Fleet", service: "Service | FleetSettings") -> "tuple[Routes, Callable[[], str]]":
    from assistant.answer_counts import AnswerCounts, Recorder
    from assistant.gateway.admission import Limits
    from assistant.gateway.routes import Endpoints
    from assistant.gateway.serving import Serving

    limits, counting = Limits(service.queue, service.deadline), Recorder(AnswerCounts())
    if isinstance(serving, Serving):
        endpoints = Endpoints(serving, limits, counting)
        return endpoints.routes(), endpoints.status
    from assistant.gateway.fleet_routes import FleetEndpoints

    forwarding = FleetEndpoints(serving, limits, counting)
    return forwarding.routes(), forwarding.status


def _exit_with_owner(server: Any) -> None:
    while os.read(0, 4096):
        pass
    server.should_exit = True


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
    except OSError as error:
        raise HoneError(
            f"cannot listen on {host} port {port}: {error.strerror}; choose others by --host and --port"
        ) from error
    return listener


def _listen_unix(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    previous = os.umask(0o177)
    try:
        if path.is_socket():
            if _answers(path):
                raise HoneError(f"cannot listen on {path}: another process does; choose another by --uds")
            # Left by a process that was killed.
            path.unlink()
        listener.bind(str(path))
        listener.listen(128)
    except OSError as error:
        raise HoneError(f"cannot listen on {path}: {error.strerror or error}; choose another by --uds") from error
    finally:
        os.umask(previous)
    return listener


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        # One whose queue of connections is full would hold a connection up for ever.
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return False
        except OSError:
            # A full queue, another kind of socket, or no right to connect: somebody's all the same.
            return True
    return True


def _url(address: Any) -> str:
    if address is None:
        return "http://localhost"
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    return f"http://{host}:{address[1]}"


def _own_start() -> float:
    import psutil

    return psutil.Process().create_time()
