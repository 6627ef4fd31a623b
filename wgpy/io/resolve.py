"""Names of endpoints to addresses, with the patience of wg(8): a host may boot offline."""

import os
import socket
import threading
from collections.abc import Callable, Mapping
from typing import Final

from wgpy.errors import ConfigError, UsageError
from wgpy.model import Endpoint
from wgpy.wire.text import unmap

RETRIES_VARIABLE: Final = "WG_ENDPOINT_RESOLUTION_RETRIES"
DEFAULT_RETRIES: Final = 15
_FIRST_PAUSE: Final = 1.0
_PAUSE_GROWTH: Final = 1.2
_LONGEST_PAUSE: Final = 20.0
_PERMANENT: Final = frozenset({socket.EAI_NONAME, socket.EAI_FAIL, socket.EAI_NODATA})


def retries_allowed(environ: Mapping[str, str] = os.environ) -> float:
    """Return how often a name is asked for again; `infinity` is for ever.

    Raises:
        UsageError: the variable holds no number.
    """
    text = environ.get(RETRIES_VARIABLE, str(DEFAULT_RETRIES))
    if text == "infinity":
        return float("inf")
    if not (text.isascii() and text.isdigit()):
        raise UsageError(f"{RETRIES_VARIABLE}={text!r} is neither a number nor infinity")
    return int(text)


def resolve_endpoint(
    host: str,
    port: int,
    retries: float,
    *,
    say: Callable[[str], None],
    pause: float = _FIRST_PAUSE,
) -> Endpoint:
    """Return the address of a host; an address in digits needs no name server.

    `say` hears of each failure that is tried again; `pause` is the first wait, seconds.

    Raises:
        ConfigError: no such name, or no answer after the last try.
    """
    while True:
        try:
            return _first_address(host, port)
        except _NoAnswer as error:
            if retries <= 0:
                raise ConfigError(str(error)) from None
            say(f"{error}; trying again in {pause:.1f} s")
        threading.Event().wait(pause)
        retries -= 1
        pause = min(pause * _PAUSE_GROWTH, _LONGEST_PAUSE)


class _NoAnswer(Exception):
    """The name servers cannot be asked at present."""


def _first_address(host: str, port: int) -> Endpoint:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except socket.gaierror as error:
        line = f"endpoint {host}: {error.strerror}"
        if error.errno in _PERMANENT:
            raise ConfigError(line) from None
        raise _NoAnswer(line) from None
    except UnicodeError:
        raise ConfigError(f"endpoint {host}: no name of a host") from None
    family, _, _, _, address = found[0]
    packed = socket.inet_pton(family, str(address[0]).partition("%")[0])
    scope = int(address[3]) if len(address) > 3 else 0
    return Endpoint(unmap(packed), port, scope)
