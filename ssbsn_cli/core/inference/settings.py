"""The user's settings for inference and its files; imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, get_args

from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.types import (
    AttentionKind,
    AutoKind,
    CompileKind,
    PrecisionKind,
    RawSpace,
    RefineKind,
    count_of,
)

# Stands for standard input or output among files.
STREAM = "-"
MIN_TILE = 32
# All GPUs of a machine: a cluster with one worker for each; see ``cluster.py``.
ALL_GPUS = "cuda:all"
# The refinements that have a number of passes.
MASKED: tuple[RefineKind, ...] = ("r3", "stratified")
# What is done to the network's input and result, each "auto" or "off".
STEPS = "detail", "own_size", "multiscale", "wiener", "white_noise", "impulses", "banding"
# For training, whose caches and resumed runs must not change when steps are added or improved.
UNCHANGING: dict[str, Any] = {step: "off" for step in STEPS if step != "detail"}
_MAY_BE_NONE = ("tile", "overlap", "refine_passes")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to run a network over photos.

    Parameters
    ----------
    device : str
        "auto", "cpu", "cuda", "cuda:N" or "mps". A device that is named must exist. A cluster also
        takes `ALL_GPUS`.
    precision : {"auto", "fp32", "bf16", "fp16"}
        Precision of the network's weights and features. "auto" is the fastest one on the device
        that costs no visible quality.
    attention : {"linear", "exact"}
        Form of SS-Attention: the fast one, or the paper's. Other networks ignore it.
    compile : {"auto", "on", "off"}
        Whether to compile the network for the processor. "auto" does if an image takes minutes and
        compiling is known to be faster.
    refine : {"r3", "stratified", "once", "none"}, optional
        Refinement; by default the one that the weights recommend.
    detail : {"auto", "off"}
        Whether to give back what the network took for noise. "auto" gives back drawings, patterns
        that repeat exactly, and detail if the weights recommend it.
    own_size : {"auto", "off"}
        Whether to denoise enlarged photos at the size that they had before. "auto" does with photos
        that it recognises.
    multiscale : {"auto", "off"}
        Whether to denoise tiles at half and a quarter of their size, too. "auto" does, which takes
        1.4 times as long.
    wiener : {"auto", "off"}
        Whether to filter the photo again by Wiener's filter, with the result as its model. "auto"
        does.
    white_noise : {"auto", "off"}
        Whether to denoise tiles whose noise is white by other weights. "auto" does if the weights
        name such.
    impulses : {"auto", "off"}
        Whether to replace single wrong pixels, if there are many. "auto" does.
    banding : {"auto", "off"}
        Whether to remove offsets that whole rows or columns share. "auto" does if it finds such.
    refine_passes : int, optional
        Passes T of R3; by default the number that the weights state, or half of it if stratified.
    tile : int, optional
        Largest side of a tile in pixels; 0 runs the whole image at once. By default, the free
        memory of the device decides.
    overlap : int, optional
        Pixels that neighbouring tiles share; by default 32, or half of a smaller tile.
    ensemble : bool
        Average the results of the 8 flips and rotations, at 8 times the cost.
    strength : float
        Blend with the original: 0 is the original, 1 is the network's result.
    seed : int
        Seed of R3's masks, the same for each image.

    Raises
    ------
    OptionError
        If a value makes no sense.
    """

    device: str = "auto"
    precision: PrecisionKind = "auto"
    attention: AttentionKind = "linear"
    compile: CompileKind = "auto"
    refine: RefineKind | None = None
    detail: AutoKind = "auto"
    own_size: AutoKind = "auto"
    multiscale: AutoKind = "auto"
    wiener: AutoKind = "auto"
    white_noise: AutoKind = "auto"
    impulses: AutoKind = "auto"
    banding: AutoKind = "auto"
    refine_passes: int | None = None
    tile: int | None = None
    overlap: int | None = None
    ensemble: bool = False
    strength: float = 1.0
    seed: int = 0

    @property
    def steps(self) -> dict[str, bool]:
        """Whether each of `STEPS` is done."""
        return {step: getattr(self, step) == "auto" for step in STEPS}

    def __post_init__(self) -> None:
        for name, kind, what in (
            ("device", str, "a text"),
            ("tile", Integral, "a whole number"),
            ("overlap", Integral, "a whole number"),
            ("refine_passes", Integral, "a whole number"),
            ("seed", Integral, "a whole number"),
            ("strength", Real, "a number"),
            ("ensemble", bool, "True or False"),
        ):
            given = getattr(self, name)
            if not isinstance(given, kind) and (given is not None or name not in _MAY_BE_NONE):
                raise OptionError(f"The {name} {given!r} has the wrong type.", f"Give {what}.")
        for name, value, known in (
            ("precision", self.precision, get_args(PrecisionKind)),
            ("attention", self.attention, get_args(AttentionKind)),
            ("compile", self.compile, get_args(CompileKind)),
            ("refine", self.refine, (*get_args(RefineKind), None)),
            *((name, getattr(self, name), get_args(AutoKind)) for name in STEPS),
        ):
            if value not in known:
                names = ", ".join(str(word) for word in known if word)
                raise OptionError(f"Unknown {name} {value!r}.", f"Choose one of {names}.")
        if self.tile is not None and self.tile != 0 and self.tile < MIN_TILE:
            raise OptionError(
                f"A tile of {count_of(self.tile, 'pixel')} is too small.",
                f"Use {MIN_TILE} or more, 0 for the whole image, or leave it to auto.",
            )
        if self.overlap is not None and (
            self.overlap < 0 or (self.tile and self.overlap > self.tile // 2)
        ):
            raise OptionError(
                f"An overlap of {count_of(self.overlap, 'pixel')} does not fit the tiles.",
                "Use 0 up to half of the tile.",
            )
        if self.overlap and self.tile == 0:
            raise OptionError("A whole image has no overlap.", "Drop --overlap, or use a --tile.")
        if self.refine_passes is not None and self.refine_passes < 1:
            raise OptionError("R3 needs at least one pass.", "Use --refine none to leave it out.")
        if self.refine_passes is not None and (self.refine or "r3") not in MASKED:
            raise passes_without_r3(str(self.refine))
        if not 0 <= self.strength <= 1:
            raise OptionError(
                f"A strength of {self.strength:g} is out of range.", "Use a number from 0 to 1."
            )
        if not 0 <= self.seed < 2**63:
            raise OptionError(f"A seed of {self.seed} is out of range.", "Use 0 up to 2^63 - 1.")


def passes_without_r3(refine: str) -> OptionError:
    """Make the error for passes of R3 with another refinement."""
    return OptionError(
        f"Passes of R3 make no sense with the refinement {refine!r}.",
        "Add --refine r3, or leave out --refine-passes.",
    )


@dataclass(frozen=True, kw_only=True)
class FileOptions:
    """How photos are read and results are written.

    Parameters
    ----------
    format : str, optional
        Format of the result; by default that of its name, or of the photo.
    quality : int
        Of JPEG, WebP, HEIC, AVIF and JPEG XL, 1 to 100; 100 is lossless in the last two.
    overwrite : bool
        Whether files may be replaced, the photo itself included.
    skip_existing : bool
        Whether to skip photos whose result exists, or that another process is working on.
    strip_metadata : bool
        Whether to leave out all metadata but the colour space.
    keep_time : bool
        Whether results get the modification times of their photos.
    max_pixels : int, optional
        The most pixels that a photo may have; by default `MAX_PIXELS` of ``core/imaging``.
    raw_space : {"srgb", "p3", "adobe", "prophoto"}
        The colour space that camera raw files are developed to.
    """

    format: str | None = None
    quality: int = 95
    overwrite: bool = False
    skip_existing: bool = False
    strip_metadata: bool = False
    keep_time: bool = False
    max_pixels: int | None = None
    raw_space: RawSpace = "srgb"
