"""What the README shows runs as it stands there."""

import re
from pathlib import Path

import pytest

from tests.lab import Lab, wait_until

README = Path(__file__).parent.parent / "README.md"


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.needs("ip")
def test_the_example_serves_until_its_interface_is_deleted(lab: Lab, tmp_path: Path):
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    program = tmp_path / "example.py"
    program.write_text(example)
    ns = lab.ns()
    child = lab.python(ns, "-u", str(program))
    child.wait_log("serving wg0 on port 51820", timeout=10)
    wait_until(lambda: "10.0.0.1/24" in lab.ip(ns, "addr", "show", "wg0"), why="its address")
    lab.ip(ns, "link", "delete", "wg0")
    assert child.wait(5) == 0, child.log()
