"""`python -m tests.interop.flooder PUBLIC_KEY HOST PORT COUNT`: initiations nobody can open.

Their mac1 is right, so they cost a handshake's work; COUNT go out every 10 ms.
"""

import select
import socket
import sys
import threading

from wgpy.engine.cookie import CookieHolder
from wgpy.io import clock
from wgpy.model import PublicKey
from wgpy.wire.messages import Initiation
from wgpy.wire.text import parse_key


def main(public_key: str, host: str, port: int, number: int) -> None:
    random = clock.entropy
    mac = CookieHolder(PublicKey(parse_key(public_key)))
    flood = [
        mac.seal(Initiation(n, random(32), random(48), random(28)).encode(), 0.0)
        for n in range(number)
    ]
    pause = threading.Event()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        told = False
        while True:
            for message in flood:
                sock.sendto(message, (host, port))
            if not told and select.select([sock], [], [], 0)[0]:
                told = True
                print("cookies are demanded", flush=True)
            pause.wait(0.01)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
