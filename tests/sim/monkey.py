"""A monkey that breaks a fleet at random, and an oracle that knows what must work all the same.

The oracle looks at the world only: who runs, who hears whom, who may be called what. It asks
nothing of the engines but what they would do with a packet.
"""

from itertools import combinations
from random import Random  # noqa: TID251  (seeded: the point of this module)

from netmgr.engine.trust import How, Pin
from netmgr.wire import objects
from netmgr.wire.objects import Edge, Record
from tests.sim.fleet import Fleet, Member
from wgpy.model import Prefix

SIZE = 12
MAX_EDGES = 4
SETTLE_TIME = 40.0


class Monkey:
    """A fleet of twelve, and the `steps` faults that are done to it; all by the seed.

    What a monkey draws may be impossible as things are: that is no fault, and it draws again.
    """

    def __init__(self, seed: int, steps: int = 200) -> None:
        self.seed = seed
        self.steps = steps
        self.random = Random(seed)
        self.fleet = Fleet(SIZE, seed=seed, spread=0.05)
        self.done: list[str] = []
        self.faults = 0
        self.settled: list[float] = []
        self.twins: list[Member] = []
        self.left: set[int] = set()
        # What people pinned since somebody lied: else nobody can tell the true claim.
        self.pins: list[Pin] = []
        self._faults = (
            self._kill,
            self._reboot,
            self._reboot_forgetful,
            self._part,
            self._heal,
            self._cut,
            self._mend,
            self._roam,
            self._flap,
            self._forge,
            self._leave,
            self._rejoin,
            self._duplicate,
        )

    def play(self) -> str:
        """Break and look, so many times; return what is wrong in the end, "" if nothing."""
        self.fleet.start()
        self.fleet.run_for(1.5)
        for step in range(self.steps + 1):
            if step:
                self._break()
            wrong = self._settle()
            if wrong:
                return f"seed {self.seed}, step {step}: {wrong}; after {self.done[-8:]}"
        return ""

    def _break(self) -> None:
        """Draw until something was really done."""
        before = len(self.done)
        while len(self.done) == before:
            self.random.choice(self._faults)()
        self.faults += 1

    def _settle(self) -> str:
        taken = self.fleet.run_while(lambda: bool(self._wrong()), SETTLE_TIME, 0.5)
        self.settled.append(taken)
        return self._wrong()

    # --- the oracle ---

    def _honest(self) -> list[Member]:
        """Return the members that run, and of which there is one only."""
        twins = {member.identity.public for member in self.twins}
        return [
            member
            for member in self.fleet.running()
            if member.number < SIZE and member.identity.public not in twins
        ]

    def _wrong(self) -> str:
        """Return what is not as it must be, "" if all is well."""
        members = self._honest()
        for one, other in combinations(members, 2):
            for a, b in ((one, other), (other, one)):
                if self._distance(a, b) <= MAX_EDGES and not a.reaches(b):
                    remote = a.remote(b)
                    way = None if remote is None else remote.way
                    return f"{a.name} does not reach {b.name} but has {way}"
        for member in members:
            wrong = self._wrong_owner(member)
            if wrong:
                return wrong
        for part in self._components(members):
            if len({member.digest for member in part}) > 1:
                names = [f"{member.name}:{member.digest.hex()[:4]}" for member in part]
                return f"these hold different objects: {names}"
        return ""

    def _wrong_owner(self, member: Member) -> str:
        owners = {
            Prefix(each.settings.address, 32): each.key for each in self.fleet.members[:SIZE]
        }
        for prefix, key in member.owners().items():
            if prefix in owners and owners[prefix] != key:
                return f"{member.name} gives {prefix} to another"
        return ""

    def _distance(self, source: Member, destination: Member) -> int:
        """Return how many edges there are between two, in truth; 99 if no path."""
        if self.fleet.connects(source, destination):
            return 1
        members = self._honest()
        known, border, edges = {source}, [source], 0
        while border:
            if destination in border:
                return edges
            edges += 1
            found = {
                two
                for one in border
                for two in members
                if two not in known and self.fleet.connects(one, two)
            }
            known |= found
            border = list(found)
        return 99

    def _components(self, members: list[Member]) -> list[list[Member]]:
        parts: list[list[Member]] = []
        rest = list(members)
        while rest:
            part = [rest.pop(0)]
            for one in part:
                near = [two for two in rest if self.fleet.connects(one, two)]
                part += near
                rest = [two for two in rest if two not in near]
            parts.append(part)
        return parts

    # --- the faults ---

    def _some(self, *, up: bool) -> Member | None:
        found = [
            member
            for member in self.fleet.members[:SIZE]
            if member.up is up and member.number not in self.left
        ]
        return self.random.choice(found) if found else None

    def _note(self, *words: object) -> None:
        self.done.append(" ".join(map(str, words)))

    def _kill(self) -> None:
        member = self._some(up=True)
        if member is not None and len(self.fleet.running()) > SIZE // 2:
            self._note("kill", member.name)
            member.kill()

    def _start(self, *, remembers: bool) -> None:
        member = self._some(up=False)
        if member is None:
            member = self._some(up=True)
            assert member is not None
            member.kill()
        self._note("reboot", member.name, "with" if remembers else "without", "state")
        member.start(remembers=remembers, pins=self.pins)

    def _reboot(self) -> None:
        self._start(remembers=True)

    def _reboot_forgetful(self) -> None:
        self._start(remembers=False)

    def _part(self) -> None:
        """Part the fleet in two; both sides keep one of the seeds."""
        self._note("part")
        for member in self.fleet.members:
            member.island = self.random.randrange(2)
        self.fleet.members[0].island, self.fleet.members[1].island = 0, 1

    def _heal(self) -> None:
        if not any(member.island for member in self.fleet.members[:SIZE]):
            return
        self._note("heal")
        for member in self.fleet.members:
            member.island = 0

    def _cut(self) -> None:
        one, other = self.random.sample(self.fleet.members[:SIZE], 2)
        if (one.number, other.number) not in self.fleet.cut:
            self._note("cut", one.name, other.name)
            self.fleet.disconnect(one, other)

    def _mend(self) -> None:
        if self.fleet.cut:
            self._note("mend")
            self.fleet.cut.clear()

    def _roam(self) -> None:
        member = self._some(up=True)
        if member is not None and member.number > 1:
            self._note("roam", member.name)
            member.roam()

    def _flap(self) -> None:
        one, other = self.random.sample(self.fleet.members[:SIZE], 2)
        self._note("flap", one.name, other.name)
        for _ in range(3):
            self.fleet.disconnect(one, other)
            self.fleet.run_for(2.0)
            self.fleet.connect(one, other)
            self.fleet.run_for(2.0)

    def _forge(self) -> None:
        """Let somebody with the shared key claim what others have, and say what is not so."""
        victim = self._some(up=True)
        teller = self._some(up=True)
        if victim is None or teller is None:
            return
        owner = victim.settings
        self.pins.append(Pin(owner.name, owner.address, victim.identity.public, How.PERSON))
        for member in self.fleet.running():
            member.mesh.restore(self.pins, (), (), self.fleet.now)
        self._note("forge", victim.name, "told to", teller.name)
        liar = self.fleet.add(
            name=victim.name,
            address=victim.settings.address,
            seed=self.random.randbytes(32),
        )
        liar.island = teller.island
        liar.start()
        self.fleet.run_for(3.0)
        keys, sign = liar.mesh.context.keys, liar.identity.sign
        lies = [
            objects.encode(kind, 0, identity, 1 << 40, body, keys.net_id, sign)
            for kind, body in (
                (objects.RECORD, objects.encode_record(Record("evil", None, 1))),
                (objects.LEAVE, objects.encode_leave()),
                (
                    objects.LINKS,
                    objects.encode_links([Edge(liar.identity.short, 1, 0)])[0],
                ),
            )
            for identity in (victim.identity.public, teller.identity.public)
        ]
        for blob in lies:
            teller.mesh.restore((), [blob], (), self.fleet.now)
        teller.settle()
        liar.kill()

    def _leave(self) -> None:
        member = self._some(up=True)
        if member is not None and member.number > 1 and len(self.left) < 3:
            self._note("leave", member.name)
            member.leave()
            self.left.add(member.number)

    def _rejoin(self) -> None:
        for number in sorted(self.left):
            self._note("rejoin", self.fleet.members[number].name)
            remembers = self.random.random() < 0.5
            self.fleet.members[number].start(remembers=remembers, pins=self.pins)
        self.left.clear()

    def _duplicate(self) -> None:
        """Let a second one with the same identity run for a while."""
        member = self._some(up=True)
        if member is None or member.number < 2:
            return
        self._note("duplicate", member.name)
        twin = self.fleet.add(
            name=member.name,
            address=member.settings.address,
            seed=member.identity.seed.reveal(),
        )
        twin.island = member.island
        self.twins.append(twin)
        twin.start()
        self.fleet.run_for(10.0)
        twin.kill()
        # Who runs goes silent when it sees a twin; people start it anew.
        member.kill()
        member.start(pins=self.pins)
        self.twins.clear()
