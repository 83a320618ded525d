#!/usr/bin/env python3
"""The one command of a checkout. It makes the environment it needs, then does what you ask.

usage: python3 dev.py COMMAND [ARGS]

  run        start Tunegate with a demo upstream and print what to paste; --help lists its options
  test       the fast tests; ARGS go to pytest
  check      format, lint, types, import contracts, generated docs
  e2e        the slow tests against real programs; --list shows what is absent here; ARGS go to pytest
  chaos      run tests/chaos/NAME.py, or all of them; ARGS go to the script
  bench      run the benchmark; --peers adds LiteLLM and Portkey, --scale is at size; ARGS go to bench/run.py
  docs       write the generated docs and the configuration schema
  lock       resolve the dependencies anew with uv; --check-platforms looks for wheels elsewhere
  providers  make the environment of the provider process, which `kind: litellm` needs
  tunegate   run the command `tunegate ARGS`
  help       print this

Standard library only, any Python from 3.11 on. The environment is `.venv` beside this file, installed
from requirements-dev.lock with every hash checked, and made anew when that file changes.
"""

import sys

# before the imports, some of which older versions lack
if sys.version_info < (3, 11):  # noqa: UP036 - the versions that it is for are those that we do not target
    sys.exit("Tunegate needs Python 3.11 or newer, this is {}.{}".format(*sys.version_info))

import fcntl
import hashlib
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent
Args = Sequence[str]


def say(text: str) -> None:
    """Print progress where it does not mix with a command's own output."""
    print(text, file=sys.stderr, flush=True)


