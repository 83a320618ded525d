"""`python -m gateway.demo.tour`: start, introduce, wait."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from gateway.config.loader import load_file
from gateway.config.problem import ConfigError
from gateway.demo.tour.http import CallFailed
from gateway.demo.tour.introduction import Introduction, introduce
from gateway.demo.tour.keys import DevelopmentKeys
from gateway.demo.tour.ports import PortTaken, check_free
from gateway.demo.tour.serving import GatewayProcess


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(
        prog="dev.py run", description="Start Tunegate with a demo upstream and print what to paste."
    )
    parser.add_argument(
        "--config", type=Path, default=Path("config/gateway.yaml"), help="configuration file (%(default)s)"
    )
    parser.add_argument("--port", type=int, help="of the data plane; 0 = any free one")
    parser.add_argument("--admin-port", type=int, help="of the control plane; 0 = any free one")
    parser.add_argument("--data", type=Path, help="folder for the embedded store and the development keys")
    parser.add_argument("--json", action="store_true", help="print one JSON object when ready, nothing else")
    parser.add_argument("--check", action="store_true", help="make one streamed call, print it, and stop")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tour. Returns the exit code: the gateway's own, or 1 where the tour failed."""
    options = parse(argv)
    try:
        return _tour(options)
    except (ConfigError, PortTaken, CallFailed, OSError) as error:
        print(error, file=sys.stderr, flush=True)
        return 1


def _tour(options: argparse.Namespace) -> int:
    settings = load_file(options.config, os.environ)
    for plane, port, option in (
        (settings.server, options.port, "--port"),
        (settings.admin, options.admin_port, "--admin-port"),
    ):
        check_free(plane.host, plane.port if port is None else port, option)
    keys = DevelopmentKeys.load(options.data or settings.store.data_dir, os.environ)
    env = {**os.environ, "TUNEGATE_ADMIN_KEY": keys.admin}
    gateway = GatewayProcess.start(_serve_arguments(options), env)
    urls = gateway.wait_until_ready()
    if urls is None:
        return gateway.wait() or 1
    try:
        shown = introduce(*urls, settings, keys)
    except CallFailed:
        gateway.stop()
        raise
    if not options.check:
        print(json.dumps(shown.as_object()) if options.json else shown.as_text(), flush=True)
        return gateway.wait()
    passed = _check(shown, as_json=options.json)
    return gateway.stop() or int(not passed)


def _check(shown: Introduction, *, as_json: bool) -> bool:
    """Make the streamed call and print it after the introduction. True where all of it came."""
    # Not at the top: the official SDK is no dependency of the gateway, and only this needs it.
    from gateway.demo.tour.streamed_call import streamed_call  # noqa: PLC0415  # the SDK is slow to load

    if not as_json:
        print(shown.as_text(), flush=True)
    if shown.model is None:
        print("there is no model to call", file=sys.stderr)
        return False
    call = streamed_call(shown.data_url, shown.virtual_key, shown.model)
    print(json.dumps({**shown.as_object(), "check": asdict(call)}) if as_json else call.as_text(), flush=True)
    return call.is_complete


def _serve_arguments(options: argparse.Namespace) -> list[str]:
    arguments = ["--config", str(options.config)]
    for flag, value in (
        ("--port", options.port),
        ("--admin-port", options.admin_port),
        ("--data-dir", options.data),
    ):
        if value is not None:
            arguments += [flag, str(value)]
    return arguments


if __name__ == "__main__":
    sys.exit(main())
