"""`python -m tests.interop.flooder KEY HOST PORT COUNT REST`: initiations nobody can open.

Their mac1 is right, so they cost a handshake's work; COUNT go out every 10 ms. Once cookies are
demanded, REST seconds follow each 0.4 s.
"""

import itertools
import select
import socket
import sys
import threading

from wgpy.engine.cookie import CookieHolder
from wgpy.io import clock
from wgpy.model import PublicKey
from wgpy.wire.messages import Initiation
from wgpy.wire.text import parse_key


def main(public_key: str, host: str, port: int, number: int, rest: float) -> None:
    random = clock.entropy
    mac = CookieHolder(PublicKey(parse_key(public_key)))
    flood = [
        mac.seal(Initiation(n, random(32), random(48), random(28)).encode(), 0.0)
        for n in range(number)
    ]
    pause = threading.Event()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        told = False
        for round_number in itertools.count(1):
            for message in flood:
                sock.sendto(message, (host, port))
            if not told and select.select([sock], [], [], 0)[0]:
                told = True
                print("cookies are demanded", flush=True)
            pause.wait(rest if rest and told and round_number % 40 == 0 else 0.01)


if __name__ == "__main__":
    key, host, port, number, rest = sys.argv[1:]
    main(key, host, int(port), int(number), float(rest))
