"""Stage one against its bars: recall on MovieLens-100K, and the time of a request in a catalogue of a million items.

    RECALIGN_DATA=/path/to/data python benchmarks/retrieval.py [--items 1000000] [--requests 50] [--vectors 200000]
        [--text-encoder DIR]

The targets are the last liked items of all users, among all items that the user has not met. The interactions that the
index is made of are those of 64 users drawn by a seed, or of all. The million items are generated: three or four words
each, met by users whose taste follows Zipf's law. The last figure is the reranking of 200 candidates by a model of
nano's shape with random weights, which takes as long as a trained one.

Approximate search is held against the exact one on vectors around 2,000 random centres, or with a text encoder on those
of titles of two to five words, drawn from its vocabulary by Zipf's law. A query is the mean of five vectors, which
may not come back themselves.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl
import scipy.sparse as sp
from setting import Movies, arguments, seconds
from transformers import AutoTokenizer

from recalign.api import prepare
from recalign.baselines.text_encoder import TextEncoder
from recalign.data.catalog import ItemCatalog
from recalign.data.samples import CandidateList, HistoryEntry, SampleSet
from recalign.data.schema import ITEMS
from recalign.models.config import NanoConfig
from recalign.models.nano import init_model
from recalign.models.onednn import accelerate_linears
from recalign.retrieval.approximate import Neighbours
from recalign.retrieval.base import Float
from recalign.retrieval.fused import Fused
from recalign.retrieval.index import Index, build_index
from recalign.retrieval.retrievers.bm25 import BM25
from recalign.retrieval.retrievers.item_item import ItemItem
from recalign.retrieval.retrievers.popularity import Popularity
from recalign.retrieval.stock import Stock
from recalign.scoring.yes_no import YesNoScorer
from recalign.seeding import generator

FEW = 64
VOCABULARY, PEOPLE, MET = 50_000, 200_000, 25
CENTRES, WIDTH, NEAREST = 2000, 384, 100


def recall(index: Index, data: SampleSet, cutoffs: tuple[int, ...] = (50, 100, 200)) -> str:
    """Recall of the liked test targets."""
    liked = [sample for sample in data.samples("test") if sample.label == 1]
    found = [(sample.item_id, index.retrieve(sample.past, max(cutoffs)).item_ids) for sample in liked]
    figures = [np.mean([item in ids[:cutoff] for item, ids in found]) for cutoff in cutoffs]
    weights = ", ".join(f"{name} {weight:g}" for name, weight in index.choice.weights.items())
    return f"{'':4}".join(f"{figure:.3f}" for figure in figures) + f"    {weights}"


def synthetic(items: int) -> tuple[Stock, sp.csr_array]:
    """A catalogue and its interactions."""
    draw = generator(0, "benchmark", "retrieval")
    words = np.minimum(draw.zipf(1.3, (items, 4)) - 1, VOCABULARY - 1)
    lengths = draw.integers(3, 5, items)
    titles = [" ".join(f"w{word}" for word in row[:length]) for row, length in zip(words, lengths, strict=True)]
    frame = pl.DataFrame({"item_id": [f"i{place}" for place in range(items)], "title": titles})
    for name in ("year", "author", "genres"):
        frame = frame.with_columns(pl.lit(None, dtype=ITEMS[name]).alias(name))
    met = np.minimum(draw.zipf(1.2, PEOPLE * MET) - 1, items - 1)
    users = np.repeat(np.arange(PEOPLE), MET)
    matrix = sp.csr_array((np.ones(len(met), dtype=np.float32), (met, users)), shape=(items, PEOPLE))
    matrix.data[:] = 1
    return Stock(ItemCatalog.from_items(frame, "{title}")), matrix


def requests(stock: Stock, count: int) -> list[list[HistoryEntry]]:
    """Histories of ten items, half of them popular."""
    draw = generator(0, "benchmark", "requests")
    popular, others = draw.integers(0, 1000, (count, 5)), draw.integers(0, len(stock), (count, 5))
    ids = stock.catalog.ids
    return [[HistoryEntry(ids[place], True) for place in row] for row in np.concatenate([popular, others], axis=1)]


def main() -> None:
    options = arguments(__doc__.splitlines()[0], items=1_000_000, requests=50, vectors=200_000, text_encoder="")
    approximate(encoded(options.vectors, options.text_encoder) if options.text_encoder else drawn(options.vectors))
    encoder = Movies.load("leave-one-out").encoder
    with TemporaryDirectory() as folder:
        source = Path(os.environ["RECALIGN_DATA"]) / "ml-100k"
        data = prepare(
            "movielens-100k", Path(folder) / "movies", input=source, protocol="leave-one-out", max_rendered=1
        )
        index = movielens(data)
        sample = data.samples("test")[0]
    million(options.items, options.requests)
    model = init_model(NanoConfig(), encoder.tokenizer).eval()
    accelerate_linears(model)  # as loading a backbone does
    scorer = YesNoScorer(model, encoder, data.catalog)
    asked = CandidateList(sample.user_id, sample.history, index.retrieve(sample.past, 200).item_ids)
    print(f"nano ranks 200 candidates in {seconds(lambda: scorer.score([asked]), options.repeats):.3f} s (bar 0.3)")


def movielens(data: SampleSet) -> Index:
    """Print recall with few users' interactions and with all; the index of all."""
    users = data.frame("train")["user_id"].unique().sort().to_list()
    few = frozenset(str(user) for user in generator(0, "benchmark", "users").permutation(users)[:FEW])
    print("MovieLens-100K, last liked items: recall@50, @100, @200    weights")
    index = build_index(data, users=few)
    print(f"{FEW} users' interactions (bar 0.42):  {recall(index, data)}")
    index = build_index(data)
    print(f"all interactions (bar 0.50):       {recall(index, data)}")

    return index


