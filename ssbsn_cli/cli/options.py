"""Groups of options, each as one typed object."""

from __future__ import annotations

from functools import partial
from typing import Annotated, get_args

import typer

from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.inference.settings import FileOptions, Settings
from ssbsn_cli.core.runtime.parsing import whole_number
from ssbsn_cli.core.types import (
    AttentionKind,
    AutoKind,
    CompileKind,
    FormatKind,
    PrecisionKind,
    RawSpace,
    RefineKind,
)

DEVICE = typer.Option(
    help="auto, cpu, cuda, cuda:N or mps. If you name a device that is missing, the command fails."
)
network_option = partial(typer.Option, rich_help_panel="How networks are run")
_result = partial(typer.Option, rich_help_panel="Results and existing files")
MaxPixelsOption = Annotated[
    int | None,
    typer.Option(min=1, help="Refuse photos with more pixels than this; by default 512 million."),
]


def _make_settings(
    device: Annotated[str, DEVICE] = Settings.device,
    refine: Annotated[
        RefineKind | None,
        network_option(
            help="Blind-spot networks only. r3: 8 passes of the papers' refinement. stratified: 4 "
            "such passes with complementary masks. once: one pass. none: no refinement. By "
            "default what the weights recommend."
        ),
    ] = None,
    refine_passes: Annotated[
        int | None,
        network_option(
            metavar="T",
            help="Passes of r3 or stratified; by default the weights' own number, halved for "
            "stratified.",
        ),
    ] = None,
    detail: Annotated[
        AutoKind,
        network_option(
            help="auto: keep drawings, text and patterns, and with weights that recommend it, also "
            "give back detail that the network took for noise. off: leave the network's result as "
            "it is."
        ),
    ] = Settings.detail,
    own_size: Annotated[
        AutoKind,
        network_option(
            help="auto: denoise enlarged photos at the size that they had before. off: denoise "
            "them as they are, which --adapt always does."
        ),
    ] = Settings.own_size,
    multiscale: Annotated[
        AutoKind,
        network_option(
            help="auto: denoise at half and a quarter of the size, too, which removes more noise "
            "that reaches far. off: at full size only, in about 70 % of the time."
        ),
    ] = Settings.multiscale,
    wiener: Annotated[
        AutoKind,
        network_option(
            help="auto: filter the photo again by Wiener's filter, with the network's result as "
            "its model. off: leave this out."
        ),
    ] = Settings.wiener,
    white_noise: Annotated[
        AutoKind,
        network_option(
            help="auto: where the noise is white, use the weights for it, if the others name such. "
            "off: use the same weights everywhere."
        ),
    ] = Settings.white_noise,
    impulses: Annotated[
        AutoKind,
        network_option(
            help="auto: replace single wrong pixels, if there are many, and denoise what is left. "
            "off: leave them to the network."
        ),
    ] = Settings.impulses,
    banding: Annotated[
        AutoKind,
        network_option(
            help="auto: remove the offsets of whole rows or columns, if there are such. off: leave "
            "them to the network."
        ),
    ] = Settings.banding,
    strength: Annotated[
        float,
        typer.Option(help="Blend with the original: 0 leaves it unchanged, 1 denoises fully."),
    ] = Settings.strength,
    ensemble: Annotated[
        bool,
        network_option("--ensemble", help="Average 8 flips and rotations: takes 8 times as long."),
    ] = False,
    seed: Annotated[
        int,
        network_option(help="Seed of the masks of r3 and stratified, and of noise that is added."),
    ] = Settings.seed,
    tile: Annotated[
        str,
        network_option(
            metavar="auto|0|N",
            help="Side of a tile in pixels. 0: the whole image. auto: free memory decides.",
        ),
    ] = "auto",
    overlap: Annotated[
        int | None,
        network_option(
            metavar="N", help="Pixels that tiles share; by default 32, or half of a smaller tile."
        ),
    ] = None,
    precision: Annotated[
        PrecisionKind,
        network_option(
            help="Precision of the network's arithmetic. auto: fp16 on an NVIDIA GPU, bf16 on a "
            "CPU with bf16 units, fp32 elsewhere."
        ),
    ] = Settings.precision,
    attention: Annotated[
        AttentionKind,
        network_option(help="Form of SS-Attention: linear is fast, exact is the paper's."),
    ] = Settings.attention,
    compile: Annotated[
        CompileKind,
        network_option(
            help="Compile the network for the processor. auto: a blind-spot network in bf16 on a "
            "CPU, if there are minutes of work."
        ),
    ] = Settings.compile,
) -> Settings:
    return Settings(
        device=device,
        precision=precision,
        attention=attention,
        compile=compile,
        refine=refine,
        refine_passes=refine_passes,
        detail=detail,
        own_size=own_size,
        multiscale=multiscale,
        wiener=wiener,
        white_noise=white_noise,
        impulses=impulses,
        banding=banding,
        tile=_parse_tile(tile),
        overlap=overlap,
        ensemble=ensemble,
        strength=strength,
        seed=seed,
    )


SettingsOptions = Annotated[Settings, _make_settings]


def _parse_format(text: str) -> str:
    """Return the format with a name or an extension, such as jpg."""
    from ssbsn_cli.core.imaging.formats import CODECS

    word = text.lower().removeprefix(".")
    for codec in CODECS.values():
        if codec.encode and (word == codec.name or f".{word}" in codec.extensions):
            return codec.name
    raise typer.BadParameter(f"{text!r} is none of {', '.join(get_args(FormatKind))}.")


def _make_file_options(
    format: Annotated[
        FormatKind | None,
        _result(
            parser=_parse_format,
            metavar=f"[{'|'.join(get_args(FormatKind))}]",
            help="Format of the results; by default, their names decide.",
        ),
    ] = None,
    quality: Annotated[
        int,
        _result(min=1, max=100, help="Quality of JPEG, WebP, HEIC, AVIF and JPEG XL results."),
    ] = FileOptions.quality,
    strip_metadata: Annotated[
        bool,
        _result(
            "--strip-metadata",
            help="Leave out EXIF, GPS, XMP and the like; keep only the colour space.",
        ),
    ] = False,
    overwrite: Annotated[
        bool, _result("--overwrite", help="Replace existing files, even the photo itself.")
    ] = False,
    skip_existing: Annotated[
        bool,
        _result(
            "--skip-existing",
            help="Skip photos whose result exists, and share the others with commands that run at "
            "the same time.",
        ),
    ] = False,
    keep_time: Annotated[
        bool, _result("--keep-time", help="Give results the photos' modification time.")
    ] = False,
    max_pixels: MaxPixelsOption = None,
    raw_space: Annotated[
        RawSpace, _result(help="Colour space that camera raw files are developed to.")
    ] = FileOptions.raw_space,
) -> FileOptions:
    if overwrite and skip_existing:
        raise OptionError("--overwrite and --skip-existing contradict each other.", "Use one.")
    return FileOptions(
        format=format,
        quality=quality,
        overwrite=overwrite,
        skip_existing=skip_existing,
        strip_metadata=strip_metadata,
        keep_time=keep_time,
        max_pixels=max_pixels,
        raw_space=raw_space,
    )


FileOptionsGroup = Annotated[FileOptions, _make_file_options]


def _parse_tile(text: str) -> int | None:
    if text == "auto":
        return None
    tile = whole_number(text)
    if tile is None:
        raise OptionError(
            f"A tile of {text[:20]!r} makes no sense.", "Use auto, 0 or a number below 10^9."
        )
    return tile
