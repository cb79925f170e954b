"""``ssbsn train``: learn from noisy photos."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ssbsn_cli.cli.options import DEVICE
from ssbsn_cli.cli.output import Output
from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.types import CompileKind, count_of

if TYPE_CHECKING:
    from ssbsn_cli.core.training.log import StepDone
    from ssbsn_cli.core.training.request import TrainingRequest
    from ssbsn_cli.core.training.run import Prepared
    from ssbsn_cli.core.training.run_files import RunFiles

_length = partial(typer.Option, rich_help_panel="How long to train")
_changes = partial(typer.Option, rich_help_panel="Changes to the configuration")
_objectives = partial(typer.Option, rich_help_panel="Other objectives")


def train(
    out: Output,
    *,
    data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DIR[=SHARE]",
            help="Noisy photos: a folder, SIDD Medium, NIND, DND, or AP-BSN's prep. Repeat it for "
            "several; SHARE says how often each is drawn.",
        ),
    ] = None,
    out_dir: Annotated[
        Path | None,
        typer.Option("--out", metavar="RUN", help="The run's folder; by default runs/CONFIG."),
    ] = None,
    config: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE",
            help="ssbsn-sidd, apbsn-sidd, ssbsn-photo, small, adapt, adapt-own, photo, or a TOML "
            "file. By default ssbsn-sidd on a GPU and small without one.",
        ),
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(metavar="NAME|PATH", help="Weights to start from instead of random ones."),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Continue from the run's last checkpoint, if it has one."),
    ] = False,
    val_data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Pairs of noisy and clean photos to score on."),
    ] = None,
    steps: Annotated[int | None, _length(help="Number of steps.")] = None,
    epochs: Annotated[
        float | None,
        _length(help="Number of epochs; each draws one crop per 384x384 pixels of data."),
    ] = None,
    max_minutes: Annotated[float | None, _length(help="Minutes to train for.")] = None,
    batch_size: Annotated[int | None, _changes(help="Crops per step.")] = None,
    crop: Annotated[int | None, _changes(help="Side of the crops, a multiple of pd_a.")] = None,
    lr: Annotated[float | None, _changes(help="Highest learning rate.")] = None,
    device: Annotated[str | None, DEVICE] = None,
    precision: Annotated[
        Literal["auto", "fp32", "bf16"] | None, _changes(help="Precision of the forward pass.")
    ] = None,
    compile: Annotated[
        CompileKind | None,
        _changes(
            help="Compile the network for the processor. auto: a blind-spot network in bf16, in a "
            "single process, if there are minutes of work."
        ),
    ] = None,
    seed: Annotated[
        int | None, _changes(help="Seed of the initial weights, crops and noise.")
    ] = None,
    changes: Annotated[
        list[str] | None,
        _changes("--set", metavar="KEY=VALUE", help="Set any key, such as optimizer.ema=0.999."),
    ] = None,
    distill_from: Annotated[
        str | None,
        _objectives(
            metavar="NAME|PATH", help="Learn to reproduce what these weights make of noisy photos."
        ),
    ] = None,
    pairs: Annotated[
        list[str] | None,
        _objectives(
            metavar="DIR[=SHARE]",
            help="Clean photos, which get synthetic noise; with pairs.real=true, pairs of photos. "
            "Repeat it for several.",
        ),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder for decoded photos. By default, ssbsn's cache."),
    ] = None,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Also log for TensorBoard, to RUN/tensorboard.")
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN", help="Write a page about this run to RUN/report.html; do not train."
        ),
    ] = None,
) -> None:
    """Train on your own noisy photos; no clean ones are needed."""
    out.leave_to_leader()
    options = {
        "training.steps": steps,
        "training.epochs": epochs,
        "training.max_minutes": max_minutes,
        "training.batch_size": batch_size,
        "training.crop": crop,
        "training.device": device,
        "training.precision": precision,
        "training.compile": compile,
        "training.seed": seed,
        "optimizer.learning_rate": lr,
        "distill.teacher": distill_from,
    }
    if report:
        others = (data, out_dir, config, init, val_data, changes, pairs, cache, *options.values())
        if resume or tensorboard or any(value is not None for value in others):
            raise OptionError("--report takes no other options.", "Drop them, or --report.")
        _report(out, report)
        return

    # Imported here, since PyTorch takes seconds.
    from ssbsn_cli.core.training.request import TrainingOptions, make_request

    asked = TrainingOptions(
        data=data or (),
        pairs=pairs or (),
        validation=val_data,
        run=out_dir,
        config=config,
        changes=changes or (),
        options=options,
        init=init,
        resume=resume,
        cache=cache,
        tensorboard=tensorboard,
    )
    _train(out, make_request(asked, out.say))


def _report(out: Output, run: Path) -> None:
    from ssbsn_cli.core.report.training import write_report

    page = write_report(run)
    out.record({"report": str(page)})
    out.show(str(page))


def _train(out: Output, request: TrainingRequest) -> None:
    from ssbsn_cli.core.training.request import usual_cache
    from ssbsn_cli.core.training.rounds import train_rounds
    from ssbsn_cli.core.training.run_files import RunFiles

    try:
        prepared = train_rounds(request, partial(_train_round, out), out.say, out.warn)
    except (KeyboardInterrupt, SystemExit):
        if RunFiles(request.run).resumable:
            again = ["ssbsn", "train", "--out", str(request.run), "--resume"]
            if request.cache != usual_cache():
                again += ["--cache", str(request.cache)]
            out.say(f"Continue from the last checkpoint with: {shlex.join(again)}")
        raise
    _conclude(out, prepared, RunFiles(request.run))


def _train_round(out: Output, _number: int, request: TrainingRequest) -> Prepared:
    from ssbsn_cli.core.training.run import prepare_training

    def listen(record: Mapping[str, Any]) -> None:
        if record["event"] == "validation":
            out.record(record)
            out.say(_score(record))

    with closing(prepare_training(request, out.say, out.warn, listen)) as prepared:
        _introduce(out, prepared.summary)
        with out.progress(counted=prepared.summary["steps"] is not None) as progress:
            bar = progress.add_task("starting", total=None)

            def show(done: StepDone) -> None:
                steps = prepared.summary["steps"]
                progress.update(
                    bar,
                    completed=done.step if steps else done.progress,
                    total=steps or 1,
                    description=f"step {done.step}  loss {done.loss:.4f}  "
                    f"lr {done.learning_rate:.1e}  {done.images_per_second:.1f} images/s",
                )

            prepared.trainer.train(show)
    return prepared


def _introduce(out: Output, summary: Mapping[str, Any]) -> None:
    out.record({"event": "start", **summary})
    length = (
        count_of(summary["steps"], "step")
        if summary["steps"]
        else count_of(summary["max_minutes"], "minute")
    )
    out.say(
        f"Training {summary['architecture']}, {summary['parameters'] / 1e6:.2f} M parameters, for "
        f"{length} on {summary['device']} in {summary['precision']}"
        + (f", {summary['processes']} processes." if summary["processes"] > 1 else ".")
    )


def _score(record: Mapping[str, Any]) -> str:
    if "psnr" in record:
        score = (
            f"PSNR {record['psnr']:.2f} dB (noisy {record['psnr_noisy']:.2f}), "
            f"SSIM {record['ssim']:.3f}"
        )
    else:
        score = f"validation loss {record['loss']:.5f}"
        if "blotches" in record:
            score += (
                f", colour blotches {record['blotches']:.2f} times those of the original weights"
            )
    best = ", the best so far" if record["best"] else ""
    return f"Step {record['step']}, {record['seconds'] / 60:.1f} min: {score}{best}."


def _conclude(out: Output, prepared: Prepared, files: RunFiles) -> None:
    if prepared.recorder is None:
        return
    out.record(
        {
            "event": "done",
            "weights": str(files.weights),
            "steps": prepared.recorder.saved_step,
            "best_step": prepared.recorder.best_step,
        }
    )
    best = prepared.recorder.best_step
    found = f"The weights of step {best} are the best" if best else "The earlier weights stay best"
    out.say(
        f"{found}: {files.weights}. Use them with: ssbsn denoise PHOTO --weights "
        f"{shlex.quote(str(files.folder))}"
    )
