from random import Random  # noqa: TID251  (seeded)

from wgpy.engine.indices import IndexTable


def test_an_index_is_what_the_entropy_says_and_unique():
    draws = iter([b"\x01\0\0\0", b"\x01\0\0\0", b"\x01\0\0\0", b"\xff\xff\xff\xff"])
    table: IndexTable[str] = IndexTable(lambda size: next(draws))
    assert table.add("a") == 1
    assert table.add("b") == 0xFFFFFFFF
    assert (table.lookup(1), table.lookup(0xFFFFFFFF), table.lookup(2)) == ("a", "b", None)


def test_an_index_is_pointed_elsewhere_and_dropped():
    table: IndexTable[str] = IndexTable(Random(1).randbytes)
    index = table.add("handshake")
    table.point(index, "session")
    assert table.lookup(index) == "session"
    assert len(table) == 1
    table.drop(index)
    table.drop(index)
    assert table.lookup(index) is None
    assert len(table) == 0


def test_indices_tell_nothing_of_their_number():
    table: IndexTable[int] = IndexTable(Random(2).randbytes)
    indices = [table.add(n) for n in range(1000)]
    assert len(set(indices)) == 1000
    assert max(indices) > 2**31
    assert min(indices) < 2**31
