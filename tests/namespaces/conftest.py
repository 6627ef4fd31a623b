"""A mesh for one test."""

import sys
from collections.abc import Iterator

import pytest

from tests.lab import Lab
from tests.namespaces.echoes import Echoes
from tests.namespaces.mesh import Mesh, three_boxes


@pytest.fixture
def mesh(lab: Lab) -> Iterator[Mesh]:
    with Echoes() as echoes:
        yield Mesh(lab, sys.executable, (), echoes)


@pytest.fixture
def trio(lab: Lab) -> Iterator[Mesh]:
    """The ancestor's three boxes."""
    with Echoes() as echoes:
        mesh, hub, bridge = three_boxes(lab, sys.executable, echoes)
        mesh.hub = hub, bridge
        yield mesh
