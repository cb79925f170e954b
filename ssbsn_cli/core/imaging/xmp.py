"""XMP packets: remove what is no longer true of a photo, and keep every other byte."""

from __future__ import annotations

import hashlib
import re
from xml.parsers import expat

from ssbsn_cli.core.imaging.photo import DEPTH_MAP, GAIN_MAP

LOST_VIDEO = "the video of a motion photo"
Claims = tuple[tuple[str, str, str | None], ...]
# Claims of phones about data that accompany the picture, which a result lacks: the namespace, the
# beginning of the property names, and what the data are.
_CAMERA = "http://ns.google.com/photos/1.0/camera/"
CLAIMS: Claims = (
    ("http://ns.adobe.com/hdr-gain-map/1.0/", "", GAIN_MAP),
    ("http://ns.apple.com/HDRGainMap/1.0/", "", GAIN_MAP),
    (_CAMERA, "MotionPhoto", LOST_VIDEO),
    (_CAMERA, "MicroVideo", LOST_VIDEO),
    # This lists the data that follow the picture. The claims above say what they are.
    ("http://ns.google.com/photos/1.0/container/", "", None),
    ("http://ns.google.com/photos/dd/1.0/device/", "", DEPTH_MAP),
)
# Settings for developing a raw file: programs would apply them again to its result.
SETTINGS: Claims = (
    ("http://ns.adobe.com/camera-raw-settings/1.0/", "", "settings of the raw converter"),
)
# The claim that the packet has an extension, which is identified by its digest, and claims about
# the pictures that phones put there.
EXTENSION: Claims = (
    ("http://ns.adobe.com/xmp/note/", "HasExtendedXMP", None),
    ("http://ns.google.com/photos/1.0/depthmap/", "", None),
    ("http://ns.google.com/photos/1.0/image/", "", None),
)
_EXTENSION_ID = re.compile(rb"""\bHasExtendedXMP\s*(?:=\s*["']|>)\s*([0-9A-Fa-f]{32})""")
_ONLY_EXTENSION = (
    b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf='
    b'"http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
    b'xmlns:xmpNote="http://ns.adobe.com/xmp/note/" xmpNote:HasExtendedXMP="%s"/>'
    b"</rdf:RDF></x:xmpmeta><?xpacket end='w'?>"
)
_WRAPPER = re.compile(rb"<\?xpacket[^<]*?\?>\s*")
_TAG = re.compile(rb"<([^\s/>]+)")
_END_TAG = re.compile(rb"</([^\s>]+)\s*>")
_ATTRIBUTE = re.compile(rb"""\s+(?:([^\s:=/>]+):)?([^\s:=/>]+)\s*=\s*(?:"[^"]*"|'[^']*')""")


def extension_id(xmp: bytes) -> bytes:
    """Return the digest with which a packet refers to its extension, or b""."""
    found = _EXTENSION_ID.search(xmp)
    return found[1].upper() if found else b""


def extend(xmp: bytes) -> tuple[bytes, bytes]:
    """Make a packet an extension; return a short packet that refers to it, and the extension."""
    extension = _WRAPPER.sub(b"", xmp).strip(b"\0 \t\r\n")
    digest = hashlib.md5(extension, usedforsecurity=False).hexdigest().upper()
    return _ONLY_EXTENSION % digest.encode(), extension


def join_extension(xmp: bytes, extension: bytes) -> tuple[bytes, bytes]:
    """Undo `extend`; packets that other programs have split do not change."""
    only = xmp == _ONLY_EXTENSION % extension_id(xmp)
    return (extension, b"") if only and extension else (xmp, extension)


def without(xmp: bytes, claims: Claims) -> tuple[bytes, tuple[str, ...]]:
    """Remove claims; return the packet without them, and what they claimed.

    A damaged packet that contains claims is dropped completely.
    """
    if not any(namespace.encode() in xmp for namespace, _, _ in claims):
        return xmp, ()
    try:
        cuts, found = _find(xmp.rstrip(b"\0"), claims)
    # LookupError: the packet names an encoding that does not exist.
    except (expat.ExpatError, LookupError, ValueError):
        return b"", ("XMP, which is damaged",)
    kept, at = [], 0
    for start, end in sorted(cuts):
        kept.append(xmp[at:start])
        at = end
    return b"".join([*kept, xmp[at:]]), tuple(what for what in found if what)


def _find(xmp: bytes, claims: Claims) -> tuple[list[tuple[int, int]], list[str | None]]:
    """Return the positions of the properties that are claims, and what they claim."""
    cuts: list[tuple[int, int]] = []
    found: list[str | None] = []
    prefixes: dict[bytes, str] = {}
    depth, cut_at, cut_depth, cut_tag = 0, 0, 0, b""

    def claim(namespace: str, name: str) -> bool:
        for space, start, what in claims:
            if namespace == space and name.startswith(start):
                found.append(what)
                return True
        return False

    def declare(prefix: str | None, namespace: str) -> None:
        prefixes[(prefix or "").encode()] = namespace

    def begin(full: str, attributes: dict[str, str]) -> None:
        nonlocal depth, cut_at, cut_depth, cut_tag
        depth += 1
        if cut_depth:
            return
        tag = _TAG.match(xmp, parser.CurrentByteIndex)
        if not tag:
            raise ValueError("the packet is not in UTF-8")
        namespace, _, name = full.rpartition(" ")
        if claim(namespace, name):
            cut_at, cut_depth, cut_tag = tag.start(), depth, tag[1]
            return
        at = tag.end()
        while attribute := _ATTRIBUTE.match(xmp, at):
            at = attribute.end()
            # Attributes without a prefix are in no namespace.
            if attribute[1] and claim(prefixes.get(attribute[1], ""), attribute[2].decode()):
                cuts.append(attribute.span())

    def end(_: str) -> None:
        nonlocal depth, cut_depth
        if cut_depth == depth:
            # Elements without content, <a/>, have no end tag: the parser is already behind them.
            at = parser.CurrentByteIndex
            tag = _END_TAG.match(xmp, at)
            cuts.append((cut_at, tag.end() if tag and tag[1] == cut_tag else at))
            cut_depth = 0
        depth -= 1

    def refuse(*_: object) -> None:
        raise ValueError("entities have no place in XMP")

    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartNamespaceDeclHandler = declare
    parser.StartElementHandler = begin
    parser.EndElementHandler = end
    parser.EntityDeclHandler = refuse
    parser.Parse(xmp, True)
    return cuts, found
