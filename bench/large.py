"""130,560 allowed IPs through the socket: `allowedips`.

65,280 hosts of IPv4 and as many of IPv6, all of one peer, are set by `wg setconf` and shown
by `wg show`.
"""

from time import perf_counter

from bench.figures import Limit, Row
from bench.options import Options
from bench.subjects import Subject, ready
from tests.lab import Lab, LabError, keypair

SET_LIMIT = Limit(2)
COUNT = 65_280


def allowedips(options: Options) -> list[Row]:
    """Setting and showing many allowed IPs; kernels have no part in it."""
    present = ready(options).without_portable()
    setting: dict[str, list[float]] = {one.name: [] for one in present.subjects}
    showing: dict[str, list[float]] = {one.name: [] for one in present.subjects}
    runs = options.runs(4, 2)
    text = configuration()
    for number in range(runs):
        for one in present.subjects:
            options.say(f"allowedips: run {number + 1} of {runs}, {one.name}")
            took = _set_and_show(one, text)
            setting[one.name].append(took[0])
            showing[one.name].append(took[1])
    limits = present.limits(SET_LIMIT, SET_LIMIT)
    return [
        *present.rows(("allowedips", "130,560 allowed IPs, set", "s"), setting, limits),
        *present.rows(("allowedips", "130,560 allowed IPs, shown", "s"), showing),
        *present.absences("allowedips"),
    ]


def configuration() -> str:
    """Return a configuration of one peer with 65,280 addresses of each family."""
    private, _ = keypair()
    _, public = keypair()
    hosts = [(number >> 8, number & 255) for number in range(COUNT)]
    addresses = [f"10.9.{one}.{two}/32" for one, two in hosts]
    addresses += [f"fd00:9::{one:x}:{two:x}/128" for one, two in hosts]
    lines = "".join(f"AllowedIPs={address}\n" for address in addresses)
    return f"[Interface]\nPrivateKey={private}\n[Peer]\nPublicKey={public}\n{lines}"


def _set_and_show(subject: Subject, text: str) -> tuple[float, float]:
    """Return the seconds of `wg setconf` and of `wg show allowed-ips`."""
    with Lab() as lab:
        interface = lab.ifname()
        subject.start(lab, lab.ns(), interface)
        file = lab.directory / "wg.conf"
        file.write_text(text)
        began = perf_counter()
        lab.wg("setconf", interface, file)
        done = perf_counter()
        answer = lab.wg("show", interface, "allowed-ips")
        shown = perf_counter()
        if (count := len(answer.split()) - 1) != 2 * COUNT:
            raise LabError(f"{subject.name} shows {count} allowed IPs of {2 * COUNT}")
        return done - began, shown - done
