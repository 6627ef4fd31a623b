"""One rig for each other implementation, shared by all tests with it."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.interop.rig import RIVALS, Rig
from tests.lab import Lab


@pytest.fixture(scope="session", params=RIVALS)
def rig(request: pytest.FixtureRequest, swept: None) -> Iterator[Rig]:
    """Our node and one of the others, started once and given new keys by each test."""
    with Lab() as lab, closing(Rig(lab, request.param)) as made:
        yield made