# --- environments ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Environment:
    """A virtual environment that a lock file describes; `editable` adds Tunegate itself to it."""

    folder: Path
    lock: Path
    editable: bool = False

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    @property
    def stamp(self) -> Path:
        """Written last, so that an interrupted installation is made anew."""
        return self.folder / "made-by-dev.json"

    def fingerprint(self) -> str:
        """Changes with what the environment is made from, and with this folder, which its scripts name."""
        digest = hashlib.sha256(f"{ROOT}\n".encode() + self.lock.read_bytes())
        if self.editable:
            document = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
            parts = [document["build-system"], document["project"]]
            digest.update(json.dumps(parts, sort_keys=True).encode())
        return digest.hexdigest()

    def python_version(self) -> str | None:
        """What its interpreter says, such as "3.11"; None where it does not run."""
        script = "import sys; print('%d.%d' % sys.version_info[:2])"
        try:
            return subprocess.run(
                [self.python, "-I", "-c", script], check=True, capture_output=True, text=True
            ).stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            return None

    def is_current(self) -> bool:
        """True where it stands, runs, and was made from what is here now."""
        try:
            made = json.loads(self.stamp.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        return bool(made == {"fingerprint": self.fingerprint(), "python": self.python_version()})

    def write_stamp(self) -> None:
        """Say what it was made from."""
        made = {"fingerprint": self.fingerprint(), "python": self.python_version()}
        self.stamp.write_text(json.dumps(made), encoding="utf-8")


MAIN = Environment(ROOT / ".venv", ROOT / "requirements-dev.lock", editable=True)
E2E = Environment(ROOT / ".venv-e2e", ROOT / "requirements-e2e.lock")
PROVIDERS = Environment(ROOT / ".venv-providers", ROOT / "requirements-providers.lock")
PEERS = Environment(ROOT / ".venv-peers", ROOT / "requirements-peers.lock")


def ensure(environment: Environment) -> None:
    """Make the environment unless it is current, one process at a time. Exits with 1 where it cannot."""
    if environment.is_current():
        return
    missing = missing_venv()
    if missing:
        sys.exit(missing)
    with one_at_a_time():
        if not environment.is_current():  # another one may have made it meanwhile
            make(environment)


def make(environment: Environment) -> None:
    """Make the environment from nothing."""
    name = environment.folder.name
    say(f"making {name} (once, about a minute) ...")
    started = time.monotonic()
    environment.stamp.unlink(missing_ok=True)
    # inside another environment this is the interpreter that one was made with: it outlives both
    base = getattr(sys, "_base_executable", None) or sys.executable
    quietly([base, "-m", "venv", "--clear", environment.folder], f"{name} could not be made")
    pip: list[str | Path] = [environment.python, "-m", "pip", "install", "--disable-pip-version-check"]
    pip += ["--no-input"]
    failure = "the packages could not be installed (pip.conf and PIP_* variables say from where)"
    quietly([*pip, "--require-hashes", "-r", environment.lock], failure)
    if environment.editable:
        quietly([*pip, "--no-deps", "--no-build-isolation", "-e", ROOT], "Tunegate could not be installed")
    environment.write_stamp()
    say(f"{name} is ready, after {time.monotonic() - started:.0f} s")


def quietly(argv: Sequence[str | Path], failure: str) -> None:
    """Run a command whose output matters only when it fails: then print its end and exit with 1."""
    done = subprocess.run(argv, check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        say("\n".join(done.stdout.splitlines()[-40:]))
        sys.exit(f"{failure}; the end of the output is above")


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Wait for other processes that make an environment. The lock is on this file, so none is left behind."""
    with Path(__file__).open("rb") as own:
        try:
            fcntl.flock(own, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another dev.py is making the environment; waiting for it ...")
            fcntl.flock(own, fcntl.LOCK_EX)
        yield


def missing_venv() -> str | None:
    """What to do where Python came without `venv`, as Debian ships it; None where nothing is to do."""
    if importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip"):
        return None
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    default = Path("/usr/bin/python3").resolve().name == f"python{version}"
    package = "python3-venv" if default else f"python{version}-venv"
    return f"this Python cannot make virtual environments; on Debian and Ubuntu: apt install {package}"


# --- commands --------------------------------------------------------------------------------------------


def become(environment: Environment, *argv: str | Path, folder: Path | None = None) -> NoReturn:
    """Turn into a command of the environment, so that signals and the exit code are its own."""
    ensure(environment)
    if folder:
        os.chdir(folder)
    program = environment.folder / "bin" / argv[0]
    os.execv(program, [str(program), *map(str, argv[1:])])  # noqa: S606 - no shell is meant


def run(args: Args) -> None:
    """Start the gateway; `gateway/demo/tour.py` has the rest."""
    config = ROOT / "config" / "gateway.yaml"
    # -P: what lies in the caller's folder is not imported
    become(MAIN, "python", "-P", "-m", "gateway.demo.tour", "--config", config, *args)


def test(args: Args) -> None:
    """Run the fast tests."""
    slow = ("--ignore=tests/slow", "--ignore=tests/chaos")
    become(MAIN, "python", "-m", "pytest", *slow, *args, folder=ROOT)


def check(args: Args) -> None:
    """Run all checks side by side; print what failed."""
    no_arguments("check", args)
    ensure(MAIN)
    scripts = MAIN.folder / "bin"
    steps: dict[str, list[str | Path]] = {
        "format": [scripts / "ruff", "format", "--check", "."],
        "lint": [scripts / "ruff", "check", "--quiet", "."],
        "types": [scripts / "mypy", "gateway", "dev.py", "docs/generate.py", "docs/sbom.py"],
        "import contracts": [scripts / "lint-imports", "--no-logo"],
        "docs": [MAIN.python, "docs/generate.py", "--check"],
    }

    def do(step: str) -> bool:
        started = time.monotonic()
        done = subprocess.run(
            steps[step], check=False, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        result = f"FAILED\n{done.stdout}" if done.returncode else "ok"
        print(f"{step} ({time.monotonic() - started:.1f} s): {result}", flush=True)
        return done.returncode == 0

    with ThreadPoolExecutor() as pool:
        results = list(pool.map(do, steps))
    sys.exit(not all(results))


def e2e(args: Args) -> None:
    """Run the slow tests, or list what they miss here."""
    if "--list" in args:
        for need in NEEDS:
            print(f"{need.name:20} {need.state()}")
        return
    ensure(E2E)
    ensure(PROVIDERS)
    # where ARGS name no path, pytest looks here and nowhere else
    slow = ("-m", "slow", "-o", "testpaths=tests/slow")
    become(MAIN, "python", "-m", "pytest", *slow, *args, folder=ROOT)


@dataclass(frozen=True)
class Need:
    """A program of the slow tests, under any of its names, and the line that installs it."""

    name: str
    commands: tuple[str, ...]
    install: str

    def state(self) -> str:
        """Where it is, or how to get it."""
        found = next(filter(None, map(shutil.which, self.commands)), None)
        return f"present  {found}" if found else f"absent   {self.install}"


@dataclass(frozen=True)
class EnvironmentNeed(Need):
    """Packages that `dev.py e2e` itself installs."""

    environment: Environment = E2E

    def state(self) -> str:
        """Whether the environment stands."""
        there = self.environment.is_current()
        return f"present  {self.environment.folder}" if there else f"absent   {self.install}"


def _packaged(name: str) -> str:
    return f"brew install {name}" if sys.platform == "darwin" else f"apt install {name}"


NEEDS = (
    EnvironmentNeed("real model server", (), "python3 dev.py e2e  # installs it by itself"),
    EnvironmentNeed("helm, hadolint", (), "python3 dev.py e2e  # installs them by itself"),
    EnvironmentNeed("litellm", (), "python3 dev.py providers  # or e2e, which makes it too", PROVIDERS),
    Need("curl", ("curl",), _packaged("curl")),
    Need("prometheus", ("prometheus", "promtool"), _packaged("prometheus")),
    Need("node and npm", ("npm",), _packaged("node" if sys.platform == "darwin" else "nodejs npm")),
    Need("image builder", ("buildah",), _packaged("buildah")),
    Need("base image", ("mmdebstrap",), _packaged("mmdebstrap")),
    Need("container runtime", ("runc",), _packaged("runc")),
    Need("browser (later)", ("chromium", "google-chrome"), _packaged("chromium")),
)


def chaos(args: Args) -> None:
    """Run one script of tests/chaos, or all of them one after the other."""
    folder = ROOT / "tests" / "chaos"
    names = sorted(path.stem for path in folder.glob("[!_]*.py") if path.stem != "conftest")
    if not args:
        ensure(MAIN)
        failed = [n for n in names if subprocess.call([MAIN.python, folder / f"{n}.py"], cwd=ROOT)]
        print(
            f"{len(names) - len(failed)} of {len(names)} passed" + "".join(f"\nfailed: {n}" for n in failed)
        )
        sys.exit(bool(failed))
    if args[0] not in names:
        usage_error(f"no chaos script {args[0]!r}; there are: {', '.join(names) or 'none'}")
    become(MAIN, "python", folder / f"{args[0]}.py", *args[1:], folder=ROOT)


def bench(args: Args) -> None:
    """Run the benchmark; with `--peers` beside others, whose environment it makes."""
    if "--peers" in args:
        ensure(PEERS)
    become(MAIN, "python", "bench/run.py", *args, folder=ROOT)


def docs(args: Args) -> None:
    """Write what is generated."""
    become(MAIN, "python", "docs/generate.py", *args, folder=ROOT)


def providers(args: Args) -> None:
    """Make the environment that the gateway's provider process runs in."""
    no_arguments("providers", args)
    ensure(PROVIDERS)
    print(f"providers: {PROVIDERS.python}")


def tunegate(args: Args) -> None:
    """Run the command of the environment, in the caller's folder."""
    become(MAIN, "tunegate", *args)


def show_help(_: Args) -> None:
    """Print the commands."""
    try:
        print((__doc__ or "").strip(), flush=True)
    except BrokenPipeError:  # whoever reads has seen enough; nor is there anything to flush at the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


# --- locking ---------------------------------------------------------------------------------------------

LOCKS: dict[str, Args] = {
    "requirements.lock": ("pyproject.toml",),
    "requirements-dev.lock": ("pyproject.toml", "--group", "dev", "--constraints", "requirements.lock"),
    "requirements-e2e.lock": ("pyproject.toml", "--group", "e2e", "--constraints", "requirements.lock"),
    "requirements-providers.lock": ("--group", "providers"),
    "requirements-peers.lock": ("--group", "peers"),
    "requirements-image.lock": ("--group", "image", "--constraints", "requirements-dev.lock"),
}
PLATFORMS = {
    "macOS arm64": "aarch64-apple-darwin",
    "macOS x86_64": "x86_64-apple-darwin",
    "Linux aarch64": "aarch64-unknown-linux-gnu",
    "Linux x86_64": "x86_64-unknown-linux-gnu",
}
PYTHONS = ("3.11", "3.12", "3.13")
LINUX_ONLY = {"requirements-peers.lock"}  # as the benchmark is


def lock(args: Args) -> None:
    """Resolve the dependencies into the lock files; further ARGS, such as --upgrade, go to uv."""
    uv = shutil.which("uv") or shutil.which("uv", path=MAIN.folder / "bin")
    if not uv:
        usage_error("lock needs uv: python3 -m pip install uv")
    if "--check-platforms" in args:
        sys.exit(not check_platforms(uv))
    options = ("--universal", "--generate-hashes", "--no-emit-index-url", "--no-header", "--quiet")
    for name, sources in LOCKS.items():
        say(f"resolving {name} ...")
        argv = [uv, "pip", "compile", *sources, *options, "--python-version", "3.11"]
        if subprocess.call([*argv, *args, "--output-file", name], cwd=ROOT):
            sys.exit(f"{name} could not be resolved")


def check_platforms(uv: str) -> bool:
    """Look for a wheel of every locked package, for each platform and Python; print what is missing."""
    complete = True
    for name in LOCKS:
        for platform, triple in PLATFORMS.items():
            if name in LINUX_ONLY and "Linux" not in platform:
                continue
            for python in PYTHONS:
                without = sorted(missing_wheels(uv, ROOT / name, triple, python))
                complete = complete and not without
                result = f"no wheel of {', '.join(without)}" if without else "complete"
                print(f"{name:22} {platform:14} {python:5} {result}", flush=True)
    return complete


def missing_wheels(uv: str, lock_file: Path, triple: str, python: str) -> set[str]:
    """The packages of a lock that have no wheel there: uv names one at a time, so ask again without it."""
    missing: set[str] = set()
    with tempfile.TemporaryDirectory() as folder:
        argv = [uv, "pip", "install", "--dry-run", "--no-deps", "--require-hashes", "--only-binary", ":all:"]
        argv += [
            "--target",
            folder,
            "--python-platform",
            triple,
            "--python-version",
            python,
            "--requirements",
        ]
        while True:
            rest = Path(folder) / "rest.txt"
            rest.write_text(
                without_packages(lock_file.read_text(encoding="utf-8"), missing), encoding="utf-8"
            )
            done = subprocess.run([*argv, rest], check=False, text=True, capture_output=True)
            if not done.returncode:
                return missing
            named = package_without_wheel(done.stderr)
            if named is None or named in missing:
                sys.exit(f"uv failed for another reason:\n{done.stderr}")
            missing.add(named)


def package_without_wheel(message: str) -> str | None:
    """The package that a message of uv says has no usable wheel."""
    found = re.search(r"([a-z0-9][a-z0-9._-]*)==\S+ has no (?:usable )?wheels", " ".join(message.split()))
    return found[1] if found else None


def without_packages(text: str, names: set[str]) -> str:
    """A lock file without the entries of some packages."""
    entries = re.split(r"(?m)^(?=[a-z0-9])", text)
    return "".join(entry for entry in entries if entry.partition("==")[0] not in names)


# --- the front desk --------------------------------------------------------------------------------------


def no_arguments(command: str, args: Args) -> None:
    """Refuse arguments that would be ignored."""
    if args:
        usage_error(f"{command} takes no arguments")


def usage_error(text: str) -> NoReturn:
    """Exit with 2."""
    say(f"dev.py: {text}")
    sys.exit(2)


COMMANDS: dict[str, Callable[[Args], None]] = {
    "run": run,
    "test": test,
    "check": check,
    "e2e": e2e,
    "chaos": chaos,
    "bench": bench,
    "docs": docs,
    "lock": lock,
    "providers": providers,
    "tunegate": tunegate,
    "help": show_help,
    "--help": show_help,
    "-h": show_help,
}


def main(argv: Args) -> None:
    """Do one command."""
    if not argv:
        show_help(())
        sys.exit(2)
    command = COMMANDS.get(argv[0])
    if command is None:
        usage_error(f"no command {argv[0]!r}; try: python3 dev.py help")
    try:
        command(argv[1:])
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


if __name__ == "__main__":
    main(sys.argv[1:])
