"""Sessions at their real age, with all other implementations at once."""

from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from tests.interop.rig import OUR_ENDS, RIVALS, THEIR_ENDS, Pinging, Rig, Side
from tests.lab import Lab, wait_until
from wgpy.io import clock

pytestmark = [
    pytest.mark.root,
    pytest.mark.interop,
    pytest.mark.slow,
    pytest.mark.long,
    pytest.mark.needs("wg", "ping"),
]

REKEY_AFTER_TIME = 120
DEAD_AFTER = 15


@pytest.fixture
def rigs(swept: None) -> Iterator[list[Rig]]:
    """One of each, all at once."""
    with ExitStack() as stack:
        lab = stack.enter_context(Lab())
        yield [stack.enter_context(closing(Rig(lab, rival))) for rival in RIVALS]


def wait_renewal(rig: Rig, before: int) -> None:
    def renewed() -> bool:
        return rig.peer(rig.ours).handshake > before

    wait_until(renewed, REKEY_AFTER_TIME + 30, f"renewal by {rig.rival}")


def wait_answer(asking: Side, far: str) -> None:
    wait_until(lambda: asking.ping(far, 1), 40, f"an answer from {far}")


def test_they_renew_after_two_minutes_without_losing_a_packet(rigs: list[Rig]):
    """Theirs is the session, so theirs is the renewal; pings go both ways over it."""
    for rig in rigs:
        rig.introduce(rig.theirs)
        assert rig.theirs.ping(OUR_ENDS.inner4) == 3
    begun = {rig.rival: rig.peer(rig.ours).handshake for rig in rigs}
    with ExitStack() as stack:
        pingings = [
            stack.enter_context(Pinging(rig.lab, rig.ns, THEIR_ENDS.inner4)) for rig in rigs
        ]
        for rig in rigs:
            wait_renewal(rig, begun[rig.rival])
        for rig in rigs:
            assert rig.theirs.ping(OUR_ENDS.inner6, 5) == 5
    for rig, pinging in zip(rigs, pingings, strict=True):
        age = rig.peer(rig.ours).handshake - begun[rig.rival]
        print(f"{rig.rival}: renewed after {age} s, lost {pinging.lost} of {pinging.sent}")
        assert REKEY_AFTER_TIME - 1 <= age <= REKEY_AFTER_TIME + 15
        assert pinging.sent > 1000
        assert pinging.lost == 0


def test_a_dead_peer_is_given_up_after_fifteen_seconds(rigs: list[Rig]):
    """We lose our sessions without a word: they find out and begin anew, and so do we."""
    for ours_dies in (True, False):
        for rig in rigs:
            rig.introduce()
            assert rig.ours.ping(THEIR_ENDS.inner4) == 3
            dying = rig.ours if ours_dies else rig.theirs
            dying.restart()
            # It comes back without an endpoint, so it has to be found.
            rig.configure(dying, False, 4, None)
        start = clock.now()
        asking = [rig.theirs if ours_dies else rig.ours for rig in rigs]
        far = (OUR_ENDS if ours_dies else THEIR_ENDS).inner4
        assert [side.ping(far, 1) for side in asking] == [0] * len(asking)
        for side in asking:
            wait_answer(side, far)
        assert DEAD_AFTER - 3 < clock.now() - start < DEAD_AFTER + 15
