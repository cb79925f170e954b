"""An evaluation, from request to result."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.evaluation.baselines import BASELINES, open_baseline
from ssbsn_cli.core.evaluation.baselines.classical import Classical
from ssbsn_cli.core.evaluation.datasets.catalogue import open_dataset
from ssbsn_cli.core.evaluation.datasets.samples import Dataset
from ssbsn_cli.core.evaluation.evaluation_request import (
    ALL_BASELINES,
    NO_WEIGHTS,
    EvaluationRequest,
)
from ssbsn_cli.core.evaluation.methods import NOISY, Learned, Method, Noisy, name_rows
from ssbsn_cli.core.evaluation.metrics import choose_metrics
from ssbsn_cli.core.evaluation.outputs import PictureBook, save_picture, to_csv, write_file
from ssbsn_cli.core.evaluation.scoring import Result, ResultCache, evaluate
from ssbsn_cli.core.evaluation.submissions import check_submission, write_submission
from ssbsn_cli.core.evaluation.summary import Tally, summarise, table_rows
from ssbsn_cli.core.inference.load import load_denoiser
from ssbsn_cli.core.report.evaluation import make_report
from ssbsn_cli.core.runtime.storage import cache_dir
from ssbsn_cli.core.types import Notify, Progress
from ssbsn_cli.core.weights.registry import default_name


class Evaluation:
    """An evaluation that is ready to run, with everything it needs at hand.

    Parameters
    ----------
    request : EvaluationRequest
        What is asked for.
    warn : callable
        Told, in a sentence, what a user should know.

    Raises
    ------
    SsbsnError
        The data set, weights or a baseline are missing, or the request makes no sense.
    """

    def __init__(self, request: EvaluationRequest, warn: Notify) -> None:
        self.request = request
        self.dataset: Dataset = open_dataset(
            request.dataset, request.data, request.limit, request.added
        )
        self.metrics = choose_metrics(request.metrics, self.dataset.referenced)
        baselines = _open_baselines(request.baselines, warn)
        weights = list(request.weights) or [default_name()]
        if weights == [NO_WEIGHTS]:
            weights = []
        names = name_rows(weights, (NOISY, *BASELINES, "clean"))
        if request.submission:
            scored = [*names, *(baseline.name for baseline in baselines)]
            check_submission(request.submission, self.dataset.name, request.limit, scored)
        self.methods: list[Method] = [Noisy()]
        for weight, name in zip(weights, names, strict=True):
            denoiser = load_denoiser(weight, notify=warn, **vars(request.settings))
            self.methods.append(Learned(denoiser, name))
        self.methods += baselines
        folder = (request.cache or cache_dir() / "eval") if request.use_cache else None
        self._cache = ResultCache(folder, warn)

    def run(self, progress: Progress) -> dict[str, Any]:
        """Denoise and score everything, and write the files that were asked for.

        Parameters
        ----------
        progress : callable
            Called with the number of results so far and their total.

        Returns
        -------
        dict
            The findings; see `summarise`.

        Raises
        ------
        SsbsnError
            A sample cannot be read, or a file cannot be written.
        """
        request = self.request
        tally = Tally()
        book = PictureBook(len(self.dataset) if request.report else 0)
        whole = bool(request.pictures or request.submission)
        results = evaluate(
            self.dataset,
            self.methods,
            self.metrics,
            self._cache,
            lambda name: book.wants(name) or whole,
        )
        observed = self._observe(results, tally, book, progress)
        if request.submission:
            (method,) = (method.name for method in self.methods if method.name != NOISY)
            write_submission(
                request.submission, self.dataset.name, observed, method, request.overwrite
            )
        else:
            for _ in observed:
                pass
        found = summarise(tally, self.dataset, request.protocol, self.methods, self.metrics)
        if request.csv:
            write_file(request.csv, to_csv(table_rows(found)), request.overwrite)
        if request.report:
            page = make_report(found, book.pictures())
            write_file(request.report, page, request.overwrite)
        return found

    def _observe(
        self, results: Iterator[Result], tally: Tally, book: PictureBook, progress: Progress
    ) -> Iterator[Result]:
        total = len(self.dataset) * len(self.methods)
        progress(0, total)
        for done, result in enumerate(results, 1):
            tally.add(result)
            book.add(result)
            if self.request.pictures and result.method != NOISY:
                save_picture(self.request.pictures, result, self.request.overwrite)
            yield result
            progress(done, total)


def _open_baselines(names: Sequence[str], warn: Notify) -> list[Classical]:
    if ALL_BASELINES not in names:
        return [open_baseline(name) for name in dict.fromkeys(names) if name != NOISY]
    opened = []
    for name in BASELINES:
        try:
            opened.append(open_baseline(name))
        except OptionError as error:
            warn(f"{name} is left out. {error} {error.hint}")
    return opened
