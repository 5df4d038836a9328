"""The simulator as a process: options, readiness, signals, logs."""

from __future__ import annotations

import os
import sys

if not __package__:
    # Started as a file: make the package importable, and its folder not shadow top-level modules.
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse  # noqa: E402  (the path above must be set first)
import asyncio  # noqa: E402
import gc  # noqa: E402
import json  # noqa: E402
import logging  # noqa: E402
import signal  # noqa: E402

EX_CONFIG = 78
EX_UNAVAILABLE = 69


class JsonLines(logging.Formatter):
    """Log records as JSON lines; never a request's text or key."""

    def format(self, record: logging.LogRecord) -> str:
        line = {"level": record.levelname.lower(), "event": record.getMessage()}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps({**line, **getattr(record, "fields", {})})


def log(level: int, event: str, **fields: object) -> None:
    logging.getLogger("simulator").log(level, event, extra={"fields": fields})


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="simulator", description="Six providers' wire formats on a loopback port, for tests and the demo.")
    parser.add_argument("--host", default="127.0.0.1", help="loopback address to bind (default %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="0 (the default) picks a free one")
    parser.add_argument("--port-file", metavar="FILE", help="write the port's number to FILE when listening")
    parser.add_argument("--ready-fd", type=int, metavar="N", help="write a newline to this descriptor when listening")
    parser.add_argument("--config", metavar="FILE", help="JSON file of settings")
    parser.add_argument("--ledger", metavar="FILE", help="append what was asked to FILE, a JSON object a line")
    parser.add_argument("--latency", action="append", default=[], metavar="[SCOPE=]SPEC",
                        help="SECONDS, fixed:S, uniform:LOW:HIGH, lognormal:MEDIAN:SIGMA[:MAX]; "
                        "scope: *, PROVIDER[/MODEL-GLOB]")
    parser.add_argument("--limit", action="append", default=[], metavar="SPEC",
                        help="PROVIDER[/MODEL-GLOB]:KIND[:UNIT]=LIMIT[/WINDOW_S][+BURST]; "
                        "kinds: sliding, fixed, bucket, concurrency")
    parser.add_argument("--seed", type=int, help="changes every answer, draw and latency")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=JSON", help="any other setting")
    return parser.parse_args(argv)


def _patch_of(options: argparse.Namespace, settings) -> dict:
    """The settings that the command line gives.  Raises ValueError."""
    patch: dict = {}
    for item in options.set:
        key, _, text = item.partition("=")
        try:
            patch[key] = json.loads(text)
        except ValueError:
            raise ValueError(f"--set {key}: {text!r} is not JSON") from None
    if options.latency:
        patch["latency"] = dict(settings.latency)
        for item in options.latency:
            scope, equals, spec = item.rpartition("=")
            patch["latency"][scope if equals else "*"] = spec
    if options.limit:
        patch["limits"] = options.limit
    if options.seed is not None:
        patch["seed"] = options.seed
    return patch


def _settings(options: argparse.Namespace):
    """Raises ValueError or OSError."""
    from simulator import settings as module
    settings = module.Settings()
    if options.config:
        module.load_file(settings, options.config)
    module.apply(settings, _patch_of(options, settings))
    return settings


def _announce(options: argparse.Namespace, host: str, port: int) -> None:
    """Tells everyone who asked that the port is open."""
    if options.port_file:
        partial = f"{options.port_file}.{os.getpid()}"
        with open(partial, "w", encoding="ascii") as file:
            file.write(f"{port}\n")
        os.rename(partial, options.port_file)
    print(json.dumps({"event": "listening", "host": host, "port": port, "pid": os.getpid()}), flush=True)
    if options.ready_fd is not None:
        os.write(options.ready_fd, b"\n")
        os.close(options.ready_fd)
    log(logging.INFO, "listening", host=host, port=port)


async def _run(options: argparse.Namespace, host: str, engine) -> None:
    from simulator.server import Simulator
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    simulator = Simulator(engine)
    port = await simulator.listen(host, options.port)
    _announce(options, host, port)
    # What was imported stays: the collector need not look at it again.
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    await stop.wait()
    simulator.close()
    log(logging.INFO, "stopping", ledger=engine.ledger.n, in_flight=engine.in_flight)


def main(argv: list[str] | None = None) -> int:
    options = _options(argv)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    try:
        from simulator.engine import Engine
        from simulator.ledger import Ledger
        from simulator.server import loopback_address
    except ModuleNotFoundError as error:
        print(f"simulator: {error.name} is missing: apt-get install python3-aiohttp", file=sys.stderr)
        return EX_UNAVAILABLE
    try:
        host = loopback_address(options.host)
        engine = Engine(_settings(options), Ledger(options.ledger))
    except (ValueError, OSError) as error:
        print(f"simulator: {error}", file=sys.stderr)
        return EX_CONFIG
    try:
        asyncio.run(_run(options, host, engine))
    except OSError as error:
        print(f"simulator: {host}:{options.port}: {error}", file=sys.stderr)
        return EX_UNAVAILABLE
    finally:
        # asyncio.run has cancelled what was under way, and each has written its line.
        engine.ledger.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
