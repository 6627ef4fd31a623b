"""Echo requests: each waits for its own answer, and for no other."""

import select
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.lab import Lab
from wgpy.io import namespaces
from wgpy.io.pings import pings
from wgpy.io.tun_linux import TunLinux
from wgpy.model import TunBurst
from wgpy.wire import ip

pytestmark = pytest.mark.root
HERE, FAR = "192.0.2.1", "192.0.2.2"


class Far:
    """The far end of an interface, played by the test: what is sent to it, and its answers."""

    def __init__(self, lab: Lab) -> None:
        self.ns = lab.ns()
        with namespaces.inside(self.ns):
            self.tun = TunLinux.create("far0")
        lab.address(self.ns, "far0", f"{HERE}/24")

    def is_silent(self, seconds: float) -> bool:
        """Return whether nothing comes from the host within that time."""
        return not select.select([self.tun.fileno()], [], [], seconds)[0]

    def request(self) -> bytes:
        """Return the next echo request, whole."""
        while not self.is_silent(5):
            for burst in self.tun.receive():
                packet = bytes(burst.whole())
                if packet[0] == 0x45 and packet[20] == 8:
                    return packet
        raise TimeoutError("no request within 5 s")

    def answer(self, request: bytes, mark: bytes | None = None) -> None:
        """Answer a request, with another mark if one is given."""
        message = bytes(4) + request[24:-8] + (mark or request[-8:])
        message = message[:2] + ip.checksum(message).to_bytes(2, "big") + message[4:]
        reply = request[:12] + request[16:20] + request[12:16] + message
        self.tun.send([TunBurst(reply, 0, 0, 0, 0)])


@pytest.fixture
def far(lab: Lab) -> Iterator[Far]:
    made = Far(lab)
    yield made
    made.tun.close()


def test_each_request_waits_for_its_own_late_answer(far: Far):
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(lambda: list(pings(far.ns, FAR, 3, patience=5)))
        for _ in range(3):
            request = far.request()
            far.answer(request, mark=b"another.")
            assert far.is_silent(0.05)
            far.answer(request)
        assert all(0.05 <= seconds < 5 for seconds in waiting.result())
        assert len(waiting.result()) == 3


def test_what_comes_after_its_time_counts_for_no_other(far: Far):
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(lambda: list(pings(far.ns, FAR, 2, size=8, patience=0.2)))
        late = far.request()
        far.request()
        far.answer(late)
        assert waiting.result() == []


def test_what_cannot_be_sent_is_lost(lab: Lab):
    assert list(pings(lab.ns(), "203.0.113.1", 3)) == []


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_host_answers_over_both_families(lab: Lab, address: str):
    assert len(list(pings(lab.ns(), address, 20, size=5000))) == 20


@pytest.mark.needs("ping")
def test_the_last_of_the_lab_s_paced_pings_may_be_late_too(lab: Lab, far: Far):
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(lambda: lab.ping(far.ns, FAR, 2, interval=0.05))
        far.answer(far.request())
        last = far.request()
        beyond = far.request()
        far.answer(last)
        far.answer(beyond)
        assert waiting.result() == 2
