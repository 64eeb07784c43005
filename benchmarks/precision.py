"""Scoring in other arithmetics: speed and scores of fp32, bf16 and int8 side by side.

    RECALIGN_DATA=/path/to/data python benchmarks/precision.py [--models nano llama smollm2] [--samples 200]

The samples are the validation split that TALLRec published (tallrec-movie), each with its one question; the models are
untuned, so that the area under the ROC curve says little and the rank correlation with fp32 says more. llama has 134
million random weights, smollm2 is there after `recalign download smollm2`. The arithmetics take turns in one process.
A processor without AVX-512 is had by ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from scipy.stats import spearmanr
from setting import TOKENIZER, llama

from recalign.data.samples import CandidateList, SampleSet
from recalign.errors import ModelError
from recalign.experiment.prepare import prepare
from recalign.experiment.prepare_config import PrepareConfig
from recalign.metrics.classification import auc
from recalign.models.backbone import load_backbone
from recalign.models.config import BackboneConfig, NanoConfig, Precision
from recalign.models.int8 import weight_levels
from recalign.models.nano import init_model, train_tokenizer
from recalign.models.onednn import accelerate_linears
from recalign.models.precision import for_precision, in_precision
from recalign.models.released import find_release
from recalign.prompting.encoding import PromptEncoder
from recalign.prompting.template import PromptTemplate
from recalign.scoring.yes_no import YesNoScorer

PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16", "int8")
CHUNK = 10  # samples that each arithmetic scores in turn


def published(folder: Path) -> SampleSet:
    """The published validation samples of Movie."""
    root = os.environ.get("RECALIGN_DATA")
    if not root:
        sys.exit("RECALIGN_DATA is not set: tallrec-movie/ in that folder is needed (see docs/data.md)")
    config = PrepareConfig(
        dataset="alpaca-json",
        input=Path(root) / "tallrec-movie" / "valid.json",
        output=folder / "movie",
        template="tallrec",
        split=(0, 1, 0),
    )
    return SampleSet.load(prepare(config))


def load(model: str, data: SampleSet, precision: Precision) -> YesNoScorer:
    """A model in an arithmetic, as a scorer."""
    template = PromptTemplate.load("tallrec")
    config = BackboneConfig(name=model, device="cpu")
    if model == "smollm2":
        config = for_precision(config.model_copy(update={"name": str(find_release(model))}), precision)
        backbone = load_backbone(config)
        network, tokenizer = backbone.model, backbone.tokenizer
    else:
        for_precision(config, precision)
        texts = data.catalog.frame["text"].to_list()
        wording = [template.frame(template.instruction(data.domain, [], "x", 1)).context] * 100
        tokenizer = train_tokenizer([*texts, *wording], TOKENIZER)
        network = llama(torch.float32) if model == "llama" else init_model(NanoConfig(), tokenizer).eval()
        accelerate_linears(network)
    encoder = PromptEncoder(template, data.domain, tokenizer, max_length=1024)
    return YesNoScorer(in_precision(network, precision), encoder, data.catalog)


def compare(model: str, data: SampleSet, samples: int) -> None:
    """Print a row for each arithmetic that this processor has."""
    scorers: dict[Precision, YesNoScorer] = {}
    for precision in PRECISIONS:
        try:
            scorers[precision] = load(model, data, precision)
        except ModelError as error:
            print(f"{model:8} {precision:5} {error}")
    asked = data.samples("valid")[:samples]
    lists = [CandidateList(sample.user_id, sample.history, (sample.item_id,)) for sample in asked]
    spent: dict[Precision, list[float]] = {precision: [] for precision in scorers}
    scores: dict[Precision, list[np.ndarray]] = {precision: [] for precision in scorers}
    for scorer in scorers.values():
        scorer.score(lists[:CHUNK])
    for start in range(0, len(lists), CHUNK):
        for precision, scorer in scorers.items():
            begin = time.perf_counter()
            scores[precision].append(scorer.score(lists[start : start + CHUNK]).flat())
            spent[precision].append(time.perf_counter() - begin)
    labels = [sample.label for sample in asked]
    exact = np.concatenate(scores["fp32"])
    for precision in scorers:
        found = np.concatenate(scores[precision])
        faster = np.median(np.divide(spent["fp32"], spent[precision]))
        rank = 1.0 if precision == "fp32" else spearmanr(found, exact).statistic
        print(
            f"{model:8} {precision:5}{len(lists) / sum(spent[precision]):12.1f}{faster:9.2f}x"
            f"{np.abs(found - exact).max():16.4f}{exact.std():14.3f}{rank:12.4f}{auc(labels, found):9.4f}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["nano", "llama", "smollm2"])
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{torch.backends.cpu.get_cpu_capability()}, {options.threads} threads, int8 weights of ±{weight_levels()}")
    print(f"{'':14}{'samples/s':>12}{'faster':>10}{'largest change':>16}{'(std fp32)':>14}{'rank corr.':>12}{'AUC':>9}")
    with TemporaryDirectory() as folder:
        data = published(Path(folder))
        for model in options.models:
            compare(model, data, options.samples)


if __name__ == "__main__":
    main()
