"""BM25 over the texts of items: what is written like the items of the history. It finds items that nobody has met.

Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond" (2009), §3, with the always positive
idf of Lucene. The query is the words of the liked items, newer ones first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Final, Self

import numpy as np
import polars as pl
import scipy.sparse as sp
from numpy.typing import NDArray

from recalign.data.schema import HistoryEntry
from recalign.retrieval.base import Float, Places
from recalign.retrieval.exact import ExactRetriever, pack, taken, unpack, weights
from recalign.retrieval.retrievers import Material, RetrieverPlugin
from recalign.retrieval.stock import Stock

K1, B = 1.2, 0.75
READ: Final = 300_000  # postings a request reads at most: in a million texts the commonest words say least
QUERY_ENTRIES: Final = 20  # newest liked entries; by then the weight of an entry is 1 %


class BM25(ExactRetriever):
    """Keeps how often each word occurs in each text, from which all else follows."""

    name: ClassVar[str] = "bm25"

    def __init__(self, stock: Stock, counts: sp.csr_array, words: pl.Series) -> None:
        """Weigh the words: `counts` has shape (items, words)."""
        super().__init__(stock)
        self._counts, self._words = counts, words
        lengths = np.asarray(counts.sum(axis=1), dtype=np.float32)
        occurring = np.bincount(counts.indices, minlength=counts.shape[1])
        idf = np.log1p((len(stock) - occurring + 0.5) / (occurring + 0.5)).astype(np.float32)
        self._idf = idf
        relative = lengths / max(float(lengths.sum()) / max(len(stock), 1), 1.0)
        saturation = np.repeat(K1 * (1 - B + B * relative), np.diff(counts.indptr))
        weighed = counts.copy()
        weighed.data = idf[counts.indices] * counts.data * (K1 + 1) / (counts.data + saturation)
        self._weighed = weighed
        self._postings = weighed.T.tocsr()  # words × items

    @classmethod
    def fitted(cls, stock: Stock) -> Self:
        """Read the texts of the stock."""
        return cls(stock, *_counted(stock.texts, pl.Series(dtype=pl.String)))

    def scores(self, history: Sequence[HistoryEntry]) -> Float:
        """BM25 of each item for the words of the liked entries, a word once per entry."""
        liked = [entry for entry in self.stock.known(history) if entry.liked][-QUERY_ENTRIES:]
        written = self._counts[self.stock.places(entry.item_id for entry in liked)]
        query = (written > 0).astype(np.float32).T @ weights(liked)
        some = np.flatnonzero(query)
        some = some[np.argsort(-(query * self._idf)[some], kind="stable")]  # what says most comes first
        read = np.cumsum(np.diff(self._postings.indptr)[some])
        some = some[: max(1, int(np.searchsorted(read, READ, side="right")))]
        scores: Float = self._postings[some].T @ query[some]
        return scores

    def similarity(self, places: Places) -> NDArray[np.float32]:
        """Cosines of these items' weighed words with each other, shape (n, n); 0 for an item without words."""
        rows = self._weighed[places]
        lengths = np.sqrt(np.asarray(rows.power(2).sum(axis=1)))
        unit = sp.diags_array(1 / np.maximum(lengths, 1e-12)) @ rows
        return np.asarray((unit @ unit.T).toarray(), dtype=np.float32)

    def over(self, stock: Stock) -> Self:
        """Texts that are new are read. The result is what reading all of them would give."""
        sources = stock.sources(self.stock, same_text=True)
        new = np.flatnonzero(sources < 0)
        counts, words = _counted([stock.texts[place] for place in new], self._words)
        wider = sp.csr_array(
            (self._counts.data, self._counts.indices, self._counts.indptr), shape=(len(self.stock), len(words))
        )
        sources[new] = len(self.stock) + np.arange(len(new))
        return type(self)(stock, taken(sp.vstack([wider, counts], format="csr"), sources), words)

    def arrays(self) -> Mapping[str, NDArray[np.generic]]:
        """The counts, and the words as the bytes of lines."""
        lines = "\n".join(self._words).encode("utf-8")
        return {**pack(self._counts), "words": np.frombuffer(lines, dtype=np.uint8)}

    @classmethod
    def restored(cls, arrays: Mapping[str, NDArray[np.generic]], stock: Stock) -> Self:
        """See `ExactRetriever`."""
        lines = arrays["words"].tobytes().decode("utf-8")
        return cls(stock, unpack(arrays), pl.Series(lines.split("\n") if lines else [], dtype=pl.String))


def _counted(texts: Sequence[str], words: pl.Series) -> tuple[sp.csr_array, pl.Series]:
    """How often each word occurs in each text, shape (texts, words), and `words` with the new ones at its end."""
    table = pl.DataFrame({"row": np.arange(len(texts)), "word": pl.Series(texts, dtype=pl.String)})
    found = (
        table.with_columns(pl.col("word").str.to_lowercase().str.extract_all(r"\w+"))
        .explode("word")
        .drop_nulls("word")
        .group_by("row", "word")
        .len()
    )
    unseen = found["word"].unique().sort()
    words = pl.concat([words, unseen.filter(~unseen.is_in(words.implode()))])
    numbered = pl.DataFrame({"word": words, "column": np.arange(len(words))})
    found = found.join(numbered, on="word").sort("row", "column")
    counts = found["len"].to_numpy().astype(np.float32)
    places = (found["row"].to_numpy(), found["column"].to_numpy())
    return sp.csr_array((counts, places), shape=(len(texts), len(words))), words


def _fit(material: Material) -> BM25:
    return BM25.fitted(material.stock)


PLUGIN = RetrieverPlugin(fit=_fit, read=BM25.read, position=30)
