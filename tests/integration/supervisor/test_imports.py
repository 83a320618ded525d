import subprocess
import sys

from tests.integration.supervisor.gateway_run import ROOT

TELL = """
import sys
before = {name.partition(".")[0] for name in sys.modules}  # the interpreter's own start
import gateway.supervisor.main
after = {name.partition(".")[0] for name in sys.modules}
print(*(after - before - sys.stdlib_module_names))
"""


def test_the_supervisor_imports_the_standard_library_and_nothing_heavy_of_ours() -> None:
    told = subprocess.run([sys.executable, "-c", TELL], cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S603  # our own arguments
    assert told.stdout.split() == ["gateway"]
