import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgpy.kernels import image
from wgpy.kernels.image import BadImage, Image

pytest.importorskip("llvmlite", reason="needs llvmlite, the extra jit")
from llvmlite import binding

from wgpy.kernels import program

SEAL = "define void @seal() { ret void }"
OPEN = "define void @open() { ret void }"
REST = "define void @split() { ret void } define void @join() { ret void }"


def compiled(text: str, triple: str = "") -> bytes:
    """Return the object of a program."""
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    target = binding.Target.from_triple(triple or binding.get_process_triple())
    machine = target.create_target_machine(reloc="pic", codemodel="small")
    return bytes(machine.emit_object(binding.parse_assembly(text)))


@given(st.binary(max_size=200), st.tuples(*[st.integers(0, 2**64 - 1)] * 4))
def test_an_image_comes_back(code, entries):
    one = Image(code, entries)
    assert image.decode(image.encode(one)) == one


@given(st.integers(0, 10**6), st.integers(0, 7))
def test_a_changed_bit_is_noticed(at, bit):
    raw = bytearray(image.encode(Image(bytes(range(100)), (0, 64, 9, 9))))
    raw[at % len(raw)] ^= 1 << bit
    with pytest.raises(BadImage):
        image.decode(bytes(raw))


@given(st.integers(0, 171))
def test_a_part_of_an_image_is_none(size):
    raw = image.encode(Image(bytes(range(100)), (0, 64, 9, 9)))
    assert len(raw) == 172
    with pytest.raises(BadImage):
        image.decode(raw[:size])


def test_entries_are_found():
    linked = image.link(compiled(SEAL + OPEN + REST))
    assert len(set(linked.entries)) == 4
    assert max(linked.entries) < len(linked.code)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (SEAL, "no open"),
        (OPEN, "no seal"),
        (SEAL + OPEN, "no split"),
        (
            OPEN + "declare void @away()define void @seal() { call void @away()\n ret void }",
            "outside",
        ),
        (
            SEAL + OPEN + "@held = global i32 7",
            "section .data",
        ),
    ],
)
def test_an_object_that_is_not_complete_in_itself_is_refused(text, why):
    with pytest.raises(BadImage, match=why):
        image.link(compiled(text))


def test_what_is_no_object_is_refused():
    for raw in (b"", b"\x7fELF\x01\x01" + bytes(200), bytes(300)):
        with pytest.raises(BadImage):
            image.link(raw)


def test_constants_are_where_the_code_of_arm_looks_for_them():
    """ADRP names a page by its distance, LDR the place in it (Arm A64, C6.2)."""
    linked = image.link(compiled(program.module((4,), ARM), ARM))
    words = [
        int.from_bytes(linked.code[at : at + 4], "little")
        for at in range(0, len(linked.code), 4)
    ]
    found = set()
    for index, word in enumerate(words):
        if word & 0x9F000000 != 0x90000000:
            continue
        pages = (word >> 29 & 3) | (word >> 5 & 0x7FFFF) << 2
        load = next(
            other
            for other in words[index + 1 :]
            if other & 0xFFC00000 == 0x3DC00000 and other >> 5 & 31 == word & 31
        )
        place = ((index * 4 >> 12) + pages << 12) + (load >> 10 & 0xFFF) * 16
        found.add(linked.code[place : place + 16])
    # The limits of the bytes in a row that count.
    assert bytes(range(16)) in found
    assert bytes(range(48, 64)) in found


ARM = "aarch64-unknown-linux-gnu"