def million(items: int, count: int) -> None:
    """Print times of requests in a generated catalogue."""
    stock, met = synthetic(items)
    start = time.perf_counter()
    retrievers = [Popularity.fitted(stock, met), ItemItem.fitted(stock, met), BM25.fitted(stock)]
    fused = Fused(retrievers, {retriever.name: 1.0 for retriever in retrievers})
    print(f"{items:,} items: built in {time.perf_counter() - start:.1f} s")
    for retriever in (*retrievers, fused):
        times = []
        for history in requests(stock, count):
            start = time.perf_counter()
            retriever.retrieve(history, 200)
            times.append(1000 * (time.perf_counter() - start))
        bar = " (bar 50 at p50)" if retriever is fused else ""
        print(f"{retriever.name:10} p50 {np.median(times):6.1f} ms, p95 {np.quantile(times, 0.95):6.1f} ms{bar}")


def drawn(count: int) -> Float:
    """Vectors of length 1 around random centres."""
    draw = generator(0, "benchmark", "vectors")
    centres = unit(draw.standard_normal((CENTRES, WIDTH), dtype=np.float32))
    noise = draw.standard_normal((count, WIDTH), dtype=np.float32) / np.float32(np.sqrt(WIDTH))
    return unit(centres[draw.integers(0, CENTRES, count)] + noise)


def encoded(count: int, directory: str) -> Float:
    """Vectors of titles that are made of the encoder's own words."""
    vocabulary = AutoTokenizer.from_pretrained(directory).get_vocab()
    ordered = sorted(vocabulary, key=lambda word: vocabulary[word])
    words = [word for word in ordered if word.isalpha() and len(word) > 2]
    draw = generator(0, "benchmark", "titles")
    chosen = np.minimum(draw.zipf(1.1, (count, 5)) - 1, 10**9) % len(words)
    lengths = draw.integers(2, 6, count)
    titles = [" ".join(words[word] for word in row[:length]) for row, length in zip(chosen, lengths, strict=True)]
    return unit(TextEncoder(directory).mean_vectors(titles))


def unit(vectors: Float) -> Float:
    """The vectors at length 1."""
    scaled: Float = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return scaled


def approximate(vectors: Float, count: int = 200) -> None:
    """Print what the lists of neighbours cost and find."""
    start = time.process_time()
    neighbours = Neighbours.fitted(vectors)
    built = time.process_time() - start
    draw = generator(0, "benchmark", "queries")
    times, shares = [], []
    for _ in range(count):
        history = draw.integers(0, len(vectors), 5)
        query = unit(vectors[history].mean(axis=0)[None])[0]
        cosines, allowed = vectors @ query, np.ones(len(vectors), dtype=np.bool_)
        cosines[history], allowed[history] = -1, False
        least = np.partition(cosines, -NEAREST)[-NEAREST] - 1e-6  # of equal vectors any will do
        start = time.perf_counter()
        places, _ = neighbours.nearest(query, NEAREST, allowed)
        times.append(1000 * (time.perf_counter() - start))
        shares.append(np.count_nonzero(cosines[places] >= least) / NEAREST)
    print(
        f"{len(vectors):,} vectors of width {vectors.shape[1]}: lists built in {built:.1f} CPU-s (bar 10), "
        f"recall@{NEAREST} {np.mean(shares):.3f} (bar 0.98), p50 {np.median(times):.2f} ms (bar 0.8)"
    )


if __name__ == "__main__":
    main()
