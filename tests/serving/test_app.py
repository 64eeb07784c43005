from __future__ import annotations

import json
import re
from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recalign.data.catalog import ItemCatalog
from recalign.data.samples import CandidateList
from recalign.data.schema import ITEMS
from recalign.recommender import Recommender
from recalign.retrieval.index import build_index
from recalign.scoring.base import Scores
from recalign.serving.worker import Limits

from .conftest import Running, Start
from .fakes import FakeScorer, catalogue


def test_recommend(server: Running) -> None:
    answer = server.post("/v1/recommend", likes=["Film 1", "id:2"], dislikes=["film 12 (2002)"], k=2)
    assert answer.status == 200
    body = answer.json
    assert (body["model"], [match["item_id"] for match in body["likes"]]) == ("fake", ["1", "2"])
    assert [(item["rank"], item["item_id"], item["title"]) for item in body["items"]] == [
        (1, "11", "Film 11 (2001)"),
        (2, "10", "Film 10 (2000)"),
    ]
    expected = Recommender(FakeScorer(), catalogue()).recommend(["id:1", "id:2"], ["id:12"], 2)
    assert [item["score"] for item in body["items"]] == [item.score for item in expected]
    assert [item["probability"] for item in body["items"]] == [item.probability for item in expected]


def test_score_keeps_the_order_of_the_request_and_repeats(server: Running) -> None:
    scores = server.post("/v1/score", likes=["id:1"], items=["id:3", "id:2", "id:3", "id:1"]).json["scores"]
    assert [(each["item_id"], round(each["score"], 2)) for each in scores] == [
        ("3", 0.04),
        ("2", 0.03),
        ("3", 0.04),
        ("1", 0.02),
    ]


def test_rerank_has_the_shape_of_cohere_and_jina(server: Running) -> None:
    request = {
        "model": "fake",
        "query": "Film 1\nFilm 2\n",
        "documents": ["Film 3", {"text": "Film 5"}, "Film 4"],
        "top_n": 2,
        "return_documents": True,
        "max_tokens_per_doc": 4096,  # a setting of theirs
    }
    body = server.post("/v1/rerank", **request).json
    assert [(each["index"], each["document"]) for each in body["results"]] == [
        (1, {"text": "Film 5"}),
        (2, {"text": "Film 4"}),
    ]
    assert body["results"][0]["relevance_score"] == pytest.approx(1 / (1 + np.exp(-0.08)))
    without = server.post("/v1/rerank", query="Film 1", documents=["Film 3"]).json
    assert set(without["results"][0]) == {"index", "relevance_score"}


def test_explain_is_what_the_recommender_says(server: Running) -> None:
    body = server.post("/v1/explain", likes=["id:1", "id:2"], dislikes=["id:3"], items=["id:7", "id:8"], top=2).json
    recommender = Recommender(FakeScorer(), catalogue())
    history = recommender.history(["id:1", "id:2"], ["id:3"])
    ranked = recommender.rank(history, 2, candidates=["7", "8"])
    for item in recommender.explain(history, ranked, top=2):
        (found,) = (each for each in body["items"] if each["item_id"] == item.item_id)
        assert [(each["item_id"], each["liked"]) for each in found["influences"]] == [
            (each.item_id, each.liked) for each in item.influences
        ]
        assert [each["effect"] for each in found["influences"]] == pytest.approx(
            [each.effect for each in item.influences]
        )
    assert "leave-one-out" in body["influence"]


def test_autocomplete(server: Running) -> None:
    def found(query: str) -> list[str]:
        return [item["item_id"] for item in server.get(f"/v1/items?q={query}&limit=3").json["items"]]

    assert found("FILM%201") == ["1", "10", "11"]
    assert found("1993") == ["3"]
    assert found("ilm") == []
    assert found("%21") == []
    assert server.get("/v1/items?q=").status == 422


