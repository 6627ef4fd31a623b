"""A whole node without I/O: the mesh over a WireGuard device of wgpy, on one UDP port.

It is an engine like the device it holds. The first five effects of the mesh are carried out on
the device at once; the rest is left for the world to take.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from netmgr import effects
from netmgr.effects import ADMIN_PORT
from netmgr.engine.mesh import Mesh
from netmgr.engine.signing import Identity
from netmgr.model import Settings
from wgpy.engine.device import Device
from wgpy.events import (
    DatagramReceived,
    Event,
    HandshakeCompleted,
    InnerReceived,
    RelayFailed,
    Roamed,
    SessionEnded,
)
from wgpy.model import Arrivals, Burst, Deadline, DeviceChange, Endpoint, PublicKey, TunBurst
from wgpy.wire.messages import DATA_OVERHEAD

# Device and mesh may talk so often within one step; what is left waits for the next.
_ROUNDS: Final = 8


class DeviceChannel:
    """What the mesh asks of a device of wgpy."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._seen: dict[PublicKey, tuple[int, int]] = {}
        self._arrived: dict[PublicKey, Arrivals] = {}

    def endpoint(self, public_key: PublicKey) -> Endpoint | None:
        """Return where the device sends to at the moment."""
        return self._device.peer_endpoint(public_key)

    def traffic(self, public_key: PublicKey) -> tuple[int, int, float]:
        """Return bytes received and sent, and Unix time of the last handshake."""
        return self._device.traffic(public_key) or (0, 0, 0.0)

    def watch(self, public_key: PublicKey, *, here: bool) -> None:
        """Begin or cease to look at the bytes of a peer."""
        if here:
            self._seen.setdefault(public_key, (0, 0))
        else:
            self._seen.pop(public_key, None)
            self._arrived.pop(public_key, None)

    def arrivals(self, public_key: PublicKey) -> tuple[int, int]:
        """Return how many messages the peer has sent since the last call, how many came."""
        found = self._device.arrivals(public_key, self._arrived.get(public_key))
        if found is None:
            return 0, 0
        self._arrived[public_key] = found
        return found.sent, found.came

    def active(self) -> Iterable[tuple[PublicKey, bool, bool]]:
        """Yield peers whose bytes grew since the last call: received grew, sent grew.

        Keepalives of WireGuard are not counted as sent: they ask for no answer.
        """
        for key, (rx, tx) in self._seen.items():
            new_rx, new_tx, _ = self.traffic(key)
            if (new_rx, new_tx) != (rx, tx):
                self._seen[key] = new_rx, new_tx
                yield key, new_rx > rx, new_tx > tx + DATA_OVERHEAD


