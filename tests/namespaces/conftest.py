"""A mesh for one test."""

import sys
from collections.abc import Iterator

import pytest

from tests.lab import Lab
from tests.namespaces.echoes import Echoes
from tests.namespaces.mesh import Mesh


@pytest.fixture
def mesh(lab: Lab) -> Iterator[Mesh]:
    with Echoes() as echoes:
        yield Mesh(lab, sys.executable, echoes)