def test_several_models_side_by_side(start: Start) -> None:
    class Opposite(FakeScorer):
        def score(self, lists: Sequence[CandidateList]) -> Scores:
            return Scores(tuple(-values for values in super().score(lists).values))

    models = {"a": Recommender(FakeScorer(), catalogue()), "b": Recommender(Opposite(), catalogue(5))}
    server = start(models)
    best = {}
    for model in ("a", "b", None):
        named = {} if model is None else {"model": model}
        best[model] = server.post("/v1/recommend", likes=["id:1"], k=1, **named).json["items"][0]["item_id"]
    assert best == {"a": "12", "b": "2", None: "12"}
    missing = server.post("/v1/recommend", likes=["id:1"], model="c")
    assert (missing.status, "a, b" in missing.json["error"]) == (404, True)
    assert server.get("/readyz").json == {"status": "ready", "models": ["a", "b"]}


def test_one_id_in_two_catalogues_has_the_title_of_the_model_that_is_asked(start: Start) -> None:
    """In "books" the ids of "films" stand for other titles."""
    titles = {
        "films": {str(n): f"Film {n} ({1990 + n})" for n in range(1, 13)},
        "books": {str(n): f"Book {13 - n}" for n in range(1, 9)},
    }
    scorers = {name: FakeScorer(name) for name in titles}
    books = pl.DataFrame([(*item, None, None, None) for item in titles["books"].items()], schema=ITEMS, orient="row")
    catalogues = {"films": catalogue(12), "books": ItemCatalog.from_items(books, "{title}")}
    server = start({name: Recommender(scorers[name], catalogues[name]) for name in titles})
    liked = {"films": ["Film 2", "id:3"], "books": ["Book 11", "id:3"]}
    for name, other in (("films", "books"), ("books", "films")):
        asked = {"model": name, "likes": liked[name], "dislikes": ["id:1"]}
        found = [
            *server.get(f"/v1/items?q={name[:-1]}&model={name}").json["items"],
            *(recommended := server.post("/v1/recommend", **asked, k=100).json)["items"],
            *recommended["likes"],
            *recommended["dislikes"],
            *(scored := server.post("/v1/score", **asked, items=["id:5"]).json)["scores"],
            *(explained := server.post("/v1/explain", **asked, items=["id:5"]).json)["items"],
            *explained["items"][0]["influences"],
        ]
        assert {(item["item_id"], item["title"]) for item in found} == set(titles[name].items())
        assert {answer["model"] for answer in (recommended, scored, explained)} == {name}
        assert [match["item_id"] for match in recommended["likes"]] == ["2", "3"]
        missing = server.post("/v1/score", model=name, likes=["id:1"], items=[titles[other]["1"]])
        assert (missing.status, "no item has the title" in missing.json["error"]) == (422, True)
    assert set(scorers["books"].asked_items) <= set(titles["books"])


