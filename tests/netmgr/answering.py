"""A node that answers every question with the same line."""

import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import Self

from netmgr.wire import lines


class Answering:
    """Listens on a socket in a thread; `asked` are the questions."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.answer = lines.format_result({})
        self.asked: list[lines.Request] = []
        self._socket = socket.socket(socket.AF_UNIX)
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Self:
        self._socket.bind(self.path)
        self._socket.listen()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection, suppress(BrokenPipeError):
                line = connection.makefile("rb").readline()
                if line:  # else somebody only looked whether a node is there
                    self.asked.append(lines.parse_request(line))
                    connection.sendall(self.answer)
