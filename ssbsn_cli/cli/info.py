"""``ssbsn info``: facts about the machine for bug reports, and the noise of photos."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from ssbsn_cli.cli.failures import FAILED, explain_photo
from ssbsn_cli.cli.options import MaxPixelsOption
from ssbsn_cli.cli.output import Output
from ssbsn_cli.core.errors import DeviceError, OptionError

_ROWS = 6


def info(
    out: Output,
    *,
    photos: Annotated[
        list[str] | None,
        typer.Argument(metavar="PHOTO", help="Photos to describe."),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write an HTML page with plots and pictures."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing file.")
    ] = False,
    max_pixels: MaxPixelsOption = None,
) -> None:
    """Describe photos and their noise; without photos, show the facts that a bug report needs."""
    if overwrite and not report:
        raise OptionError("--overwrite needs --report.", "Name the page, or drop it.")
    if photos:
        _inspect(out, photos, report, overwrite, max_pixels)
        return
    if report or max_pixels:
        raise OptionError("--report and --max-pixels need a photo.", "Name a photo, or drop them.")
    from ssbsn_cli.core.inference.system import describe_system

    facts = describe_system()
    out.record(facts)
    # People paste this, so it is no table, which would fold long paths.
    _show_lines(out, facts)


def _show_lines(out: Output, facts: Mapping[str, Any]) -> None:
    width = max(map(len, facts)) + 2
    for key, value in facts.items():
        heading = key.replace("_", " ")
        for line in value if isinstance(value, list) else [value]:
            out.show(f"{heading:<{width}}{line}")
            heading = ""


def _inspect(
    out: Output,
    photos: Sequence[str],
    report: Path | None,
    overwrite: bool,
    max_pixels: int | None,
) -> None:
    # Imported here, since PyTorch takes seconds.
    from ssbsn_cli.core.imaging.photo import Pixels
    from ssbsn_cli.core.inference.denoiser import load_denoiser
    from ssbsn_cli.core.inference.inspecting import Inspection, inspect_photo
    from ssbsn_cli.core.inference.placing import refuse_report
    from ssbsn_cli.core.report.photos import make_noise_report
    from ssbsn_cli.core.runtime.storage import write_output

    if report:
        refuse_report(report, overwrite, photos)
    denoiser = load_denoiser(notify=out.warn)

    def denoise(pixels: Pixels) -> Pixels:
        return denoiser.denoise_batch([pixels])[0]

    drawn: list[Inspection] = []
    shown = 0
    for name in photos:
        try:
            inspected = inspect_photo(Path(name), denoise, max_pixels)
        except DeviceError:
            raise
        except Exception as error:
            out.error(explain_photo(error, name), input=name)
            continue
        out.record(inspected.facts)
        if shown:
            out.show("")
        _show_lines(out, dict(_lines(inspected.facts)))
        shown += 1
        # Pictures of thousands of photos would fill the memory.
        if report:
            drawn.append(inspected)
    if report and drawn:
        write_output(report, make_noise_report(drawn), overwrite)
        out.say(f"Written: {report}")
    if failed := len(photos) - shown:
        out.say(f"{failed} failed.")
        raise typer.Exit(FAILED)


def _lines(facts: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the output for a photo: headings, each with one or several lines."""
    yield "photo", facts["input"]
    size = f"{facts['width']} x {facts['height']} pixels"
    yield "file", f"{facts['format']}, {size}, {facts['bits']} bits, {facts['colors']}"
    yield "measured on", f"{facts['measured_pixels']:,} pixels"
    clipped = facts["clipped"]
    yield "clipped", f"{clipped['black']:.1%} black, {clipped['white']:.1%} white, in a channel"
    yield "noise", facts["finding"]
    noise = facts["noise"]
    if not noise or not noise["found"]:
        return
    for channel, points in noise["deviations"].items():
        # As many points as fit into a line, evenly spread.
        few = points[:: -(-len(points) // _ROWS)]
        shown = "  ".join(f"{deviation:.1f} at {level:.0f}" for level, deviation in few)
        yield channel, shown
    for direction, values in noise["neighbours"].items():
        yield direction, "  ".join(f"{value:z.2f} at {n}" for n, value in enumerate(values, 1))
    if noise["channels"]:
        pairs = noise["channels"].items()
        yield "channels", "  ".join(f"{pair} {value:z.2f}" for pair, value in pairs)