@pytest.mark.parametrize(
    ("path", "body", "word"),
    [
        ("/v1/recommend", {"likes": ["Filn nowhere"]}, "no item has the title"),
        ("/v1/recommend", {}, "no likes and no dislikes"),
        ("/v1/recommend", {"likes": ["id:1"], "dislikes": ["id:1"]}, "liked and disliked"),
        ("/v1/recommend", {"likes": ["id:1"], "k": 0}, "greater than or equal to 1"),
        ("/v1/recommend", {"likes": ["id:1"], "k": "5"}, "valid integer"),
        ("/v1/recommend", {"likes": ["id:1"], "k": 101}, "less than or equal to 100"),
        ("/v1/recommend", {"likes": ["id:1"], "kay": 5}, "Extra inputs"),
        ("/v1/recommend", {"likes": ["x" * 501]}, "at most 500"),
        ("/v1/recommend", {"likes": ["id:1"] * 201}, "at most 200"),
        ("/v1/recommend", {"likes": ["id:1"], "timeout": float("nan")}, "finite"),
        ("/v1/recommend", {"likes": ["\ud800"]}, "unicode"),
        ("/v1/recommend", {"likes": ["id:1"], "user": "u"}, "not both"),
        ("/v1/recommend", {"user": "u"}, "--store"),
        ("/v1/score", {"likes": ["id:1"], "items": []}, "at least 1"),
        ("/v1/score", {"likes": ["id:1"], "items": ["id:1"] * 1001}, "at most 1000"),
        ("/v1/explain", {"likes": ["id:1"], "items": ["id:1"] * 21}, "at most 20"),
        ("/v1/rerank", {"query": "id:1", "documents": [""]}, "at least 1"),
        ("/v1/rerank", {"query": "id:1\n" * 201, "documents": ["id:2"]}, "at most 200"),
        ("/v1/rerank", {"query": "id:1", "user": "u", "documents": ["id:2"]}, "not both"),
    ],
)
def test_wrong_requests_are_told_in_one_line(server: Running, path: str, body: dict[str, object], word: str) -> None:
    answer = server.post(path, **body)
    assert answer.status == 422, answer.text
    assert word in answer.json["error"]
    assert set(answer.json) == {"error"}
    assert not server.scorer.asked


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"nul", b"\xff\xfe", b'{"likes":' + b"[" * 100_000, b'{"k":1e999}'])
def test_what_is_no_request_is_refused(server: Running, body: bytes) -> None:
    assert server.ask("POST", "/v1/recommend", body).status in (400, 422)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(["likes", "dislikes", "items", "k", "model", "user", "timeout", "documents", "query", "top_n"])


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.sampled_from(["recommend", "score", "rerank", "explain", "events"]), st.dictionaries(FIELDS, JSON))
def test_no_request_breaks_the_server(server: Running, verb: str, body: dict[str, object]) -> None:
    answer = server.ask("POST", f"/v1/{verb}", json.dumps(body).encode())
    assert answer.status in (200, 404, 422)
    assert answer.status == 200 or set(answer.json) == {"error"}


def test_over_the_capacity_it_answers_429_at_once_and_recovers(start: Start) -> None:
    server = start(limits=Limits(capacity=3))
    server.scorer.gate.clear()
    accepted = [server.in_background("/v1/score", likes=["id:1"], items=["id:2"])]
    server.scorer.wait_until_asked()
    accepted += [server.in_background("/v1/score", likes=["id:1"], items=["id:2"]) for _ in range(2)]
    server.until(lambda: server.application.thread.cost == 3)
    refused = [server.post("/v1/score", likes=["id:1"], items=["id:2"]) for _ in range(5)]
    refused.append(server.post("/v1/score", likes=["no such title"], items=["id:2"]))  # it does not even look for it
    assert {(answer.status, answer.headers["retry-after"]) for answer in refused} == {(429, "1")}
    server.scorer.gate.set()
    assert [result().status for result in accepted] == [200, 200, 200]
    assert server.post("/v1/score", likes=["id:1"], items=["id:2"]).status == 200
    assert len(server.scorer.asked_items) == 4


def test_a_late_answer_is_504_and_is_never_scored(server: Running) -> None:
    server.scorer.gate.clear()
    busy = server.in_background("/v1/score", likes=["id:1"], items=["id:2"])
    server.scorer.wait_until_asked()
    assert server.post("/v1/score", likes=["id:1"], items=["id:3"], timeout=0.02).status == 504
    assert server.application.thread.cost == 1
    server.scorer.gate.set()
    assert busy().status == 200
    assert server.post("/v1/score", likes=["id:1"], items=["id:4"]).status == 200
    assert server.scorer.asked_items == ["2", "4"]


@pytest.mark.parametrize(("retrieve", "indexed", "hinted"), [(10, False, True), (11, False, False), (10, True, False)])
def test_a_late_answer_about_a_large_catalogue_hints_at_an_index(
    start: Start, retrieve: int, indexed: bool, hinted: bool
) -> None:
    scorer, items = FakeScorer(), catalogue()
    model = Recommender(scorer, items, index=build_index(items) if indexed else None)
    server = start({"fake": model}, retrieve=retrieve, timeout=0.5)
    scorer.gate.clear()
    late = server.post("/v1/recommend", likes=["id:1"])
    scorer.gate.set()
    found = ("--index the model scores 10 items instead of 11" in late.json["error"], "recalign index" in late.text)
    assert (late.status, found) == (504, (hinted, hinted))


