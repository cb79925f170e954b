"""Damage files in ways that know their formats: chunks, tags, lengths, and plain bits."""

from __future__ import annotations

import contextlib
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_FEW = 64


@dataclass
class Anatomy:
    """Where a file has parts that can be moved, and numbers that can lie.

    `parts` are (start, stop), `numbers` are (start, width, byte order), and `targets` are what
    numbers that point somewhere may point to.
    """

    parts: list[tuple[int, int]] = field(default_factory=list)
    numbers: list[tuple[int, int, str]] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)


def mutate(content: bytes, donor: bytes, generator: random.Random) -> bytes:
    """Damage a file in one to four ways; some take a part of `donor`, another file."""
    for _ in range(generator.choice((1, 1, 1, 2, 2, 3, 4))):
        anatomy = dissect(content)
        kinds: list[Callable[[bytes, bytes, Anatomy, random.Random], bytes]]
        kinds = [_flip, _flip, _cut, _insert, _overwrite]
        kinds += [_move_part] * 4 if anatomy.parts else []
        kinds += [_lie] * 6 if anatomy.numbers else []
        content = generator.choice(kinds)(content, donor, anatomy, generator)
    # Half the damage would be hidden behind checksums that do not fit.
    return mend_checksums(content) if generator.random() < 0.8 else content


def dissect(content: bytes) -> Anatomy:
    """Find the parts and numbers of a file, as far as it still looks like its format."""
    anatomy = Anatomy()
    # If it is damaged already, what is found up to there will do.
    with contextlib.suppress(struct.error, IndexError, OverflowError):
        _dissect(content, anatomy)
    return anatomy


def _dissect(content: bytes, found: Anatomy) -> None:
    if content.startswith(PNG_SIGNATURE):
        for start, stop in _png_chunks(content):
            found.parts.append((start, stop))
            found.numbers.append((start, 4, ">"))
            found.numbers += [(start + 8 + 4 * n, 4, ">") for n in range(2)]
    elif content.startswith(b"\xff\xd8"):
        _dissect_jpeg(content, found)
    elif content.startswith(b"RIFF"):
        found.numbers.append((4, 4, "<"))
        at = 12
        while at + 8 <= len(content):
            size = struct.unpack_from("<I", content, at + 4)[0]
            found.parts.append((at, min(at + 8 + size + size % 2, len(content))))
            found.numbers += [(at + 4, 4, "<"), (at + 8, 2, "<"), (at + 12, 2, "<")]
            at += 8 + size + size % 2
    elif content.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        _dissect_tiff(content, 0, found)
    elif content.startswith(b"BM"):
        found.numbers += [(at, 4, "<") for at in (2, 10, 14, 18, 22, 30, 34, 46, 50)]
        found.numbers += [(at, 2, "<") for at in (26, 28)]
    elif content.startswith(b"P") and content[1:2].isdigit():
        _dissect_words(content, found)
    elif content.startswith(b"PK"):
        for signature, fields in ((b"PK\3\4", (18, 22)), (b"PK\1\2", (20, 24, 42))):
            at = content.find(signature)
            while at >= 0:
                found.numbers += [(at + field, 4, "<") for field in fields]
                at = content.find(signature, at + 4)
    elif content[4:8] in (b"ftyp", b"JXL "):
        _dissect_boxes(content, 0, len(content), found)
    elif content[8:9] == b"{":
        found.numbers.append((0, 8, "<"))
        stop = 8 + struct.unpack_from("<Q", content)[0]
        found.parts += [(at, at + 40) for at in range(8, min(stop, len(content) - 40), 40)]


def _dissect_jpeg(content: bytes, found: Anatomy) -> None:
    at = 2
    while content[at] == 0xFF:
        marker, size = struct.unpack_from(">BH", content, at + 1)
        found.parts.append((at, at + 2 + size))
        found.numbers.append((at + 2, 2, ">"))
        if marker in (0xC0, 0xC1, 0xC2):
            found.numbers += [(at + 5, 2, ">"), (at + 7, 2, ">"), (at + 9, 1, ">")]
            found.numbers += [(at + 10 + n, 1, ">") for n in range(9)]
        if marker == 0xE1 and content[at + 4 : at + 10] == b"Exif\0\0":
            _dissect_tiff(content, at + 10, found)
        if marker == 0xDA:
            break
        at += 2 + size


def _dissect_tiff(content: bytes, base: int, found: Anatomy) -> None:
    order = "<" if content[base : base + 2] == b"II" else ">"
    big = content[base + 2 : base + 4] in (b"+\0", b"\0+")
    # Widths of counts of entries, of values, and of an entry; the first offset is at `first`.
    counted, width, size, first = (8, 8, 20, 8) if big else (2, 4, 12, 4)
    letter = {2: "H", 4: "I", 8: "Q"}
    pointer = base + first
    seen: set[int] = set()
    while len(seen) < _FEW:
        found.numbers.append((pointer, width, order))
        at = base + struct.unpack_from(order + letter[width], content, pointer)[0]
        if at == base or at in seen:
            break
        seen.add(at)
        found.targets.append(at - base)
        found.numbers.append((at, counted, order))
        entries = struct.unpack_from(order + letter[counted], content, at)[0]
        at += counted
        for _ in range(min(entries, _FEW)):
            found.parts.append((at, at + size))
            found.numbers += [(at, 2, order), (at + 2, 2, order)]
            found.numbers += [(at + 4 + n * width, width, order) for n in range(2)]
            at += size
        pointer = at


