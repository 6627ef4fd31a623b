"""Log lines to the system's log: datagrams to /dev/log, which syslogd or journald reads.

The handler of the standard library would load what the background start has no use for, and
blocks while a log daemon hangs; here a line that cannot go at once is lost.
"""

import logging
import os
import socket
from typing import Final

DEV_LOG: Final = "/dev/log"
MAX_LINE: Final = 8192

# RFC 5424, 6.2.1: the facility of system daemons, and severities.
_DAEMON: Final = 3 << 3
_SEVERITIES: Final = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
_DEBUG: Final = 7


class SyslogHandler(logging.Handler):
    """Sends each line as `wgpy[PID]: ...`; silent where nobody listens."""

    def __init__(self, path: str = DEV_LOG) -> None:
        super().__init__()
        self._path = path
        self._socket: socket.socket | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Send one line; a log daemon that was started anew is found again."""
        priority = _DAEMON | next((n for at, n in _SEVERITIES if record.levelno >= at), _DEBUG)
        line = f"<{priority}>wgpy[{os.getpid()}]: {self.format(record)}".encode()[:MAX_LINE]
        if not self._send(line):
            self.close_socket()
            self._send(line)

    def close_socket(self) -> None:
        """Let go of the log daemon; the next line looks for it again."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def close(self) -> None:
        """Close for good."""
        self.close_socket()
        super().close()

    def _send(self, line: bytes) -> bool:
        try:
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                self._socket.settimeout(0)
                self._socket.connect(self._path)
            self._socket.send(line)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return True
