"""The header of a JPEG XL codestream (ISO/IEC 18181-1)."""

from __future__ import annotations

from dataclasses import dataclass

from ssbsn_cli.core.imaging.codec import cut_short

CODESTREAM = b"\xff\x0a"
ALPHA = 0
# Ratios of width to height, by their number in the header.
_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}


@dataclass(frozen=True)
class Header:
    """What the header of a picture says.

    Parameters
    ----------
    size : (int, int)
        Width and height of the upright picture.
    turned, animated : bool
        Whether width and height are exchanged in the file; whether there may be several frames.
    extra, kind, associated : int, int, bool
        The number of channels other than colours; the first one's kind, and whether colours are
        multiplied by it.
    converted : bool
        Whether decoders convert the colours to linear sRGB: a lossy file stores them in a space of
        its own, along with a profile that only a colour management system understands.
    bits : int
        Bits per channel.
    depth_at : int
        The position, in bits, of the code for 8 bits per channel; 0 if there are more.
    """

    size: tuple[int, int]
    turned: bool = False
    animated: bool = False
    extra: int = 0
    kind: int = ALPHA
    associated: bool = False
    converted: bool = False
    bits: int = 8
    depth_at: int = 0


class _Bits:
    """Reads numbers bit by bit, the lowest bit first (ISO/IEC 18181-1)."""

    def __init__(self, data: bytes) -> None:
        self.rest = int.from_bytes(data, "little")
        self.at = 0

    def take(self, count: int) -> int:
        value = self.rest & ((1 << count) - 1)
        self.rest >>= count
        self.at += count
        return value

    def choose(self, *choices: tuple[int, int]) -> int:
        """Read which of four choices follows, and its value: a minimum plus some bits."""
        least, count = choices[self.take(2)]
        return least + self.take(count)

    def size(self) -> tuple[int, int]:
        choices = (1, 9), (1, 13), (1, 18), (1, 30)
        small = self.take(1)
        height = 8 * (1 + self.take(5)) if small else self.choose(*choices)
        ratio = self.take(3)
        if ratio:
            across, down = _RATIOS[ratio]
            return height * across // down, height
        return 8 * (1 + self.take(5)) if small else self.choose(*choices), height

    def skip_preview_size(self) -> None:
        eighths = self.take(1)
        choices = (
            ((16, 0), (32, 0), (1, 5), (33, 9))
            if eighths
            else ((1, 6), (65, 8), (321, 10), (1345, 12))
        )
        self.choose(*choices)
        if not self.take(3):
            self.choose(*choices)

    def depth(self) -> tuple[int, int]:
        """Read a depth in bits; return also the position of its code if it is 8, otherwise 0."""
        if self.take(1):
            bits = self.choose((32, 0), (16, 0), (24, 0), (1, 6))
            self.take(4)
            return bits, 0
        at = self.at
        bits = self.choose((8, 0), (10, 0), (12, 0), (1, 6))
        return bits, at if bits == 8 else 0


def read_header(codestream: bytes) -> Header:
    """Read the header at the beginning of a codestream; refuse a file that is cut short."""
    if not codestream.startswith(CODESTREAM):
        raise cut_short()
    bits = _Bits(codestream)
    bits.take(8 * len(CODESTREAM))
    width, height = bits.size()
    if bits.take(1):
        return Header((width, height))
    turned = False
    if bits.take(1):
        turned = bits.take(3) >= 4
        if bits.take(1):
            bits.size()
        if bits.take(1):
            bits.skip_preview_size()
        if bits.take(1):
            return Header((width, height), turned, animated=True)
    size = (height, width) if turned else (width, height)
    depth, depth_at = bits.depth()
    bits.take(1)
    extra = bits.choose((0, 0), (1, 0), (2, 4), (1, 12))
    kind, associated = ALPHA, False
    if extra and not bits.take(1):
        kind = bits.choose((0, 0), (1, 0), (2, 4), (18, 6))
        bits.depth()
        bits.choose((0, 0), (3, 0), (4, 0), (1, 3))
        bits.take(8 * bits.choose((0, 0), (0, 4), (16, 5), (48, 10)))
        associated = kind == ALPHA and bool(bits.take(1))
    # The space of lossy files; a colour space that is not sRGB; a profile instead of numbers.
    converted = bool(bits.take(1)) and not bits.take(1) and bool(bits.take(1))
    return Header(
        size,
        turned,
        extra=extra,
        kind=kind,
        associated=associated,
        converted=converted,
        bits=depth,
        depth_at=depth_at,
    )


def deepen(data: bytes, codestream: bytes, header: Header) -> bytes:
    """Make a lossy file of 8 bits say 12; its decoder computes in floats, and only rounds less.

    `codestream` is the beginning of the codestream in `data`.
    """
    at = 8 * data.index(codestream) + header.depth_at + 1
    changed = bytearray(data)
    changed[at // 8] |= 1 << at % 8
    return bytes(changed)
