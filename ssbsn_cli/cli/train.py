"""``ssbsn train``: learn from noisy photographs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ssbsn_cli.cli.failures import handled
from ssbsn_cli.cli.options import CompileOption, DeviceOption, JsonOption, QuietOption
from ssbsn_cli.cli.output import Output, is_leader
from ssbsn_cli.core.errors import OptionError

if TYPE_CHECKING:
    from ssbsn_cli.core.training.log import StepDone
    from ssbsn_cli.core.training.request import TrainingRequest
    from ssbsn_cli.core.training.run import Prepared

EXAMPLES = """
[bold]Examples[/bold]

    ssbsn train --data ~/SIDD_Medium
    ssbsn train --data my_photos/ --config small --max-minutes 60
    ssbsn train --data my_photos/ --config adapt --init ssbsn-photo --out mine
    ssbsn train --out mine --resume
    ssbsn train --report mine
    ssbsn denoise photo.png --weights mine

Exit codes: 0 all done, 1 not finished, 2 wrong use, 3 no device or weights, 130 interrupted.
"""

LENGTH = "How long to train"
SETTINGS = "Changes of the configuration"
OTHER = "Other objectives"


@handled
def train(
    data: Annotated[
        list[str] | None,
        typer.Option(
            "--data",
            metavar="DIR[=WEIGHT]",
            help="Noisy photos: a folder, or SIDD Medium, NIND, DND, AP-BSN's prep. May be given "
            "several times, with how often each is drawn.",
        ),
    ] = None,
    out_dir: Annotated[
        Path | None,
        typer.Option("--out", metavar="RUN", help="The run's directory; by default runs/CONFIG."),
    ] = None,
    config: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE",
            help="ssbsn-sidd, apbsn-sidd, small, adapt, photo, or a TOML file. By default "
            "ssbsn-sidd on a GPU and small without one.",
        ),
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(metavar="NAME|PATH", help="Weights to start from instead of random ones."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the run's last checkpoint, if it has one.")
    ] = False,
    val_data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Pairs of noisy and clean photos to score on."),
    ] = None,
    steps: Annotated[int | None, typer.Option(rich_help_panel=LENGTH, help="Steps.")] = None,
    epochs: Annotated[
        float | None,
        typer.Option(rich_help_panel=LENGTH, help="Epochs: a crop per 384x384 pixels of data."),
    ] = None,
    max_minutes: Annotated[
        float | None, typer.Option(rich_help_panel=LENGTH, help="Minutes.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(rich_help_panel=SETTINGS, help="Crops a step.")
    ] = None,
    crop: Annotated[
        int | None,
        typer.Option(rich_help_panel=SETTINGS, help="Side of the crops, a multiple of pd_a."),
    ] = None,
    lr: Annotated[
        float | None, typer.Option(rich_help_panel=SETTINGS, help="Highest learning rate.")
    ] = None,
    device: DeviceOption = "auto",
    precision: Annotated[
        Literal["auto", "fp32", "bf16"] | None,
        typer.Option(rich_help_panel=SETTINGS, help="Precision of the forward pass."),
    ] = None,
    compile: CompileOption = "auto",
    seed: Annotated[
        int | None,
        typer.Option(rich_help_panel=SETTINGS, help="Of initial weights, crops and noise."),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            rich_help_panel=SETTINGS,
            help="Any other key, such as optimizer.ema=0.999.",
        ),
    ] = None,
    distill_from: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|PATH",
            rich_help_panel=OTHER,
            help="Weights whose results on the noisy photos are to be reproduced.",
        ),
    ] = None,
    pairs: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DIR[=WEIGHT]",
            rich_help_panel=OTHER,
            help="Clean photos, which get synthetic noise, or, with pairs.real=true, pairs. May be "
            "given several times.",
        ),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where decoded photos are kept; by default in the cache."),
    ] = None,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Also log for TensorBoard, into RUN/tensorboard.")
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN", help="Only draw the curves and pictures of a run into RUN/report.html."
        ),
    ] = None,
    json_lines: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train on noisy photos: any photos of yours, without clean ones."""
    from ssbsn_cli.core.training.request import TrainingOptions, make_request

    out = Output(json_lines=json_lines and is_leader(), quiet=quiet or not is_leader())
    if report:
        _write_report(out, report)
        return
    options = {
        "training.steps": steps,
        "training.epochs": epochs,
        "training.max_minutes": max_minutes,
        "training.batch_size": batch_size,
        "training.crop": crop,
        "training.device": None if device == "auto" else device,
        "training.precision": precision,
        "training.compile": None if compile == "auto" else compile,
        "training.seed": seed,
        "optimizer.learning_rate": lr,
        "distill.teacher": distill_from,
    }
    if sum(value is not None for value in (steps, epochs, max_minutes)) > 1:
        raise OptionError(
            "--steps, --epochs and --max-minutes contradict each other.", "Use one of them."
        )
    asked = TrainingOptions(
        data=data or [],
        pairs=pairs or [],
        validation=val_data,
        run=out_dir,
        config=config,
        changes=changes or [],
        options=options,
        init=init,
        resume=resume,
        cache=cache,
        tensorboard=tensorboard,
    )
    _train(out, make_request(asked))


train.__doc__ = f"{train.__doc__}\n{EXAMPLES}"


def _write_report(out: Output, run: Path) -> None:
    from ssbsn_cli.core.report.training import write_report

    page = write_report(run)
    out.record({"report": str(page)})
    out.show(str(page))


def _train(out: Output, request: TrainingRequest) -> None:
    # Only now, since PyTorch takes seconds to import.
    from ssbsn_cli.core.training.run import prepare_training

    def listen(record: Mapping[str, Any]) -> None:
        if record["event"] == "validation":
            out.record(record)
            out.say(_score(record))

    prepared = prepare_training(request, out.say, out.warn, listen)
    try:
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
    except KeyboardInterrupt:
        run = prepared.summary["run"]
        out.say(f"All is saved in {run}: go on with ssbsn train --out {run} --resume")
        raise
    finally:
        prepared.close()
    _conclude(out, prepared)


def _introduce(out: Output, summary: Mapping[str, Any]) -> None:
    out.record({"event": "start", **summary})
    length = (
        f"{summary['steps']} steps" if summary["steps"] else f"{summary['max_minutes']:g} minutes"
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
    best = ", the best so far" if record["best"] else ""
    return f"Step {record['step']}, {record['seconds'] / 60:.1f} min: {score}{best}."


def _conclude(out: Output, prepared: Prepared) -> None:
    if prepared.recorder is None:
        return
    files = prepared.recorder.files
    out.record(
        {
            "event": "done",
            "weights": str(files.weights),
            "steps": prepared.recorder.saved_step,
            "best_step": prepared.recorder.best_step,
        }
    )
    out.say(
        f"The best weights are those of step {prepared.recorder.best_step}: {files.weights}. Use "
        f"them with: ssbsn denoise PHOTO --weights {files.directory}"
    )
