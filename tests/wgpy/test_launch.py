"""The process of a node: how it ends."""

import pytest

from tests.lab import Lab

pytestmark = [pytest.mark.root, pytest.mark.slow]


def test_a_node_ended_as_soon_as_it_is_seen_removes_its_socket(lab: Lab):
    for _ in range(3):
        interface = lab.ifname()
        child = lab.python(lab.ns(), "-m", "wgpy", "-f", interface)
        path = lab.wait_uapi(interface)
        assert child.stop() == 0
        assert not path.exists()