class Host:
    """One node of one network.

    Args:
        device: an embedded one.
        settings: of this node.
        identity: its secret.
        entropy: returns that many bytes fit for keys.
        next_seq: as for `Mesh`.
        now: the time.
    """

    def __init__(
        self,
        device: Device,
        settings: Settings,
        identity: Identity,
        *,
        entropy: Callable[[int], bytes],
        next_seq: Callable[[int], int],
        now: float,
    ) -> None:
        self.device = device
        self._channel = DeviceChannel(device)
        self.mesh = Mesh(
            settings,
            identity,
            channel=self._channel,
            entropy=entropy,
            next_seq=next_seq,
            now=now,
        )
        self._identity = identity
        # Whether there are effects, or events of the mesh, since the effects were last taken.
        self.has_news = False
        # What happened to the device, but for what is the mesh's alone.
        self.heard: list[Event] = []
        self._effects: list[effects.Effect] = []
        self._now, self._due = now, self.mesh.next_deadline()
        device.configure(DeviceChange(private_key=identity.wireguard), now)
        self.settle(now)

    # --- the engine's verbs; hot path: bench/mesh ---

    def receive_bursts(self, bursts: Sequence[Burst], now: float) -> None:
        """Take what came from the network."""
        self._now = now
        self.device.receive_bursts(bursts, now)

    def receive_packets(self, packets: Sequence[TunBurst], now: float) -> None:
        """Take what the host wants sent."""
        self._now = now
        self.device.receive_packets(packets, now)

    def handle_deadline(self, now: float) -> None:
        """Act on every deadline that is due at `now`; the next one is later than `now`."""
        deadline = self.device.next_deadline()
        if deadline is not None and deadline.at <= now:
            self.device.handle_deadline(now)
        if self._due.at <= now:
            self.mesh.handle_deadline(now)
        self.settle(now)

    def next_deadline(self) -> Deadline:
        """Return when to call `handle_deadline`."""
        own, device = self._due, self.device.next_deadline()
        return own if device is None or own.at <= device.at else device

    def take_bursts(self) -> list[Burst]:
        """Return and forget what is to be sent to the network; to be called first of these."""
        happened = self.device.take_events()
        if happened:
            for event in happened:
                self._hear(event, self._now)
            self.settle(self._now)
        return self.device.take_bursts()

    def take_packets(self) -> list[TunBurst]:
        """Return and forget what is to be handed to the host."""
        return self.device.take_packets()

    def take_events(self) -> list[Event]:
        """Return and forget what happened to the device, but for what is the mesh's alone."""
        taken, self.heard = self.heard, []
        return taken

    def take_effects(self) -> list[effects.Effect]:
        """Return and forget what the world is to do."""
        taken, self._effects = self._effects, []
        self.has_news = False
        return taken

    def settle(self, now: float) -> None:
        """Let device and mesh hear of each other until both are silent.

        To be called after every call to one of them from outside.
        """
        for _ in range(_ROUNDS):
            wanted = self.mesh.take_effects()
            for effect in wanted:
                self._carry_out(effect, now)
            happened = self.device.take_events()
            for event in happened:
                self._hear(event, now)
            if not happened and not wanted:
                break
        self._now, self._due = now, self.mesh.next_deadline()
        if self._effects or self.mesh.context.out.events:
            self.has_news = True

    # --- inside ---

    def _hear(self, event: Event, now: float) -> None:
        match event:
            case DatagramReceived(payload, remote, local):
                self.mesh.receive_datagram(payload, remote, local, now)
            case InnerReceived(peer, payload):
                self.mesh.receive_inner(peer, payload, now)
            case HandshakeCompleted(peer):
                self.mesh.session_begun(peer, now)
                self.heard.append(event)
            case SessionEnded(peer):
                self.mesh.session_ended(peer)
                self.heard.append(event)
            case Roamed(peer, _, new):
                self.mesh.roamed(peer, new, now)
            case RelayFailed(destination, failed):
                self.mesh.relay_failed(destination, failed, now)
            case _:
                self.heard.append(event)

    def _carry_out(self, effect: effects.Effect, now: float) -> None:
        match effect:
            case effects.SendDatagram(payload, remote, local) if local != ADMIN_PORT:
                self.device.send_datagram(Burst(payload, len(payload), remote, local))
            case effects.SendInner(public_key, payloads):
                self.device.send_inner(public_key, payloads, now)
            case effects.ChangePeers(changes):
                for change in changes:
                    self._channel.watch(change.public_key, here=not change.remove)
                self.device.configure(DeviceChange(peers=changes), now)
            case effects.Hurry(public_key):
                self.device.hurry(public_key, now)
            case effects.SetDetours(neighbours, paths):
                own, carries = self._identity.short, not self.mesh.context.settings.metered
                self.device.set_detours(own, neighbours, paths, carries=carries)
            case _:
                self._effects.append(effect)


# hot path: bench/mesh
class Managed:
    """The engine as the node drives it; after each step the world gets its turn."""

    def __init__(self, host: Host, after_step: Callable[[], None]) -> None:
        self._host = host
        self._after_step = after_step
        self.receive_bursts = host.receive_bursts
        self.receive_packets = host.receive_packets
        self.handle_deadline = host.handle_deadline
        self.next_deadline = host.next_deadline
        self.take_bursts = host.take_bursts
        self.take_packets = host.take_packets

    def take_events(self) -> list[Event]:
        """Return and forget what happened to the device."""
        host = self._host
        if not (host.heard or host.has_news):
            return []
        taken = host.take_events()
        if host.has_news:
            self._after_step()
        return taken