def test_titles_are_not_looked_up_after_the_deadline(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(Recommender, "match", lambda _, title: asked.append(title))
    assert server.post("/v1/score", likes=["id:1"] * 200, items=["id:2"], timeout=1e-9).status == 504
    assert asked == []


def test_a_page_of_a_stranger_cannot_post(server: Running) -> None:
    """A browser sends such a request for any page, without asking first."""
    body = json.dumps({"likes": ["id:1"], "items": ["id:2"]}).encode()
    assert server.ask("POST", "/v1/score", body, **{"Content-Type": "text/plain"}).status == 422
    assert not server.scorer.asked


def test_the_server_has_the_last_word_on_time(start: Start) -> None:
    server = start(timeout=0.02)
    server.scorer.gate.clear()
    assert server.post("/v1/score", likes=["id:1"], items=["id:3"], timeout=600.0).status == 504


def test_a_model_that_fails_is_a_500_without_details(server: Running) -> None:
    server.scorer.raises = ValueError("a secret path")
    answer = server.post("/v1/score", likes=["id:1"], items=["id:2"])
    assert (answer.status, "secret" in answer.text) == (500, False)
    server.scorer.raises = None
    assert server.post("/v1/score", likes=["id:1"], items=["id:2"]).status == 200


def test_a_stuck_thread_is_not_ready_and_alive(start: Start) -> None:
    server = start(limits=Limits(stall_seconds=0.05))
    assert server.get("/readyz").status == 200
    server.scorer.gate.clear()
    waiting = server.in_background("/v1/score", likes=["id:1"], items=["id:2"])
    server.scorer.wait_until_asked()
    server.until(lambda: server.get("/readyz").status == 503)
    assert server.get("/livez").status == 200
    server.scorer.gate.set()
    assert waiting().status == 200
    server.until(lambda: server.get("/readyz").status == 200)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_dead_thread_is_not_ready_and_answers_503(server: Running) -> None:
    server.scorer.raises = SystemExit("what no batch survives")
    assert server.post("/v1/score", likes=["id:1"], items=["id:2"]).status == 503
    assert server.post("/v1/score", likes=["id:1"], items=["id:2"]).status == 503
    server.until(lambda: server.get("/readyz").status == 503)
    assert server.get("/livez").status == 200


def test_a_stuck_thread_is_noticed_within_two_seconds() -> None:
    assert Limits().stall_seconds <= 2.0


def test_metrics(server: Running) -> None:
    server.post("/v1/score", likes=["id:1"], items=["id:2", "id:3"])
    server.get("/v1/nowhere-a-stranger-chose")
    text = server.get("/metrics").text
    assert 'recalign_requests_total{route="/v1/score",status="200"} 1.0' in text
    assert 'recalign_requests_total{route="other",status="404"} 1.0' in text
    assert "stranger" not in text
    assert "recalign_batch_candidates_sum 2.0" in text
    assert re.search(r"^recalign_waiting_candidates 0\.0$", text, re.MULTILINE)
    assert re.search(r"^recalign_ready 1\.0$", text, re.MULTILINE)


def test_docs_load_nothing_from_elsewhere(server: Running) -> None:
    page = server.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "POST /v1/recommend" in page.text
    assert "//" not in page.text
    assert "<script" not in page.text
    paths = server.get("/openapi.json").json["paths"]
    assert {"/v1/recommend", "/v1/score", "/v1/rerank", "/v1/items", "/v1/explain", "/v1/events"} <= set(paths)


def test_filters_and_an_index_decide_what_is_scored(start: Start) -> None:
    scorer, items = FakeScorer(), catalogue()
    server = start({"fake": Recommender(scorer, items, index=build_index(items))}, retrieve=3)
    answer = server.post("/v1/recommend", likes=["id:1"], without=["3"], k=10)
    assert answer.status == 200
    assert len(scorer.asked_items) == 3
    assert not {"1", "3"} & set(scorer.asked_items)
    problem = server.post("/v1/recommend", likes=["id:1"], only=["genres"])
    assert (problem.status, "COLUMN=VALUE" in problem.json["error"]) == (422, True)