def _dissect_words(content: bytes, found: Anatomy) -> None:
    start = 0
    for at, byte in enumerate(content[:_FEW]):
        if byte in b" \n\t":
            found.parts.append((start, at + 1))
            start = at + 1


def _dissect_boxes(content: bytes, at: int, stop: int, found: Anatomy, depth: int = 0) -> None:
    while at + 8 <= stop and len(found.parts) < _FEW:
        size, kind = struct.unpack_from(">I4s", content, at)
        end = min(at + size, stop) if size >= 8 else stop
        found.parts.append((at, end))
        found.numbers += [(at, 4, ">"), (at + 8, 4, ">"), (at + 12, 4, ">")]
        if kind in (b"meta", b"iprp", b"ipco") and depth < 4:
            _dissect_boxes(content, at + (12 if kind == b"meta" else 8), end, found, depth + 1)
        at = end


def _png_chunks(content: bytes) -> Iterator[tuple[int, int]]:
    at = len(PNG_SIGNATURE)
    while at + 12 <= len(content):
        size = struct.unpack_from(">I", content, at)[0]
        if at + 12 + size > len(content):
            return
        yield at, at + 12 + size
        at += 12 + size


def mend_checksums(content: bytes) -> bytes:
    """Let the checksums of PNG chunks fit what they hold."""
    if not content.startswith(PNG_SIGNATURE):
        return content
    mended = bytearray(content)
    for start, stop in _png_chunks(content):
        struct.pack_into(">I", mended, stop - 4, zlib.crc32(content[start + 4 : stop - 4]))
    return bytes(mended)


def _flip(content: bytes, _donor: bytes, _anatomy: Anatomy, generator: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(generator.choice((1, 1, 2, 8, 64))):
        at = generator.randrange(len(changed)) if changed else 0
        # Headers are at the beginning.
        at = at % 128 if generator.random() < 0.4 else at
        if at < len(changed):
            changed[at] ^= 1 << generator.randrange(8)
    return bytes(changed)


def _cut(content: bytes, _donor: bytes, anatomy: Anatomy, generator: random.Random) -> bytes:
    if anatomy.parts and generator.random() < 0.3:
        return content[: generator.choice(anatomy.parts)[generator.randrange(2)]]
    return content[: generator.randrange(len(content) + 1)]


def _insert(content: bytes, _donor: bytes, _anatomy: Anatomy, generator: random.Random) -> bytes:
    at = generator.randrange(len(content) + 1)
    size = generator.choice((1, 1, 2, 4, 100, 5000))
    filling = generator.randbytes(size) if generator.random() < 0.5 else bytes(size)
    return content[:at] + filling + content[at:]


def _overwrite(content: bytes, donor: bytes, _anatomy: Anatomy, generator: random.Random) -> bytes:
    at = generator.randrange(len(content) + 1)
    size = generator.choice((1, 4, 16, 200))
    start = generator.randrange(max(len(donor) - size, 1))
    return content[:at] + donor[start : start + size] + content[at + size :]


def _move_part(content: bytes, donor: bytes, anatomy: Anatomy, generator: random.Random) -> bytes:
    start, stop = generator.choice(anatomy.parts)
    part = content[start:stop]
    kind = generator.randrange(5)
    if kind == 0:
        return content[:start] + content[stop:]
    if kind == 1:
        # Many, but not so many that the file itself is large.
        times = min(generator.choice((2, 3, 50, 1000)), 1 + 1_000_000 // max(len(part), 1))
        return content[:start] + part * times + content[stop:]
    if kind == 2:
        at = generator.choice(anatomy.parts)[generator.randrange(2)]
        return content[:at] + part + content[at:]
    if kind == 3 and (others := dissect(donor).parts):
        first, last = generator.choice(others)
        return content[:start] + donor[first:last] + content[stop:]
    middle = generator.randrange(len(part) + 1)
    return content[:start] + part[:middle] + content[stop:]


def _lie(content: bytes, _donor: bytes, anatomy: Anatomy, generator: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(generator.choice((1, 1, 1, 2, 3))):
        start, width, order = generator.choice(anatomy.numbers)
        if start + width > len(content):
            continue
        form = "little" if order == "<" else "big"
        old = int.from_bytes(content[start : start + width], form)  # type: ignore[arg-type]
        top = 256**width
        other = generator.choice(anatomy.numbers)[0]
        plausible = (0, 1, 2, old + 1, old - 1, old * 2, old * 256, start, other, len(content))
        extreme = (top - 1, top // 2, top // 2 - 1, 40_000, 2**20, generator.randrange(top))
        value = generator.choice(plausible + extreme)
        # Directories that lead in a circle.
        if anatomy.targets and generator.random() < 0.2:
            value = generator.choice(anatomy.targets)
        changed[start : start + width] = (value % top).to_bytes(width, form)  # type: ignore[arg-type]
    return bytes(changed)
