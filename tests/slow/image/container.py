"""Images built by buildah and containers run by runc: no daemon, no registry, storage of their own."""

from __future__ import annotations

import ast
import json
import os
import queue
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
USER = 10001
BUILD_DEADLINE_S = 600
PROGRAMS = ("buildah", "mmdebstrap", "runc")
BASE_PACKAGES = "python3,python3-venv,ca-certificates"


def missing() -> str | None:
    """Why no image can be built and started here, with the line that mends it; None where one can."""
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    if absent:
        return f"no {', '.join(absent)} here (Debian: apt-get install --yes {' '.join(absent)})"
    if os.geteuid() != 0:
        return "building a base image and mounting it wants root (sudo python3 dev.py e2e tests/slow/image)"
    return None


def run(*argv: str | Path, deadline_s: float = 60) -> str:
    """Run a program to its end and return what it printed; what failed is raised with its whole output."""
    done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=deadline_s)  # noqa: S603 - ours
    if done.returncode:
        raise AssertionError(
            f"{argv} ended with {done.returncode}:\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
        )
    return done.stdout


class Images:
    """A storage of images in a folder; `close` takes it away again, as it is large."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def buildah(self, *argv: str | Path, deadline_s: float = 60) -> str:
        """Run buildah on this storage."""
        storage = [
            "--storage-driver",
            "vfs",
            "--root",
            self._folder / "store",
            "--runroot",
            self._folder / "run",
        ]
        return run("buildah", *storage, *argv, deadline_s=deadline_s)

    def make_base(self, tag: str) -> None:
        """Make the smallest Debian that has Python, of this machine's release, and tag it."""
        release = dict(
            line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line
        )
        context = self._folder / "base"
        context.mkdir()
        bare = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("man", "doc", "locale")]
        suite = release["VERSION_CODENAME"].strip('"')
        packages = f"--include={BASE_PACKAGES}"
        run(
            "mmdebstrap", "--quiet", "--variant=essential", packages, *bare, suite, context / "base.tar",
            deadline_s=BUILD_DEADLINE_S,
        )  # fmt: skip
        (context / "Dockerfile").write_text("FROM scratch\nADD base.tar /\n")
        self.buildah("bud", "--isolation", "chroot", "--tag", tag, context, deadline_s=BUILD_DEADLINE_S)
        (context / "base.tar").unlink()

    def build(self, base: str, tag: str) -> None:
        """Build the Dockerfile of this checkout, with pip configured as it is here."""
        settings, mounts = pip_settings()
        secret = self._folder / "pip.conf"
        secret.write_text("[global]\n" + "".join(f"{name} = {value}\n" for name, value in settings.items()))
        volumes = [f"--volume={path}:{path}:ro" for path in mounts]
        options = ["--isolation", "chroot", "--format", "docker", "--secret", f"id=pip,src={secret}"]
        argument = f"BASE_IMAGE={base}"
        self.buildah(
            "bud",
            *options,
            *volumes,
            "--build-arg",
            argument,
            "--tag",
            tag,
            ROOT,
            deadline_s=BUILD_DEADLINE_S,
        )

    def config(self, tag: str) -> dict[str, Any]:
        """What the image says of itself."""
        inspected: dict[str, Any] = json.loads(self.buildah("inspect", "--type", "image", tag))
        config: dict[str, Any] = inspected["Docker"]["config"]
        return config

    def bytes_of(self, tag: str) -> int:
        """The size of its layers, unpacked."""
        return int(run_size(self.mounted(tag)))

    def mounted(self, tag: str) -> Path:
        """The root file system of a fresh container of the image."""
        container = self.buildah("from", "--pull-never", tag).strip()
        return Path(self.buildah("mount", container).strip())

    def close(self) -> None:
        """Unmount and remove everything."""
        self.buildah("rm", "--all")
        self.buildah("rmi", "--all", "--force")
        shutil.rmtree(self._folder)


def run_size(folder: Path) -> str:
    """Bytes of the files below a folder."""
    return run("du", "--summarize", "--bytes", "--one-file-system", folder).split()[0]


def pip_settings() -> tuple[dict[str, str], list[str]]:
    """How pip is configured here, files and variables together, and the paths among the values."""
    settings = {}
    for line in run(sys.executable, "-m", "pip", "config", "list").splitlines():
        name, _, value = line.partition("=")
        section, _, key = name.partition(".")
        if section in ("global", "install", ":env:") and key not in (
            "disable-pip-version-check",
            "config-file",
        ):
            settings[key] = str(ast.literal_eval(value))
    mounts = [value for value in settings.values() if value.startswith("/") and Path(value).exists()]
    return settings, sorted(set(mounts))


