"""The page as one file: what a browser reads out of it. `page/` opens it in one."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

from hypothesis import given, settings
from hypothesis import strategies as st

from recalign.data.audit_checks import finding
from recalign.serving.data import NO_AUDIT
from recalign.serving.files import PAGE
from recalign.serving.results import Results, ShownEntry, ShownHistory, ShownItem, ShownList
from recalign.serving.schemas import AuditResponse
from recalign.serving.standalone import standalone

HOSTILE = ["</script><script>alert(1)</script>", "<!--<script>", "]]>&amp;", "\u2028\u2029", "</SCRIPT\n>", "\x00"]


class Elements(HTMLParser):
    """What is in script and style elements, by name and type, and all attributes."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.texts: dict[str, list[str]] = {}
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._open = ""
        self.feed(document)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open = f"{tag} {dict(attrs).get('type') or ''}".strip() if tag in ("script", "style") else ""

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open:
            self.texts.setdefault(self._open, []).append(data)


def results_of(text: str) -> Results:
    entry = ShownEntry(item_id=text, title=text, liked=True)
    item = ShownItem(item_id=text, title=text, score=1.0, probability=0.5, effects=(0.25,))
    audit = AuditResponse(data=text, findings=(finding("code", "info", 1, text, [text]),))
    lists = {text: (ShownList(items=(item,), near_ties=text),)}
    return Results(histories=(ShownHistory(name=text, entries=(entry,)),), lists=lists, audit=audit)


@settings(max_examples=25)
@given(st.one_of(st.sampled_from(HOSTILE), st.text()))
def test_no_text_leaves_the_results(text: str) -> None:
    elements = Elements(standalone(results_of(text)))
    (found,) = elements.texts["script application/json"]
    assert Results.model_validate_json(found) == results_of(text)
    assert set(elements.texts) == {"script application/json", "script module", "style"}
    assert [tag for tag, _ in elements.tags].count("script") == 2
    assert not re.search("[<>&]", found)


def test_the_policy_admits_this_script_and_style_and_no_request() -> None:
    elements = Elements(standalone(results_of("a")))
    (policy,) = (tag["content"] for _, tag in elements.tags if tag.get("http-equiv") == "Content-Security-Policy")
    for name, directive in (("script module", "script-src"), ("style", "style-src")):
        digest = base64.b64encode(hashlib.sha256("".join(elements.texts[name]).encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}';" in str(policy)
    assert str(policy).startswith("default-src 'none';")
    assert "unsafe" not in str(policy)


def test_it_names_no_other_file() -> None:
    document = standalone(results_of("a"))
    assert not re.search(r"/page/|\bimport\b *[{(\"']|^export\b", document, re.MULTILINE)
    for tag, attributes in Elements(document).tags:
        for name in ("src", "href"):
            assert (attributes.get(name) or "data:").startswith("data:") or tag == "a"


def test_names_at_the_top_of_the_modules_are_all_different() -> None:
    code = "".join(file.content.decode() for path, file in PAGE.items() if path.endswith(".js"))
    names = re.findall(r"^(?:export )?(?:async )?(?:function|class|const|let) (\w+)", code, re.MULTILINE)
    assert len(names) > 30
    assert sorted(names) == sorted(set(names))


def test_the_code_of_the_page_is_all_there_and_small() -> None:
    document = standalone(Results(histories=(), lists={}, audit=NO_AUDIT))
    for path, file in PAGE.items():
        if path.endswith(".js"):
            last = file.content.decode().rstrip().splitlines()[-2]
            assert last in document, path
    assert len(document.encode()) <= 100_000
