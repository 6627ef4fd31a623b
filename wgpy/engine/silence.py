"""How long a peer has left our initiations without an answer, and when that is worth telling.

The counter of attempts cannot say it: every packet that wants a session sets it back, as in the
kernel, so under a steady stream of packets a handshake is never given up.
"""

from wgpy.engine import constants


class Silence:
    """The initiations to one peer since it was last in touch; `attempts` is how many."""

    def __init__(self) -> None:
        self.attempts = 0
        self._began_at = 0.0
        self._latest_at = 0.0
        self._tell_after = 0.0

    def broken(self) -> None:
        """The peer answered, or there is another beginning."""
        self.attempts = 0

    def initiated(self, now: float) -> float | None:
        """Count an initiation; return the seconds without an answer if they are to be told."""
        if now - self._latest_at > constants.UNANSWERED_PAUSE:
            self.attempts = 0
        if not self.attempts:
            self._began_at = now
            self._tell_after = constants.UNANSWERED_AFTER
        self.attempts += 1
        self._latest_at = now
        seconds = now - self._began_at
        if seconds < self._tell_after:
            return None
        self._tell_after = seconds + max(seconds, constants.UNANSWERED_INTERVAL)
        return seconds
