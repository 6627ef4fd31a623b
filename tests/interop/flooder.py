"""`python -m tests.interop.flooder PUBLIC_KEY HOST PORT`: initiations that nobody can open.

Their mac1 is right, so they cost a handshake's work; 100 go out every 10 ms.
"""

import socket
import sys
import threading
from itertools import count

from wgpy.engine.cookie import CookieHolder
from wgpy.io import clock
from wgpy.model import PublicKey
from wgpy.wire.messages import Initiation
from wgpy.wire.text import parse_key


def main(public_key: str, host: str, port: int) -> None:
    random = clock.entropy
    mac = CookieHolder(PublicKey(parse_key(public_key)))
    flood = [
        mac.seal(Initiation(n, random(32), random(48), random(28)).encode(), 0.0)
        for n in range(500)
    ]
    pause = threading.Event()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for n in count():
            for message in flood[n % 5 :: 5]:
                sock.sendto(message, (host, port))
            if n == 0:
                print("flooding", flush=True)
            pause.wait(0.01)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
