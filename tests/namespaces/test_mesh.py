"""A mesh of real nodes: found, reached, cut, healed."""

import random  # noqa: TID251  (seeded)
import sys

import pytest

from tests.lab import Lab
from tests.namespaces.mesh import says, three_boxes

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.needs("ping")]


@pytest.mark.parametrize("seed", [1, 2])
def test_three_boxes_reach_each_other_within_three_seconds_of_the_last_start(lab: Lab, seed):
    mesh, _, _ = three_boxes(lab, sys.executable)
    order = list(mesh.boxes)
    random.Random(seed).shuffle(order)
    for box in order:
        box.start()
    took = mesh.wait_all(10)
    says(1, "three boxes, cold start", all=took)
    assert took <= 3
    bob, charlie = mesh.boxes[1:]
    mesh.wait_path(bob, charlie, "lan", 5)
    for box in order:
        box.stop()
        assert "Traceback" not in box.log()
