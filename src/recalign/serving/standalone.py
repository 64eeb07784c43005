"""The page as one HTML file that needs no server: the same files, put into one, with results in them."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from recalign.artifacts import write_file_atomic
from recalign.data.samples import SampleSet
from recalign.errors import ConfigError
from recalign.serving.data import NO_AUDIT, DataBeside
from recalign.serving.files import PAGE
from recalign.serving.model_verdicts import told_verdicts
from recalign.serving.models import load_models
from recalign.serving.results import NamedHistory, Results, compute_results, user_histories

_START: Final = "/page/app.js"
_IMPORT: Final = re.compile(r'^import \{[^}]*\} from "(/page/[\w.]+)";\n', re.MULTILINE)
_EXPORT: Final = re.compile(r"^export (?=(?:async )?(?:function|class|const)\b)", re.MULTILINE)


def write_page(
    runs: Sequence[str],
    output: Path,
    *,
    data: Path | None = None,
    likes: Sequence[str] = (),
    dislikes: Sequence[str] = (),
    users: int = 10,
    k: int = 10,
    device: str = "auto",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Results:
    """Let models rank and explain for some histories, and write the page; what was there is replaced at the end.

    Args:
        runs: See `load_models`.
        output: The file, ``.html``.
        data: Prepared data: its catalogue is that of all models, its priors and audit are shown, and `users` of its
            test users where nothing is liked.
        likes, dislikes: Titles or ids of one person, instead of test users.
        k: How many items a list has.
        device: See `Recommender.load`.
        progress: Hears how many lists are done, of how many.

    Raises:
        ConfigError: `output` does not end in ``.html``, there is nobody to recommend to, or as `compute_results`.
        ArtifactError: A directory is no model or no data, or the disk does not take the page.
        DataError, ModelError: As `load_models`, `DataBeside.of`, `user_histories` and `compute_results`.
    """
    if output.suffix != ".html":
        raise ConfigError(f"page {output}", found=f"a name ending in {output.suffix!r}", expected="one in .html")
    asked = bool(likes or dislikes)
    if not asked and data is None:
        hint = "Name test users with --data DIR, or a taste with --likes TITLE."
        raise ConfigError("a page", found="nobody to recommend to", hint=hint)
    models, audit, histories = load_models(runs, device=device, data=data), NO_AUDIT, list[NamedHistory]()
    verdicts = told_verdicts(models, runs, data)
    first = next(iter(models.values()))
    if asked:
        histories = [NamedHistory("one person", first.history(likes, dislikes))]
    if data is not None:
        samples = SampleSet.load(data)
        beside = DataBeside.of(samples, first)
        models, audit = beside.beside(models), beside.audit
        histories = histories or user_histories(samples, users)
    results = compute_results(models, histories, audit, k=k, progress=progress)
    results = results.model_copy(update={"verdicts": verdicts})
    write_file_atomic(output, standalone(results).encode())
    return results


def standalone(results: Results) -> str:
    """The HTML document. Its policy admits its own script, style and icon, and no request at all."""
    script, style = f"\n{''.join(_modules(_START, set()))}", f"\n{_text('/page/style.css')}"
    icon = base64.b64encode(PAGE["/page/icon.svg"].content).decode()
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    parts = {
        '<html lang="en">': '<html lang="en" class="standalone">',
        '<meta charset="utf-8">': (
            f'<meta charset="utf-8">\n  <meta http-equiv="Content-Security-Policy" content="{policy}">'
        ),
        'href="/page/icon.svg"': f'href="data:image/svg+xml;base64,{icon}"',
        '<link rel="stylesheet" href="/page/style.css">': f"<style>{style}</style>",
        '<script type="module" src="/page/app.js"></script>': (
            f'<script id="embedded" type="application/json">{_inert(results.model_dump_json())}</script>\n'
            f'  <script type="module">{script}</script>'
        ),
    }
    document = _text("/")
    for old, new in parts.items():
        before, found, after = document.partition(old)
        assert found, old
        document = before + new + after
    return document


def _modules(path: str, done: set[str]) -> Iterator[str]:
    """The module at `path` after all that it imports, each once and without imports and exports: one script.

    Names at the top of the modules are all different, which a test holds.
    """
    done.add(path)
    code = _text(path)
    for imported in _IMPORT.findall(code):
        if imported not in done:
            yield from _modules(imported, done)
    yield _EXPORT.sub("", _IMPORT.sub("", code))


def _text(path: str) -> str:
    return PAGE[path].content.decode()


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _inert(document: str) -> str:
    """JSON without a character that HTML gives a meaning, so that no title ends the element that it stands in."""
    return document.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
