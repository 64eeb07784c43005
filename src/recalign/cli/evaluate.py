"""`recalign evaluate`: a model on prepared data, beside the priors."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from recalign.cli import client_options, in_context
from recalign.cli.full_ranking import rank_and_show
from recalign.cli.next_step import after_evaluate, tell_next
from recalign.terminal import say


def evaluate(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...",
            help="Directories of models or baselines, or prior:like-rate, prior:item-mean, prior:popularity, "
            "prior:like-rate+item-mean, prior:recent, prior:recent+item-mean, or reference:mf (fitted on the train "
            "labels of --data), or in-context: a language model that is shown answered samples.",
            show_default=False,
        ),
    ],
    data: Annotated[Path, typer.Option("--data", help="Prepared data to score.", show_default=False)],
    split: Annotated[str, typer.Option("--split", help="train, valid or test.")] = "test",
    fit: Annotated[
        Path | None,
        typer.Option(
            "--fit",
            help="Prepared data whose train split the item-based priors may learn from, e.g. the source domain; "
            "the train split of --data if not given.",
            show_default=False,
        ),
    ] = None,
    candidates: Annotated[
        Path | None,
        typer.Option(
            "--candidates",
            help="Rank these lists too (from `recalign candidates`): NDCG@10, Recall@10, MRR.",
            show_default=False,
        ),
    ] = None,
    index: Annotated[
        Path | None,
        typer.Option(
            "--index",
            help="Rank the full catalogue instead: each model ranks what this index (from `recalign index`) retrieves "
            "for each liked target.",
            show_default=False,
        ),
    ] = None,
    retrieve: Annotated[
        int, typer.Option(metavar="N", min=1, help="With --index: how many candidates a model ranks.")
    ] = 200,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            help="Write the model's per-sample scores (Parquet), and with --candidates its per-candidate scores beside "
            "them as FILE.candidates.parquet; for several models a directory. With --index a directory for the "
            "tables as CSV.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option("--seed", help="Seed of resampling and demonstrations, recorded in the score file.")
    ] = 0,
    resamples: Annotated[
        int, typer.Option("--resamples", metavar="N", min=1, help="Bootstrap resamples of users.")
    ] = 2000,
    calibrate: Annotated[
        bool | None,
        typer.Option(
            "--calibrate/--no-calibrate",
            help="Fit a temperature on validation labels. By default for priors and for models that were selected on "
            "them, but not for zero-shot and strict-k models.",
            show_default=False,
        ),
    ] = None,
    score: Annotated[
        str, typer.Option("--score", help="log-odds, or paper: p(Yes) - p(No), the reference code's order.")
    ] = "log-odds",
    limit: Annotated[
        int | None,
        client_options.option(
            "Score only so many samples of the split, drawn by --seed; models and priors the same ones. Default: all.",
            metavar="N",
            min=1,
        ),
    ] = None,
    device: client_options.Device = "auto",
    precision: client_options.Precision = "auto",
    endpoint: client_options.Endpoint = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    backbone: in_context.Backbone = None,
    demonstrations: in_context.Demonstrations = None,
    template: in_context.Template = None,
    teacher: client_options.Teacher = None,
    base_url: client_options.BaseUrl = None,
    key_env: client_options.KeyEnv = None,
    ledger: client_options.LedgerFile = None,
    no_logprobs: in_context.NoLogprobs = None,
    max_tokens_total: client_options.TotalTokens = None,
    max_cost: client_options.MaxCost = None,
    price_in: client_options.PriceIn = None,
    price_out: client_options.PriceOut = None,
    settings: client_options.Settings = None,
) -> None:
    """Score a split of prepared data: AUC, GAUC, NDCG@10, LogLoss, ECE, with user-clustered intervals.

    The priors stand beside every model. With --candidates also ranking, where a random ranker joins them; with --index
    nothing but retrieving and ranking over the full catalogue. Each read
    of a test split is logged in the run's manifest, and so is the verdict, which `recalign page` shows.
    """
    from rich.console import Console

    from recalign.cli.progress import SHORT_SECONDS, TerminalReporter
    from recalign.data.samples import SampleSet
    from recalign.errors import ConfigError
    from recalign.evaluation.evaluate import TESTS, ScoreKind
    from recalign.evaluation.evaluate import evaluate as evaluate_models
    from recalign.evaluation.render import print_panel
    from recalign.evaluation.rows import TestSettings
    from recalign.evaluation.verdicts import more_samples

    if score not in ("log-odds", "paper"):
        raise ConfigError(f"--score {score!r}", expected="log-odds or paper")
    if candidates is not None and (index is not None or limit is not None):
        other = "--index" if index is not None else "--limit"
        raise ConfigError(other, found="--candidates", expected="one of the two")
    if index is not None:
        rank_and_show(
            models, SampleSet.load(data).limited(split, limit, seed), split, index, retrieve,
            TestSettings(resamples, seed), output, precision=precision, device=device, endpoint=endpoint,
            json_output=json_output,
        )  # fmt: skip
        return
    kind: ScoreKind = "paper" if score == "paper" else "log-odds"
    asked = in_context.read(
        models, seed=seed, split=split, candidates=candidates, output=output, score=score, backbone=backbone,
        demonstrations=demonstrations, template=template, teacher=teacher, base_url=base_url, key_env=key_env,
        ledger=ledger, limit=limit if teacher else None, no_logprobs=no_logprobs, max_tokens_total=max_tokens_total,
        max_cost=max_cost, price_in=price_in, price_out=price_out, settings=settings,
    )  # fmt: skip
    sample_set, fitted = SampleSet.load(data), SampleSet.load(fit) if fit is not None else None
    sample_set = sample_set.limited(split, limit, seed)
    if asked is not None and asked.teacher is not None:
        if precision != "auto" or device != "auto":
            option = "--precision" if precision != "auto" else "--device"
            raise ConfigError(option, found="--teacher, an endpoint", expected="a local model")
        panel = asked.ask(sample_set, split, fitted, output, resamples)
    else:
        with TerminalReporter(after=SHORT_SECONDS) as reporter:
            untuned = asked and replace(asked, reporter=reporter, precision=precision, device=device)
            wanted = [untuned if untuned is not None and model == in_context.NAME else model for model in models]
            panel = evaluate_models(
                wanted, sample_set, split, fit=fitted, candidates=candidates, output=output, seed=seed,
                resamples=resamples, calibrate=calibrate, kind=kind, precision=precision,
                device=device, endpoint=endpoint,
                progress_for=lambda name: reporter.task(name, "tests" if name == TESTS else "samples"),
            )  # fmt: skip
    if json_output:
        sys.stdout.write(panel.model_dump_json() + "\n")
    else:
        print_panel(Console(highlight=False), panel)
        if sentence := more_samples(panel, sample_set.protocol):
            say(sentence)
        tell_next(*after_evaluate(models, data))
