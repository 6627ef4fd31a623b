"""The timers of one peer (paper 6), as the kernel has them.

A table of deadlines and the moments that move them. It decides nothing: `peer` acts on what
`pop_expired` returns. Methods are named after the moment at which they must be called.
"""

from collections.abc import Callable
from enum import Enum
from typing import Final

from wgpy.engine import constants
from wgpy.model import Deadline


class Timer(Enum):
    """What can fall due; the value is the reason given in `Deadline.why`.

    After a long sleep all of them are due at once. Keys then go first: what a later timer
    begins must not be swept away with them.
    """

    ZERO_KEYS = "keys are too old to keep"
    RETRANSMIT_HANDSHAKE = "no answer to our initiation"
    SEND_KEEPALIVE = "received data, sent nothing back"
    NEW_HANDSHAKE = "sent data, heard nothing back"
    PERSISTENT_KEEPALIVE = "persistent keepalive"

    # That of `Enum` is a function of Python, and is called several times a packet.
    __hash__ = object.__hash__


# The attribute `value` is a function of Python, too.
_RANDOM_SIZE: Final = 64
_WHY: Final = {timer: timer.value for timer in Timer}


class Timers:
    """The deadlines of one peer.

    `attempts` counts the retransmissions of the handshake under way. A retransmission and a new
    handshake come up to a third of a second late, at random: two peers that begin at once
    would otherwise overwrite each other's handshake for ever.
    """

    def __init__(self, entropy: Callable[[int], bytes]) -> None:
        self._entropy = entropy
        self._random = iter(b"")
        self._due_at: dict[Timer, float] = {}
        self._received_again = False
        self.persistent_keepalive = 0
        self.attempts = 0

    def next_deadline(self) -> Deadline | None:
        """Return the earliest deadline, or None if no timer runs."""
        if not self._due_at:
            return None
        timer = min(self._due_at, key=self._due_at.__getitem__)
        return Deadline(self._due_at[timer], _WHY[timer])

    def pop_expired(self, now: float) -> list[Timer]:
        """Stop and return every timer due at `now`, in the order of `Timer`."""
        expired = [timer for timer in Timer if self._due_at.get(timer, now + 1) <= now]
        for timer in expired:
            del self._due_at[timer]
        return expired

    def stop(self) -> None:
        """Stop all: the interface went down or the peer is removed."""
        self._due_at.clear()
        self._received_again = False

    def data_sent(self, now: float) -> None:
        """A data packet that is no keepalive was sent (paper 6.5)."""
        if Timer.NEW_HANDSHAKE not in self._due_at:
            self._due_at[Timer.NEW_HANDSHAKE] = now + (
                constants.KEEPALIVE_TIMEOUT + constants.REKEY_TIMEOUT + self._jitter()
            )

    def data_received(self, now: float) -> None:
        """An authentic data packet that is no keepalive was received (paper 6.5)."""
        if Timer.SEND_KEEPALIVE in self._due_at:
            self._received_again = True
        else:
            self._due_at[Timer.SEND_KEEPALIVE] = now + constants.KEEPALIVE_TIMEOUT

    def authenticated_sent(self) -> None:
        """Any packet that the other side will find authentic was sent."""
        self._due_at.pop(Timer.SEND_KEEPALIVE, None)

    def authenticated_received(self) -> None:
        """Any authentic packet was received."""
        self._due_at.pop(Timer.NEW_HANDSHAKE, None)

    def traversed(self, now: float) -> None:
        """Any authentic packet went either way."""
        if self.persistent_keepalive:
            self._due_at[Timer.PERSISTENT_KEEPALIVE] = now + self.persistent_keepalive

    def handshake_initiated(self, now: float) -> None:
        """An initiation was sent (paper 6.4)."""
        self._due_at[Timer.RETRANSMIT_HANDSHAKE] = now + (
            constants.REKEY_TIMEOUT + self._jitter()
        )

    def handshake_postponed(self, until: float) -> None:
        """A handshake was wanted, but the last message of one was sent too shortly before.

        Deviation: the kernel drops the wish, and who has nothing more to send never recovers.
        """
        self._due_at.setdefault(Timer.RETRANSMIT_HANDSHAKE, until + self._jitter())

    def handshake_complete(self) -> None:
        """A session is confirmed from both sides."""
        self._due_at.pop(Timer.RETRANSMIT_HANDSHAKE, None)
        self.attempts = 0

    def session_derived(self, now: float) -> None:
        """New transport keys exist (paper 6.3)."""
        self._due_at[Timer.ZERO_KEYS] = now + 3 * constants.REJECT_AFTER_TIME

    def handshake_given_up(self, now: float) -> None:
        """REKEY_ATTEMPT_TIME went by without an answer (paper 6.4)."""
        self._due_at.pop(Timer.SEND_KEEPALIVE, None)
        self._due_at.setdefault(Timer.ZERO_KEYS, now + 3 * constants.REJECT_AFTER_TIME)

    def keepalive_sent(self, now: float) -> None:
        """The keepalive that SEND_KEEPALIVE asked for went out (paper 6.5)."""
        if self._received_again:
            self._received_again = False
            self._due_at[Timer.SEND_KEEPALIVE] = now + constants.KEEPALIVE_TIMEOUT

    def persistent_keepalive_changed(self, interval: int) -> bool:
        """Set the interval in seconds, 0 for off; True if it was off and is on."""
        was, self.persistent_keepalive = self.persistent_keepalive, interval
        if not interval:
            self._due_at.pop(Timer.PERSISTENT_KEEPALIVE, None)
        return not was and interval > 0

    def _jitter(self) -> float:
        # Never zero: a retry must not come too early by the rounding of an instant.
        byte = next(self._random, None)
        if byte is None:
            # One system call for many: almost every packet of a dialogue asks for this.
            self._random = iter(self._entropy(_RANDOM_SIZE))
            byte = next(self._random)
        return (byte + 1) / 256 * constants.REKEY_TIMEOUT_JITTER