class Container:
    """One running container: its standard output and error by lines, commands inside it, its end."""

    def __init__(self, name: str, bundle: Path, process: subprocess.Popen[str]) -> None:
        self.name = name
        self.bundle = bundle
        self.output: list[str] = []
        self._process = process
        self._lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout:
            for line in self._process.stdout:
                self._lines.put(line)
        self._lines.put(None)

    def wait_for(self, text: str, within_s: float = 60) -> str:
        """The first line from now on that begins so."""
        deadline = time.monotonic() + within_s
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                line = None
            if line is None:
                raise AssertionError(f"no line {text!r} in {within_s} s:\n{''.join(self.output)}")
            self.output.append(line)
            if line.startswith(text):
                return line

    def exec(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """Run a command inside, as the same user, under the same restrictions."""
        command = ["runc", "--root", self.bundle / "runc", "exec", self.name, *argv]
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)  # noqa: S603 - ours

    def stop(self, within_s: float = 30) -> int:
        """SIGTERM to process 1; its exit code."""
        run("runc", "--root", self.bundle / "runc", "kill", self.name, "TERM")
        return self._process.wait(within_s)

    def end(self) -> None:
        """Whatever is left of it goes."""
        subprocess.run(  # noqa: S603 - ours; nothing is left where it ended by itself
            ["runc", "--root", self.bundle / "runc", "delete", "--force", self.name],  # noqa: S607 - as PATH has it
            check=False,
            capture_output=True,
        )


def locked_down(
    spec: dict[str, Any],
    rootfs: Path,
    config: dict[str, Any],
    volume: Path,
    args: Sequence[str],
    files: dict[str, Path],
    env: dict[str, str],
) -> dict[str, Any]:
    """Turn runc's own example into the container that docs/kubernetes.md describes."""
    spec["root"] = {"path": str(rootfs), "readonly": True}
    process = spec["process"]
    process |= {
        "terminal": False,
        "user": {"uid": USER, "gid": USER},
        "args": list(args),
        "env": [*config["Env"], *(f"{name}={value}" for name, value in env.items())],
        "cwd": config["WorkingDir"],
        "capabilities": {kind: [] for kind in process["capabilities"]},
        "noNewPrivileges": True,
    }
    spec["mounts"] = [mount for mount in spec["mounts"] if mount["type"] != "cgroup"]
    options = ["nosuid", "nodev", "mode=1777"]
    spec["mounts"].append({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": options})  # noqa: S108 - inside
    binds = {"/var/lib/tunegate": (volume, "rw")} | {there: (here, "ro") for there, here in files.items()}
    for there, (here, mode) in binds.items():
        options = ["bind", mode, "nosuid", "nodev"]
        spec["mounts"].append({"destination": there, "type": "bind", "source": str(here), "options": options})
    # what a machine lends by cgroups is not the subject, and not every machine lends them
    spec["linux"].pop("resources", None)
    spec["linux"]["namespaces"] = [n for n in spec["linux"]["namespaces"] if n["type"] != "cgroup"]
    return spec


class Runtime:
    """Starts containers of one image, each with a network of its own that reaches nobody."""

    def __init__(self, rootfs: Path, config: dict[str, Any], folder: Path) -> None:
        self._rootfs = rootfs
        self._config = config
        self._folder = folder
        self._count = 0

    def new_volume(self) -> Path:
        """An empty volume, as a container engine makes one: with the owner and mode of the image's folder."""
        self._count += 1
        volume = self._folder / f"volume-{self._count}"
        volume.mkdir()
        facts = (self._rootfs / "var/lib/tunegate").stat()
        os.chown(volume, facts.st_uid, facts.st_gid)
        volume.chmod(facts.st_mode & 0o777)
        return volume

    @contextmanager
    def start(
        self,
        volume: Path,
        *,
        args: Sequence[str] | None = None,
        files: dict[str, Path] | None = None,
        env: dict[str, str] | None = None,
    ) -> Iterator[Container]:
        """Start one on a volume; `args` in place of the image's command, `files` mounted read-only."""
        self._count += 1
        name = f"tunegate-{os.getpid()}-{self._count}"
        bundle = self._folder / name
        bundle.mkdir()
        run("runc", "spec", "--bundle", bundle)
        command = args if args is not None else [*self._config["Entrypoint"], *self._config["Cmd"]]
        file = bundle / "config.json"
        example = json.loads(file.read_text())
        spec = locked_down(example, self._rootfs, self._config, volume, command, files or {}, env or {})
        file.write_text(json.dumps(spec))
        process = subprocess.Popen(  # noqa: S603 - ours
            ["runc", "--root", bundle / "runc", "run", "--bundle", bundle, name],  # noqa: S607 - as PATH has it
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        container = Container(name, bundle, process)
        try:
            yield container
        finally:
            container.end()
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)
            if process.poll() is None:
                process.kill()
                process.wait()
