"""Report and count photos while they are denoised."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from ssbsn_cli.cli.failures import explain, explain_photo
from ssbsn_cli.cli.output import Output
from ssbsn_cli.core.errors import DeviceError, ImageError, OptionError
from ssbsn_cli.core.inference.settings import FileOptions

if TYPE_CHECKING:
    from ssbsn_cli.core.inference.jobs import Job, Plan
    from ssbsn_cli.core.inference.opening import Outcome
    from ssbsn_cli.core.types import Progress

    # Denoises jobs; calls back when each begins, and for its tiles.
    Denoise = Callable[
        [Iterable[Job | None], Callable[[Job], None], Progress], Generator[tuple[Job, Outcome]]
    ]


def find_todo(
    out: Output, plan: Plan, files: FileOptions, counts: Counter[str]
) -> Iterator[Job | None]:
    """Yield the photos to denoise, and None as `Plan` does; report and count the others."""
    from ssbsn_cli.core.inference.finding import PassedOver

    for each in plan:
        if each is None:
            yield None
        elif isinstance(each, PassedOver):
            out.say(f"Passed over {each.path}: {each.reason}.")
        elif isinstance(each, OSError):
            counts["failed"] += 1
            out.error(explain(each)[1], input=str(each.filename))
        else:
            counts["photos"] += 1
            if files.skip_existing and each.is_done:
                counts["skipped"] += 1
                _show(out, each, each.skipped)
            else:
                yield each


def find_possible(
    out: Output, jobs: Iterable[Job], files: FileOptions, counts: Counter[str]
) -> Iterator[Job]:
    """Yield the photos whose results can be written; report and count the others."""
    from ssbsn_cli.core.inference.opening import refuse_places

    for job in jobs:
        try:
            if job.is_in_place or not (files.skip_existing and job.target and job.target.exists()):
                refuse_places(job, files)
        except (ImageError, OSError) as error:
            counts.update(("failed", "unwritable"))
            out.error(explain_photo(error, _name(job)), input=job.names["input"])
        else:
            yield job


def denoise_all(
    out: Output, denoise: Denoise, jobs: Iterable[Job | None], plan: Plan, counts: Counter[str]
) -> None:
    """Denoise one photo after the other; report and count them."""
    left_out: Counter[str] = Counter()
    with out.progress() as progress, contextlib.ExitStack() as stack:
        photos = progress.add_task("photos", total=None)
        tiles = progress.add_task("", total=None, visible=False)

        def begin(job: Job) -> None:
            progress.reset(tiles, description=_name(job), total=None, visible=True)

        def count(done: int, total: int) -> None:
            progress.update(tiles, completed=done, total=total)

        def advance(by: int) -> None:
            total, what = plan.total, "photos"
            if total is None:
                what = "photos, still finding more"
            else:
                total -= counts["skipped"] + counts["unwritable"]
            progress.update(photos, description=what, total=total, visible=total != 1, advance=by)

        advance(0)
        outcomes = stack.enter_context(contextlib.closing(denoise(jobs, begin, count)))
        for job, outcome in outcomes:
            if isinstance(outcome, DeviceError | OptionError | BrokenPipeError):
                raise outcome
            if isinstance(outcome, Exception):
                counts["failed"] += 1
                out.error(explain_photo(outcome, _name(job)), input=job.names["input"])
            else:
                _show(out, job, outcome)
                left_out.update(outcome.get("left_out", ()))
            advance(1)
    if left_out:
        what = (
            f"{name} (of {number})" if counts["photos"] > 1 else name
            for name, number in left_out.items()
        )
        out.say(f"The results do not keep: {', '.join(what)}.")


def _name(job: Job) -> str:
    return str(job.source or "standard input")


def _show(out: Output, job: Job, result: dict[str, Any]) -> None:
    """Report the outcome of a photo."""
    out.record(result)
    if "skipped" in result:
        drawn = f"and {job.comparison} was drawn from it" if "comparison" in result else "skipped"
        out.say(f"{job.target} exists, {drawn}")
    else:
        megapixels = result["width"] * result["height"] / 1e6
        enlarged = f", enlarged {factor:g} times" if (factor := result["enlarged"]) else ""
        out.say(
            f"{_name(job)} -> {job.target or 'standard output'}  ({megapixels:.2g} Mpx{enlarged}, "
            f"in {result['seconds']:.1f} s on {result['device']})"
        )
