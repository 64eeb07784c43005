"""`push`: the LoRA of a run to a hub, with a card whose numbers are the run's.

::

    README.md                                       the card
    adapter_config.json, adapter_model.safetensors  the LoRA, in PEFT's format
    template.toml, recalign.json                    how to ask it: the template, and the facts for programs

There is no catalogue in it, no rating, no name of a user or an item, no path of this machine. The files depend on the
model, its results and the options alone, so a second push of the same has nothing to commit.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from huggingface_hub import CommitOperationAdd, HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

from recalign.artifacts import read_manifest
from recalign.errors import ArtifactError, ConfigError
from recalign.experiment.model_card import Measured, TrainedOn, card_data, measured, sections, trained_on
from recalign.models.backbone import quiet_progress
from recalign.tuning.export import check_form, write_model
from recalign.tuning.export_card import PEFT, ExportFacts, Question, render_card
from recalign.tuning.model_artifact import KIND as MODEL
from recalign.tuning.model_artifact import model_directory

_CLIENT: Final = logging.getLogger("huggingface_hub")
FACTS_FILE: Final = "recalign.json"
_OF_THE_HUB: Final = {".gitattributes", "README.md"}  # what a repository may have before its first push
_HUB_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")
_LICENCE: Final = re.compile(r"[a-z0-9][a-z0-9.+-]*")
_ADDRESS: Final = re.compile(r"\w+://\S+")
# The roots of what the hub's client raises for a refusal or a failing network; bad replies; a failed upload.
_FAILURES: tuple[type[BaseException], ...] = (*HfHubHTTPError.__bases__, ValueError, RuntimeError)


@dataclass(frozen=True)
class Pushed:
    """What a push did, or would do.

    Attributes:
        files: Names and sizes in bytes.
        measured: Results in the card.
        trained_on: Data whose labels the model has seen.
        url: Address of the model; "" where nothing was sent.
        commit: The newest commit of the repository; "" where nothing was sent.
        changed: Whether there was something to commit.
        public: Whether everybody can see it.
    """

    files: tuple[tuple[str, int], ...]
    measured: tuple[Measured, ...]
    trained_on: tuple[TrainedOn, ...]
    url: str = ""
    commit: str = ""
    changed: bool = False
    public: bool = False


def push(
    run: str | Path,
    repository: str,
    *,
    public: bool = False,
    dry_run: bool = False,
    backbone: str | None = None,
    base_model: str | None = None,
    licence: str | None = None,
) -> Pushed:
    """Send the LoRA of a tuned model to a hub, as `recalign push` does. After an interruption, the same call goes on.

    The hub is that of ``HF_ENDPOINT``; the token is that of ``HF_TOKEN`` or of ``hf auth login``.

    Args:
        run: A run with one model, a model of a run (``RUN/models/NAME``), or a model directory.
        repository: Hub id, ``owner/name``. It is made where it does not exist, and only its owner can see it.
        public: Let everybody see it, once it is complete.
        dry_run: Make the files and list them; ask no hub.
        backbone: Path or hub id of the backbone, where it is no longer where the model says.
        base_model: Hub id that others find the backbone under, where it is a directory here.
        licence: Of the model, by the hub's names, such as ``apache-2.0``; that of the base if not given.

    Raises:
        ConfigError: A wrong id or licence; no token; a model that is no LoRA on a model that others have; a repository
            that is public although `public` was not given, or that holds something else.
        ArtifactError: `run` holds no model or a damaged one; the hub refuses, or cannot be reached.
        ModelError: The backbone cannot be loaded, or is another one.
    """
    directory = model_directory(Path(run))
    _check_options(repository, base_model, licence)
    read_manifest(directory, kind=MODEL)  # a damaged model is refused before anything is sent
    check_form(directory, PEFT, backbone)
    rows, data = measured(directory), trained_on(directory)
    api = HfApi()
    if not dry_run:
        _check_repository(api, repository, public)
    with TemporaryDirectory(prefix="recalign-push-") as folder:
        staging = Path(folder)
        facts, question = write_model(directory, PEFT, staging, backbone=backbone, base=base_model)
        if base_model is not None and facts.base.revision is not None:
            expected = "none: this base has a hub id, at a revision that is known"
            raise ConfigError("option --base-model", found=base_model, expected=expected)
        _describe(repository, facts, question, licence, (rows, data), staging)
        files = sorted(path for path in staging.iterdir())
        listed = tuple((path.name, path.stat().st_size) for path in files)
        done = Pushed(listed, tuple(rows), tuple(data))
        return done if dry_run else _send(api, repository, files, public, done)


def _check_options(repository: str, base_model: str | None, licence: str | None) -> None:
    for thing, value in (("repository", repository), ("option --base-model", base_model)):
        if value is not None and not _HUB_ID.fullmatch(value):
            raise ConfigError(thing, found=repr(value), expected="a hub id, owner/name")
    if licence is not None and not _LICENCE.fullmatch(licence):
        raise ConfigError("option --license", found=repr(licence), expected="a name of the hub's list, as apache-2.0")


def _describe(
    repository: str,
    facts: ExportFacts,
    question: Question,
    licence: str | None,
    told: tuple[Sequence[Measured], Sequence[TrainedOn]],
    staging: Path,
) -> None:
    """Write card and facts."""
    base, (rows, data) = facts.base, told
    if not base.published:
        hint = "Name the model that it is a copy of: --base-model OWNER/NAME."
        raise ConfigError(f"base {base.name} of the LoRA", found="a directory", expected="a hub id", hint=hint)
    stated = licence or base.licence
    if stated is None:
        hint = "Look it up, and name it by the hub's list: --license apache-2.0."
        raise ConfigError(f"licence of the base {base.name}", found="none named in its files", hint=hint)
    head = card_data(repository, facts, stated, rows).to_yaml()
    card = render_card(facts, question, head=head, place=repository, sections=sections(rows, data))
    (staging / "README.md").write_text(card, encoding="utf-8")
    document = json.dumps(asdict(facts), indent=2, sort_keys=True)
    (staging / FACTS_FILE).write_text(document + "\n", encoding="utf-8")


def _check_repository(api: HfApi, repository: str, public: bool) -> None:
    """Refuse a repository that this push may not write, before anything is loaded."""
    if get_token() is None:
        hint = "Log in with `hf auth login`, or set HF_TOKEN."
        raise ConfigError(f"push to {repository}", found="no token", expected="one that may write there", hint=hint)
    with _hub_errors(repository):
        try:
            info = api.model_info(repository)
        except RepositoryNotFoundError:
            return
    if not info.private and not public:
        hint = "Say --public, or choose another name."
        raise ConfigError(f"repository {repository}", found="a public one", expected="a private one", hint=hint)
    files = {sibling.rfilename for sibling in info.siblings or ()}
    if FACTS_FILE not in files and files - _OF_THE_HUB:
        raise ConfigError(
            f"repository {repository}",
            found=f"files that recalign did not push, such as {min(files - _OF_THE_HUB)}",
            expected="a new repository, or one of an earlier push",
        )


def _send(api: HfApi, repository: str, files: Sequence[Path], public: bool, done: Pushed) -> Pushed:
    with quiet_progress(not sys.stderr.isatty()), _hub_errors(repository):
        url = str(api.create_repo(repository, private=True, exist_ok=True))
        before = api.model_info(repository)
        commit = api.create_commit(
            repository,
            [CommitOperationAdd(path.name, path) for path in files],
            commit_message="LoRA of recalign, with its results" if done.measured else "LoRA of recalign",
            parent_commit=before.sha,
        )
        if public and before.private:
            api.update_repo_settings(repository, private=False)
    changed = commit.oid != before.sha
    return Pushed(done.files, done.measured, done.trained_on, url, commit.oid, changed, public)


@contextmanager
def _hub_errors(repository: str) -> Iterator[None]:
    """Tell a failure of the hub in one line. Addresses are left out: those of an upload carry a signature."""
    level = _CLIENT.level
    _CLIENT.setLevel(logging.ERROR)  # it warns where there is nothing to commit, which is no mishap here
    try:
        yield
    except _FAILURES as error:
        hint = "What has arrived is kept: the same command goes on. Nobody sees an incomplete push."
        raise ArtifactError(f"push to {repository}", found=_reason(error), hint=hint) from None
    finally:
        _CLIENT.setLevel(level)


def _reason(error: BaseException) -> str:
    cause = error if isinstance(error, HfHubHTTPError) else error.__cause__ or error
    if isinstance(cause, HfHubHTTPError):
        said = cause.server_message or cause.response.reason_phrase
        return f"status {cause.response.status_code}: {_ADDRESS.sub('…', said)[:300]}"
    lines = _ADDRESS.sub("…", str(cause)).strip().splitlines() or [""]
    return f"{type(cause).__name__}: {lines[0][:300]}"
