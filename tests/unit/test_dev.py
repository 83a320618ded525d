"""The parts of dev.py that decide something. What it starts is tested by `tests/e2e/test_dev_run.py`."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import dev

ROOT = Path(dev.__file__).parent
LOCK = """\
one==1.0 \\
    --hash=sha256:00
    # via two
two==2.0 ; python_version < '3.12' \\
    --hash=sha256:11
three==3.0
"""


@pytest.fixture
def environment(tmp_path: Path) -> dev.Environment:
    """One whose interpreter is this one."""
    (tmp_path / "lock").write_text(LOCK)
    (tmp_path / "env" / "bin").mkdir(parents=True)
    (tmp_path / "env" / "bin" / "python").symlink_to(sys.executable)
    return dev.Environment(tmp_path / "env", tmp_path / "lock")


def test_dev_py_imports_the_standard_library_only() -> None:
    tree = ast.parse((ROOT / "dev.py").read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in names} <= sys.stdlib_module_names


def test_an_environment_is_current_while_nothing_changes(environment: dev.Environment) -> None:
    assert not environment.is_current()
    environment.write_stamp()
    assert environment.is_current()
    environment.lock.write_text(LOCK + "four==4.0\n")
    assert not environment.is_current()


def test_an_environment_whose_interpreter_is_gone_is_not_current(environment: dev.Environment) -> None:
    environment.write_stamp()
    environment.python.unlink()
    assert environment.python_version() is None
    assert not environment.is_current()


def test_an_environment_is_made_anew_for_another_python(environment: dev.Environment) -> None:
    environment.write_stamp()
    made = json.loads(environment.stamp.read_text())
    assert made["python"] == f"{sys.version_info.major}.{sys.version_info.minor}"
    environment.stamp.write_text(json.dumps({**made, "python": "3.9"}))
    assert not environment.is_current()


@pytest.mark.parametrize("text", ["", "{", "null", "[]"])
def test_a_broken_stamp_is_none(environment: dev.Environment, text: str) -> None:
    environment.stamp.write_text(text)
    assert not environment.is_current()


def test_the_fingerprint_of_an_editable_one_covers_the_project(environment: dev.Environment) -> None:
    editable = dev.Environment(environment.folder, environment.lock, editable=True)
    assert editable.fingerprint() != environment.fingerprint()


def test_every_lock_hashes_what_it_names_and_names_no_index() -> None:
    for name in dev.LOCKS:
        text = (ROOT / name).read_text()
        entries = [line for line in text.splitlines() if line[:1].isalnum()]
        assert entries
        assert all(line.endswith(" \\") for line in entries), name
        assert text.count("==") >= len(entries)
        assert "://" not in text
        assert "--index" not in text
        assert "--find-links" not in text


def test_the_development_lock_holds_the_versions_that_ship() -> None:
    shipped, development = (
        {line for line in (ROOT / name).read_text().splitlines() if line[:1].isalnum()}
        for name in ("requirements.lock", "requirements-dev.lock")
    )
    assert shipped <= development


def contracts() -> dict[str, dict[str, list[str]]]:
    document = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return {contract["name"]: contract for contract in document["tool"]["importlinter"]["contracts"]}


def test_the_supervisors_contract_names_every_dependency() -> None:
    document = tomllib.loads((ROOT / "pyproject.toml").read_text())
    imports = {
        "genai-prices": "genai_prices",
        "prometheus-client": "prometheus_client",
        "pyyaml": "yaml",
        "splintr-rs": "splintr",
    }
    names = {re.split("[=>]", text)[0] for text in document["project"]["dependencies"]}
    contract = contracts()["The supervisor needs the standard library only"]
    assert {imports.get(name, name) for name in names} <= set(contract["forbidden_modules"])


def test_the_data_planes_contract_names_every_room_but_those_beside_it() -> None:
    beside = {"cli", "control", "demo", "domain", "process", "providers", "supervisor"}
    rooms = {path.stem for path in (ROOT / "gateway").iterdir() if path.suffix in ("", ".py")}
    contract = contracts()["The data plane knows neither the control plane nor what is built on it"]
    named = {name.removeprefix("gateway.") for name in contract["source_modules"]}
    assert named == {room for room in rooms if not room.startswith("_")} - beside


def test_a_lock_without_some_packages_keeps_the_others_whole() -> None:
    assert dev.without_packages(LOCK, {"two"}) == LOCK.replace(
        "two==2.0 ; python_version < '3.12' \\\n    --hash=sha256:11\n", ""
    )
    assert dev.without_packages(LOCK, set()) == LOCK


def test_the_package_that_uv_complains_of_is_found() -> None:
    message = """error: No solution found
      cause: Because cryptography==50.0.2 has no
      usable wheels and you require cryptography==50.0.2, ..."""
    assert dev.package_without_wheel(message) == "cryptography"
    assert dev.package_without_wheel("error: no network") is None


def test_a_machine_without_venv_is_told_the_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    assert dev.missing_venv() is None
    monkeypatch.setattr(dev.importlib.util, "find_spec", lambda name: None if name == "ensurepip" else name)
    assert "apt install python3" in (dev.missing_venv() or "")


def test_a_quiet_command_speaks_when_it_fails(capfd: pytest.CaptureFixture[str]) -> None:
    dev.quietly([sys.executable, "-c", "print('noise')"], "never")
    with pytest.raises(SystemExit, match="it failed"):
        dev.quietly([sys.executable, "-c", "print('the reason'); raise SystemExit(3)"], "it failed")
    assert capfd.readouterr().err == "the reason\n"


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        ([], 2, ""),
        (["help"], 0, ""),
        (["nonsense"], 2, "no command 'nonsense'"),
        (["providers", "more"], 2, "providers takes no arguments"),
        (["check", "more"], 2, "check takes no arguments"),
        (["chaos", "no-such-script"], 2, "no chaos script 'no-such-script'"),
        (["e2e", "--list"], 0, ""),
    ],
)
def test_the_front_desk(argv: list[str], code: int, words: str) -> None:
    done = subprocess.run(  # noqa: S603 - our own script
        [sys.executable, ROOT / "dev.py", *argv], check=False, capture_output=True, text=True
    )
    assert (done.returncode, words in done.stderr) == (code, True)
    assert bool(done.stdout) == (not words)


def test_help_names_every_command() -> None:
    listed = {line.split()[0] for line in (dev.__doc__ or "").splitlines() if line.startswith("  ")}
    assert set(dev.COMMANDS) - {"-h", "--help"} <= listed
