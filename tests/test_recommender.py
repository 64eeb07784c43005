from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import recalign
from recalign.data.catalog import ItemCatalog
from recalign.data.samples import CandidateList, HistoryEntry
from recalign.data.schema import ITEMS
from recalign.errors import ConfigError, DataError, ModelError
from recalign.recommender import UNSEEN_USER, Recommender
from recalign.scoring.base import Scores

GENRES = {
    "1": ("Alpha Strike (1990)", "action"),
    "2": ("Bravo Strike (1991)", "action"),
    "3": ("Charlie Strike (1992)", "action"),
    "4": ("Delta in Love (1993)", "romance"),
    "5": ("Echo in Love (1994)", "romance"),
    "6": ("Foxtrot in Love (1995)", "romance"),
    "7": ("Alpha Strike (1990)", "action"),
}


def catalogue() -> ItemCatalog:
    rows = [(item_id, title, None, None, [genre]) for item_id, (title, genre) in GENRES.items()]
    return ItemCatalog.from_items(pl.DataFrame(rows, schema=ITEMS, orient="row"), "{title}")


class GenreScorer:
    """Likes of the same genre minus dislikes of it, plus a little for the item's number; counts what it is asked."""

    name = "genre"
    log_odds = True

    def __init__(self, scale: float = 1.0) -> None:
        self.scale = scale
        self.calls: list[list[CandidateList]] = []

    def score(self, lists: Sequence[CandidateList]) -> Scores:
        self.calls.append(list(lists))
        return Scores(tuple(np.array([self._one(each.history, item) for item in each.item_ids]) for each in lists))

    def _one(self, history: Sequence[HistoryEntry], item_id: str) -> float:
        genre = GENRES[item_id][1]
        signs = [1 if entry.liked else -1 for entry in history if GENRES[entry.item_id][1] == genre]
        return self.scale * (sum(signs) + 0.25 * (item_id == "3"))


def titles(recommender: Recommender, **options: object) -> list[str]:
    return [each.item_id for each in recommender.recommend(**options)]  # type: ignore[arg-type]


def test_best_items_first_ties_by_id_and_given_items_left_out() -> None:
    recommender = Recommender(GenreScorer(), catalogue())
    # 7 has the very text of the liked 1, so no language model could tell them apart: it is no recommendation.
    assert titles(recommender, likes=["id:1"], dislikes=["Delta in Love"]) == ["3", "2", "5", "6"]


def test_fields_of_a_recommendation() -> None:
    first, second, *_ = Recommender(GenreScorer(), catalogue()).recommend(["bravo strike"], k=2)
    assert (first.rank, second.rank) == (1, 2)
    assert (first.item_id, first.title, first.score) == ("3", "Charlie Strike (1992)", 1.25)
    assert first.probability == pytest.approx(1 / (1 + np.exp(-1.25)))
    assert first.influences == ()


def test_probability_only_for_log_odds() -> None:
    scorer = GenreScorer()
    scorer.log_odds = False
    assert Recommender(scorer, catalogue()).recommend(["bravo strike"])[0].probability is None


@pytest.mark.parametrize("scale", [-1e4, 1e4])
def test_probability_does_not_overflow(scale: float) -> None:
    ranked = Recommender(GenreScorer(scale), catalogue()).recommend(["bravo strike"])
    assert all(each.probability is not None and 0 <= each.probability <= 1 for each in ranked)


@pytest.mark.parametrize("batch_items", [1, 2, 3, 100])
def test_batches_change_nothing_but_their_size(batch_items: int) -> None:
    scorer = GenreScorer()
    reported: list[tuple[int, int]] = []
    ranked = Recommender(scorer, catalogue(), batch_items=batch_items).recommend(
        ["id:1"], ["id:4"], explain=True, progress=lambda done, total: reported.append((done, total))
    )
    assert ranked == Recommender(GenreScorer(), catalogue()).recommend(["id:1"], ["id:4"], explain=True)
    assert reported[-1] == (4, 4)
    asked = [sum(len(each.item_ids) for each in call) for call in scorer.calls]
    assert max(asked) <= max(batch_items, len(ranked))
    assert {each.user_id for call in scorer.calls for each in call} == {UNSEEN_USER}


