"""A snapshot of a node as JSON: what the local socket and the local API tell.

Its members are those of `netmgr.model.Snapshot`, by their names; members may be added. A reader
passes over what it does not know, and takes what is missing as empty or zero.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Final

from netmgr.model import ConflictView, PeerView, RefusalView, RouteView, Snapshot
from wgpy.errors import ConfigError

_STRANGE: Final = "the node answers in a way that this program does not know; restart it"


def snapshot_to_plain(snapshot: Snapshot) -> dict[str, object]:
    """Return a snapshot as what JSON can hold."""
    return asdict(snapshot)


def snapshot_from_plain(plain: Mapping[str, object]) -> Snapshot:
    """Return the snapshot that JSON held.

    Raises:
        ConfigError: a member has another type.
    """
    fields = _Fields(plain)
    return Snapshot(
        name=fields.text("name"),
        address=fields.text("address"),
        address6=fields.text("address6"),
        fingerprint=fields.text("fingerprint"),
        public_key=fields.text("public_key"),
        subnet=fields.text("subnet"),
        interface=fields.text("interface"),
        listen_port=fields.whole("listen_port"),
        uptime=fields.number("uptime"),
        data_path=fields.text("data_path"),
        seeds=fields.texts("seeds"),
        peers=tuple(_peer(each) for each in fields.parts("peers")),
        routes=tuple(_route(each) for each in fields.parts("routes")),
        conflicts=tuple(_conflict(each) for each in fields.parts("conflicts")),
        refusals=tuple(_refusal(each) for each in fields.parts("refusals")),
        drops=fields.counts("drops"),
        digest=fields.text("digest"),
        unheard=fields.texts("unheard"),
    )


def _peer(fields: "_Fields") -> PeerView:
    return PeerView(
        name=fields.text("name"),
        address=fields.text("address"),
        address6=fields.text("address6"),
        fingerprint=fields.text("fingerprint"),
        reachable=fields.flag("reachable"),
        path=fields.text("path"),
        via=fields.texts("via"),
        endpoint=fields.text("endpoint"),
        rtt=fields.number("rtt") if fields.has("rtt") else None,
        loss=fields.number("loss"),
        rx_bytes=fields.whole("rx_bytes"),
        tx_bytes=fields.whole("tx_bytes"),
        last_handshake=fields.number("last_handshake"),
        trust=fields.text("trust"),
        routes=fields.texts("routes"),
        tried=fields.texts("tried"),
        left=fields.flag("left"),
    )


def _route(fields: "_Fields") -> RouteView:
    return RouteView(
        destination=fields.text("destination"),
        to=fields.text("to"),
        path=fields.texts("path"),
        cost=fields.whole("cost"),
        kind=fields.text("kind"),
    )


def _refusal(fields: "_Fields") -> RefusalView:
    return RefusalView(
        place=fields.text("place"),
        name=fields.text("name"),
        address=fields.text("address"),
        fingerprint=fields.text("fingerprint"),
        same_name=fields.flag("same_name"),
        same_address=fields.flag("same_address"),
        own=fields.text("own"),
    )


def _conflict(fields: "_Fields") -> ConflictView:
    return ConflictView(
        fingerprint=fields.text("fingerprint"),
        name=fields.text("name"),
        address=fields.text("address"),
        why=fields.text("why"),
        count=fields.whole("count"),
        age=fields.number("age"),
        live=fields.flag("live"),
    )


class _Fields:
    """The members of a JSON object; what is missing or null is empty or zero."""

    def __init__(self, plain: Mapping[str, object]) -> None:
        self._plain = plain

    def has(self, key: str) -> bool:
        return self._plain.get(key) is not None

    def text(self, key: str) -> str:
        value = self._plain.get(key)
        return self._whole_text("" if value is None else value)

    def flag(self, key: str) -> bool:
        value = self._plain.get(key)
        if not isinstance(value, bool | None):
            raise ConfigError(_STRANGE)
        return bool(value)

    def whole(self, key: str) -> int:
        value = self._plain.get(key)
        return 0 if value is None else self._whole_number(value)

    def number(self, key: str) -> float:
        value = self._plain.get(key)
        if value is None:
            return 0.0
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ConfigError(_STRANGE)
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        return tuple(self._whole_text(each) for each in self._list(key))

    def counts(self, key: str) -> tuple[tuple[str, int], ...]:
        found = []
        for pair in self._list(key):
            if not isinstance(pair, list | tuple) or len(pair) != 2:
                raise ConfigError(_STRANGE)
            found.append((self._whole_text(pair[0]), self._whole_number(pair[1])))
        return tuple(found)

    def parts(self, key: str) -> list["_Fields"]:
        found = []
        for each in self._list(key):
            if not isinstance(each, dict):
                raise ConfigError(_STRANGE)
            found.append(_Fields(each))
        return found

    def _list(self, key: str) -> list[object]:
        value = self._plain.get(key)
        if not isinstance(value, list | tuple | None):
            raise ConfigError(_STRANGE)
        return list(value or ())

    @staticmethod
    def _whole_text(value: object) -> str:
        if not isinstance(value, str):
            raise ConfigError(_STRANGE)
        return value

    @staticmethod
    def _whole_number(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise ConfigError(_STRANGE)
        return value
