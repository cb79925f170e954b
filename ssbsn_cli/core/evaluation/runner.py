"""Run an evaluation, from request to result."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.evaluation.baselines import BASELINES, open_baseline
from ssbsn_cli.core.evaluation.datasets.catalogue import Submission, find_submission, open_dataset
from ssbsn_cli.core.evaluation.datasets.samples import Result
from ssbsn_cli.core.evaluation.evaluation_request import (
    ALL_BASELINES,
    NO_WEIGHTS,
    EvaluationRequest,
)
from ssbsn_cli.core.evaluation.methods import Classical, Learned, Method, Noisy, name_rows
from ssbsn_cli.core.evaluation.metrics import choose_metrics
from ssbsn_cli.core.evaluation.outputs import Findings, PictureBook, save_picture, to_csv
from ssbsn_cli.core.evaluation.scoring import ResultCache, evaluate
from ssbsn_cli.core.inference.denoiser import load_denoiser
from ssbsn_cli.core.report.evaluation import CLEAN, NOISY, make_report
from ssbsn_cli.core.runtime.storage import write_output
from ssbsn_cli.core.types import Notify, Progress
from ssbsn_cli.core.weights.registry import default_name


class Evaluation:
    """An evaluation that is ready to run.

    Parameters
    ----------
    request : EvaluationRequest
        What to do.
    warn : callable
        Called with sentences that a user should read.
    fetch : callable, optional
        Downloads the data set, which must have clean photos. It is called after everything else in
        the request was checked.

    Raises
    ------
    SsbsnError
        The data set, weights or a baseline are missing, or the request makes no sense.
    """

    def __init__(
        self, request: EvaluationRequest, warn: Notify, fetch: Callable[[], None] | None = None
    ) -> None:
        self._request = request
        if fetch:
            choose_metrics(request.metrics, referenced=True)
        baselines = _open_baselines(request.baselines, warn)
        weights = list(request.weights) or [default_name()]
        if weights == [NO_WEIGHTS]:
            weights = []
        names = name_rows(weights, (NOISY, *BASELINES, CLEAN))
        self._submission = _find_submission(request, len(names) + len(baselines))
        self._methods: list[Method] = [Noisy()]
        for weight, name in zip(weights, names, strict=True):
            denoiser = load_denoiser(weight, notify=warn, **vars(request.settings))
            self._methods.append(Learned(denoiser, name))
        self._methods += baselines
        if fetch:
            fetch()
        self.dataset = open_dataset(request.dataset, request.data, request.limit, request.added)
        self._metrics = choose_metrics(request.metrics, self.dataset.referenced)
        self._cache = ResultCache(request.cache, warn)

    def run(self, progress: Progress) -> dict[str, Any]:
        """Denoise and score everything, write the requested files, return `Findings.summary`.

        `progress` counts results.

        Raises
        ------
        SsbsnError
            A sample cannot be read, or a file cannot be written.
        """
        request = self._request
        findings = Findings(self.dataset, request.protocol, self._methods, self._metrics)
        book = PictureBook(len(self.dataset) if request.report else 0)
        results = self._results(findings, book, progress)
        if request.submission and self._submission:
            denoised = (result for result in results if result.method != NOISY)
            self._submission.write(request.submission, denoised, request.overwrite)
        else:
            for _ in results:
                pass
        found = findings.summary()
        if request.csv:
            write_output(request.csv, to_csv(found), request.overwrite)
        if request.report:
            write_output(request.report, make_report(found, book.pictures), request.overwrite)
        return found

    def _results(
        self, findings: Findings, book: PictureBook, progress: Progress
    ) -> Iterator[Result]:
        """Yield each result after every output except a submission has taken it."""
        request, total = self._request, len(self.dataset) * len(self._methods)
        all_pixels = bool(request.pictures or request.submission)

        def wants_pixels(name: str) -> bool:
            # The book must be asked about every sample, so this comes first.
            return book.wants(name) or all_pixels

        progress(0, total)
        results = evaluate(self.dataset, self._methods, self._metrics, self._cache, wants_pixels)
        for done, result in enumerate(results, 1):
            findings.add(result)
            book.add(result)
            if request.pictures and result.method != NOISY:
                save_picture(request.pictures, result, request.overwrite)
            yield result
            progress(done, total)


def _find_submission(request: EvaluationRequest, methods: int) -> Submission | None:
    """Return the requested submission, if any; refuse one that could not be written at the end."""
    if request.submission is None:
        return None
    submission = find_submission(request.dataset)
    if request.limit is not None:
        raise OptionError("A submission needs the whole data set.", "Drop --limit.")
    if methods != 1:
        raise OptionError(
            f"A submission holds the results of one method, not of {methods}.",
            "Give one --weights and no --baseline, or --weights none and one --baseline.",
        )
    submission.check(request.submission)
    return submission


def _open_baselines(names: Sequence[str], warn: Notify) -> list[Classical]:
    if ALL_BASELINES not in names:
        return [open_baseline(name) for name in dict.fromkeys(names)]
    opened = []
    for name in BASELINES:
        try:
            opened.append(open_baseline(name))
        except OptionError as error:
            warn(f"{name} is left out. {error} {error.hint}")
    return opened