def test_history_spreads_likes_and_dislikes() -> None:
    recommender = Recommender(GenreScorer(), catalogue())
    history = recommender.history(["id:1", "id:2", "id:3", "id:2"], ["id:4"])
    assert [(entry.item_id, entry.liked) for entry in history] == [("1", True), ("2", True), ("4", False), ("3", True)]


def test_k() -> None:
    recommender = Recommender(GenreScorer(), catalogue())
    assert len(titles(recommender, likes=["id:2"], k=3)) == 3
    assert len(titles(recommender, likes=["id:2"], k=100)) == 6
    with pytest.raises(ConfigError, match="number of recommendations; found 0; expected at least 1"):
        recommender.recommend(["id:2"], k=0)


def test_candidates() -> None:
    recommender = Recommender(GenreScorer(), catalogue())
    history = [HistoryEntry("2", True)]
    assert [each.item_id for each in recommender.rank(history, candidates=["6", "3", "2", "3"])] == ["3", "6"]
    with pytest.raises(DataError, match="item id 99"):
        recommender.rank(history, candidates=["99"])
    with pytest.raises(DataError, match="item id 98"):
        recommender.rank([HistoryEntry("98", True)])
    with pytest.raises(DataError, match="no item besides those given"):
        recommender.rank(history, candidates=["2"])


def test_influences_are_leave_one_out_differences() -> None:
    recommender = Recommender(GenreScorer(), catalogue())
    ranked = recommender.recommend(["id:2", "id:5"], ["id:4"], explain=True)
    by_id = {each.item_id: each for each in ranked}
    effects = {
        each.item_id: [(i.item_id, i.liked, i.effect, i.score_without) for i in each.influences] for each in ranked
    }
    assert effects["3"] == [("2", True, 1.0, 0.25), ("4", False, 0.0, 1.25), ("5", True, 0.0, 1.25)]
    assert {(item, effect) for item, _, effect, _ in effects["6"]} == {("5", 1.0), ("4", -1.0), ("2", 0.0)}
    for each in ranked:
        assert all(i.effect == pytest.approx(each.score - i.score_without) for i in each.influences)
    assert by_id["6"].influences[0].title in ("Delta in Love (1993)", "Echo in Love (1994)")
    history = recommender.history(["id:2", "id:5"], ["id:4"])
    assert all(len(each.influences) == 1 for each in recommender.explain(history, ranked, top=1))
    assert recommender.explain(history, []) == []


def test_one_entry_histories_can_be_explained() -> None:
    ranked = Recommender(GenreScorer(), catalogue()).recommend(["id:2"], k=1, explain=True)
    assert [(i.item_id, i.effect) for i in ranked[0].influences] == [("2", 1.0)]


@pytest.mark.parametrize(
    ("likes", "dislikes", "message"),
    [
        ([], [], "no likes and no dislikes"),
        (["id:2"], ["Bravo Strike"], r'"Bravo Strike \(1991\)" \(id 2\); found it liked and disliked'),
        (["Alpha Strike"], [], "fits 2 items"),
        (["Nothing at all"], [], "no item has the title"),
    ],
)
def test_bad_input(likes: list[str], dislikes: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Recommender(GenreScorer(), catalogue()).recommend(likes, dislikes)


def test_dislikes_alone_will_do() -> None:
    assert titles(Recommender(GenreScorer(), catalogue()), dislikes=["id:2"], k=1) == ["4"]


def test_scores_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ModelError, match="model genre, item id 1; found the score"):
        Recommender(GenreScorer(float("nan")), catalogue()).recommend(["id:2"])


def test_batch_items_must_be_positive() -> None:
    with pytest.raises(ConfigError, match="batch_items"):
        Recommender(GenreScorer(), catalogue(), batch_items=0)


def test_load_asks_for_the_model_of_the_run_and_the_catalogue_of_the_data(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[object] = []

    class Loaded(GenreScorer):
        catalog = catalogue()

    def load_scorer(run: Path, data: object, **options: object) -> Loaded:
        asked.append((run, data, options))
        return Loaded()

    monkeypatch.setattr("recalign.tuning.model_artifact.load_scorer", load_scorer)
    monkeypatch.setattr("recalign.data.samples.SampleSet.load", lambda path: f"samples of {path}")
    assert Recommender.load("runs/x").catalog is Loaded.catalog
    Recommender.load("runs/x", "prepared", backbone="here", device="cpu")
    assert asked == [
        (
            Path("runs/x"),
            None,
            {"backbone": None, "device": "auto", "precision": "auto", "shared": None, "endpoint": None},
        ),
        (
            Path("runs/x"),
            "samples of prepared",
            {"backbone": "here", "device": "cpu", "precision": "auto", "shared": None, "endpoint": None},
        ),
    ]
    for name in ("rt", "it"):
        (tmp_path / "models" / name).mkdir(parents=True)
        (tmp_path / "models" / name / "manifest.json").touch()
    with pytest.raises(ConfigError, match="2 models in it: it, rt; expected the directory of one"):
        Recommender.load(tmp_path)
    (tmp_path / "models" / "it" / "manifest.json").unlink()
    Recommender.load(tmp_path)
    assert asked[-1] == (
        tmp_path / "models" / "rt",
        None,
        {"backbone": None, "device": "auto", "precision": "auto", "shared": None, "endpoint": None},
    )


def test_package_exports_it_lazily() -> None:
    assert recalign.Recommender is Recommender
    assert "Recommender" in recalign.__all__
    missing: Callable[[], object] = lambda: recalign.Recomender  # type: ignore[attr-defined]  # noqa: E731
    with pytest.raises(AttributeError, match="Recomender"):
        missing()


def test_generated_pairs_are_asked_for_the_ranked_items(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr("recalign.scoring.pairs.generate_pairs", lambda *given: asked.append(given))
    recommender = Recommender(GenreScorer(), catalogue())
    history = recommender.history(["id:1"], ["id:4"])
    recommender.generate_pairs(history, recommender.rank(history, 3))
    assert asked == [(recommender.scorer, recommender.catalog, history, ["3", "2", "5"])]


def test_only_a_language_model_generates_pairs() -> None:
    recommender = Recommender(GenreScorer(), catalogue())
    history = recommender.history(["id:1"])
    with pytest.raises(ConfigError, match="pairs from the model genre; found a GenreScorer, which writes nothing"):
        recommender.generate_pairs(history, recommender.rank(history))


def test_a_language_model_recommends_and_its_explanations_are_its_own_scores(tmp_path: Path) -> None:
    from recalign.data.domain import Domain
    from recalign.models.backbone import load_backbone
    from recalign.models.config import BackboneConfig
    from recalign.prompting.encoding import PromptEncoder
    from recalign.prompting.template import PromptTemplate
    from recalign.scoring.yes_no import YesNoScorer
    from recalign.testing.tiny import make_tiny

    backbone = load_backbone(BackboneConfig(name=str(make_tiny(tmp_path / "tiny")), device="cpu", dtype="float32"))
    template = PromptTemplate.load("default")
    encoder = PromptEncoder(template, Domain(noun="movie"), backbone.tokenizer, max_length=512)
    catalog = catalogue()
    scorer = YesNoScorer(backbone.model, encoder, catalog)
    recommender = Recommender(scorer, catalog, batch_items=2)
    history = recommender.history(["bravo strike", "delta in love"], ["echo in love"])
    ranked = recommender.explain(history, recommender.rank(history))
    together = Recommender(scorer, catalog).rank(history)
    rounding = 1e-5 * max(abs(each.score) for each in together)
    assert [each.score for each in ranked] == pytest.approx([each.score for each in together], rel=0, abs=rounding)
    assert {each.item_id for each in ranked} == {each.item_id for each in together} == {"1", "3", "6", "7"}
    for each in ranked:
        assert len(each.influences) == 3
        assert any(abs(influence.effect) > 1e-3 for influence in each.influences)
        for influence in each.influences:
            rest = tuple(entry for entry in history if entry.item_id != influence.item_id)
            (score,) = scorer.score([CandidateList("anyone", rest, (each.item_id,))]).flat()
            assert influence.score_without == pytest.approx(score, rel=0, abs=rounding)
            assert influence.effect == pytest.approx(each.score - score, rel=0, abs=rounding)
