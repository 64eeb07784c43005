"""Artefacts: complete or not there, damage noticed, faults injected through `artifacts.io`."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from recalign import artifacts
from recalign.artifacts import (
    MANIFEST_NAME,
    already,
    append_info,
    find_finished,
    fingerprint,
    read_manifest,
    write_directory,
    write_file_atomic,
)
from recalign.artifacts.manifest import encode, is_inside
from recalign.errors import ArtifactError


def make(target: Path, text: str = "one", **options: Any) -> Path:
    """Write a small artefact of kind ``sample`` with a file in a subdirectory."""
    with write_directory(target, "sample", config={"text": text}, **options) as staging:
        (staging / "data.txt").write_text(text * 100)
        (staging / "deep" / "er").mkdir(parents=True)
        (staging / "deep" / "er" / "more.bin").write_bytes(bytes(range(256)))
    return target


def only(folder: Path) -> list[str]:
    """Names in `folder`, hidden ones included."""
    return sorted(path.name for path in folder.iterdir())


def fail_at(monkeypatch: pytest.MonkeyPatch, method: str, number: int, calls: int = 1) -> list[int]:
    """Make the n-th call (from 1) of ``artifacts.io.<method>`` raise the error number; return the call counter."""
    count = [0]
    original = getattr(artifacts.io, method)

    def failing(*arguments: Any) -> Any:
        count[0] += 1
        if count[0] == calls:
            raise OSError(number, os.strerror(number))
        return original(*arguments)

    monkeypatch.setattr(artifacts.io, method, failing)
    return count


# ---- writing and reading ----


def test_round_trip(tmp_path: Path) -> None:
    info: dict[str, Any] = {"rows": np.int64(3)}
    with write_directory(
        tmp_path / "a" / "b", "sample", config={"x": (1, 2)}, parents={"p": "f" * 64}, info=info
    ) as staging:
        (staging / "data.txt").write_text("hello")
        info["seconds"] = 1.5  # known only at the end
        assert staging.parent == tmp_path / "a"
        assert not (tmp_path / "a" / "b").exists()
    manifest = read_manifest(tmp_path / "a" / "b", kind="sample")
    assert manifest.config == {"x": [1, 2]}
    assert manifest.parents == {"p": "f" * 64}
    assert manifest.info == {"rows": 3, "seconds": 1.5}
    assert manifest.files["data.txt"].bytes == 5
    assert only(tmp_path / "a") == ["b"]
    assert only(tmp_path / "a" / "b") == ["data.txt", "manifest.json"]


def test_fingerprint_depends_on_content_only(tmp_path: Path) -> None:
    first = read_manifest(make(tmp_path / "a", info={"seconds": 1}))
    second = read_manifest(make(tmp_path / "b", info={"seconds": 2}))
    third = read_manifest(make(tmp_path / "c", parents={"p": "f"}))
    fourth = read_manifest(make(tmp_path / "d", text="two"))
    assert first.fingerprint == second.fingerprint
    assert len({first.fingerprint, third.fingerprint, fourth.fingerprint}) == 3


def test_fingerprint_function() -> None:
    class Config(BaseModel):
        b: int = 2
        a: tuple[float, ...] = (1.0,)

    assert fingerprint(Config()) == fingerprint({"a": [1.0], "b": 2})
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})
    assert len(fingerprint(None)) == 64
    with pytest.raises(ValueError, match="finite"):
        fingerprint({"a": float("nan")})
    with pytest.raises(TypeError):
        fingerprint({1: "a"})
    with pytest.raises(TypeError):
        fingerprint({"a": object()})


_SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()


@given(st.recursive(_SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8))
def test_fingerprint_survives_json(value: Any) -> None:
    assert fingerprint(json.loads(json.dumps(value))) == fingerprint(value)


def test_existing_target(tmp_path: Path) -> None:
    make(tmp_path / "a")
    with pytest.raises(ArtifactError, match=r"a exists already\. .*--overwrite"):
        make(tmp_path / "a", text="two")
    assert read_manifest(tmp_path / "a").config == {"text": "one"}
    (tmp_path / "empty").mkdir()
    make(tmp_path / "empty")
    assert only(tmp_path) == ["a", "empty"]


def test_overwrite(tmp_path: Path) -> None:
    make(tmp_path / "a")
    make(tmp_path / "a", text="two", overwrite=True)
    assert read_manifest(tmp_path / "a").config == {"text": "two"}
    assert only(tmp_path) == ["a"]


def test_overwrite_spares_what_is_no_such_artefact(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("years of work")
    with pytest.raises(ArtifactError, match="will not overwrite"):
        make(tmp_path / "home", overwrite=True)
    make(tmp_path / "a")
    with (
        pytest.raises(ArtifactError, match=r"will not overwrite .* found 'sample'; expected an artefact of kind 'run'"),
        write_directory(tmp_path / "a", "run", config={}, overwrite=True),
    ):
        pass
    (tmp_path / "a" / MANIFEST_NAME).write_text("{")
    with pytest.raises(ArtifactError, match="will not overwrite"):
        make(tmp_path / "a", overwrite=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match="will not overwrite"):
        make(tmp_path / "file", overwrite=True)
    assert (tmp_path / "home" / "thesis.txt").read_text() == "years of work"
    assert only(tmp_path) == ["a", "file", "home"]


def test_target_that_is_a_link(tmp_path: Path) -> None:
    make(tmp_path / "real")
    (tmp_path / "link").symlink_to("real")
    make(tmp_path / "link", text="two", overwrite=True)
    assert (tmp_path / "link").is_symlink()
    assert read_manifest(tmp_path / "real").config == {"text": "two"}
    assert read_manifest(tmp_path / "link").config == {"text": "two"}


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_exception_in_the_block(tmp_path: Path, error: type[BaseException]) -> None:
    make(tmp_path / "a")

    def interrupted() -> None:
        with write_directory(tmp_path / "a", "sample", config={}, overwrite=True) as staging:
            (staging / "data.txt").write_text("half")
            raise error

    with pytest.raises(error):
        interrupted()
    assert read_manifest(tmp_path / "a").config == {"text": "one"}
    assert only(tmp_path) == ["a"]


@pytest.mark.parametrize("name", [MANIFEST_NAME, "link", "pipe"])
def test_staged_oddities_are_refused(tmp_path: Path, name: str) -> None:
    def odd() -> None:
        with write_directory(tmp_path / "a", "sample", config={}) as staging:
            if name == "link":
                (staging / name).symlink_to("/etc/passwd")
            elif name == "pipe":
                os.mkfifo(staging / name)
            else:
                (staging / name).write_text("{}")

    with pytest.raises(ArtifactError, match=f"cannot publish '{name}'"):
        odd()
    assert only(tmp_path) == []


def test_config_without_json_form_fails_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(TypeError), write_directory(tmp_path / "a", "sample", config={"x": object()}):
        pytest.fail("the block ran")
    assert only(tmp_path) == []


def test_artefact_inside_an_artefact(tmp_path: Path) -> None:
    with write_directory(tmp_path / "run", "run", config={}) as staging:
        make(staging / "adapter")
    assert sorted(read_manifest(tmp_path / "run").files) == [
        "adapter/data.txt",
        "adapter/deep/er/more.bin",
        "adapter/manifest.json",
    ]
    assert read_manifest(tmp_path / "run" / "adapter", kind="sample").config == {"text": "one"}


def test_unlisted_files_are_ignored(tmp_path: Path) -> None:
    make(tmp_path / "a")
    (tmp_path / "a" / "notes.log").write_text("seen by me")
    assert "notes.log" not in read_manifest(tmp_path / "a").files


# ---- damage ----


@pytest.mark.parametrize("name", ["data.txt", "deep/er/more.bin", MANIFEST_NAME])
def test_any_flipped_bit_is_refused(tmp_path: Path, name: str) -> None:
    path = make(tmp_path / "a", info={"rows": 3}) / name
    content = path.read_bytes()
    generator = np.random.default_rng(0)
    for _ in range(40):
        position, bit = int(generator.integers(len(content))), int(generator.integers(8))
        if name == MANIFEST_NAME and content[position : position + 1].isspace():
            continue  # layout only: a flip there either breaks the JSON or changes nothing that is read
        changed = bytearray(content)
        changed[position] ^= 1 << bit
        path.write_bytes(changed)
        with pytest.raises(ArtifactError, match=name):
            read_manifest(tmp_path / "a")
    path.write_bytes(content)
    read_manifest(tmp_path / "a")


@pytest.mark.parametrize("name", ["data.txt", MANIFEST_NAME])
@pytest.mark.parametrize("keep", [0, 1, 100, -1])
def test_truncated_file_is_refused(tmp_path: Path, name: str, keep: int) -> None:
    path = make(tmp_path / "a") / name
    content = path.read_bytes()
    path.write_bytes(content[:keep] if name != MANIFEST_NAME else content.rstrip()[:keep])
    with pytest.raises(ArtifactError, match=name):
        read_manifest(tmp_path / "a")


def test_missing_file_and_zeroed_tail(tmp_path: Path) -> None:
    path = make(tmp_path / "a") / "data.txt"
    content = path.read_bytes()
    path.write_bytes(content[:-50] + bytes(50))
    with pytest.raises(ArtifactError, match=r"data\.txt is damaged; found sha256 \w{12}; expected \w{12}\."):
        read_manifest(tmp_path / "a")
    assert read_manifest(tmp_path / "a", verify=False).kind == "sample"
    path.unlink()
    with pytest.raises(ArtifactError, match=r"data\.txt is damaged; found no such file; expected 300 bytes"):
        read_manifest(tmp_path / "a")


def test_read_errors(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no artefact of recalign; found no such directory"):
        read_manifest(tmp_path / "nowhere" / "a")
    with pytest.raises(ArtifactError, match=r"no artefact of recalign; found no manifest\.json in it"):
        read_manifest(tmp_path)
    make(tmp_path / "a")
    with pytest.raises(ArtifactError, match="another kind; found 'sample'; expected 'run'"):
        read_manifest(tmp_path / "a", kind="run")
    (tmp_path / "file").write_text("x")
    with pytest.raises(ArtifactError, match="file is no artefact of recalign; found a file"):
        read_manifest(tmp_path / "file")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"kind": NaN}',
        b"[" * 100_000,
        b'{"kind": "sample"}',
        b'{"a": 1' + b"1" * 9999,
    ],
)
def test_torn_or_foreign_manifest(tmp_path: Path, content: bytes) -> None:
    make(tmp_path / "a")
    (tmp_path / "a" / MANIFEST_NAME).write_bytes(content)
    with pytest.raises(ArtifactError, match=r"manifest\.json is damaged") as caught:
        read_manifest(tmp_path / "a")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def forge(directory: Path, **changes: Any) -> None:
    """Rewrite the manifest with `changes` and matching checksums, as an attacker would."""
    fields = json.loads((directory / MANIFEST_NAME).read_text())
    del fields["checksum"]
    fields.update(changes)
    known = ("kind", "format_version", "config", "parents", "files")
    fields["fingerprint"] = fingerprint({name: fields[name] for name in known})
    (directory / MANIFEST_NAME).write_bytes(encode(fields))


@pytest.mark.parametrize(
    "name", ["../secret", "/etc/passwd", "a/../../secret", "a\\b", ".", "", "a//b", "./a", "C:x", "a\0b", MANIFEST_NAME]
)
def test_path_traversal_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_text("s")
    make(tmp_path / "a")
    forge(tmp_path / "a", files={name: {"sha256": "0" * 64, "bytes": 1}})
    with pytest.raises(ArtifactError, match="does not stay inside the artefact"):
        read_manifest(tmp_path / "a", verify=False)
    assert not is_inside(name)


def test_link_out_of_the_artefact_is_refused(tmp_path: Path) -> None:
    make(tmp_path / "a")
    (tmp_path / "a" / "data.txt").rename(tmp_path / "data.txt")
    (tmp_path / "a" / "data.txt").symlink_to(tmp_path / "data.txt")
    with pytest.raises(ArtifactError, match="link that leaves the artefact"):
        read_manifest(tmp_path / "a")


def test_newer_and_unknown_formats(tmp_path: Path) -> None:
    make(tmp_path / "a")
    forge(tmp_path / "a", format_version=2, novelty=1)
    with pytest.raises(ArtifactError, match=r"newer recalign; found format version 2; expected at most 1\. Upgrade"):
        read_manifest(tmp_path / "a")
    forge(tmp_path / "a", format_version=1)
    with pytest.raises(ArtifactError, match="novelty"):
        read_manifest(tmp_path / "a")


# ---- storage faults ----


@pytest.mark.parametrize(
    ("method", "number", "words"),
    [
        ("write", errno.ENOSPC, "no space left"),
        ("fsync", errno.ENOSPC, "no space left"),
        ("fsync", errno.EDQUOT, "quota"),
        ("mkdir", errno.ENOSPC, "no space left"),
        ("open", errno.ENOSPC, "no space left"),
        ("mkdir", errno.EROFS, "read-only"),
        ("mkdir", errno.EACCES, "Permission denied"),
        ("fsync", errno.EIO, "Input/output error"),
        ("rename", errno.EXDEV, "another device"),
        ("rename", errno.EBUSY, "busy"),
    ],
)
def test_storage_faults_leave_the_old_artefact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, number: int, words: str
) -> None:
    make(tmp_path / "a")
    for call in range(1, 30):
        with monkeypatch.context() as patch:
            count = fail_at(patch, method, number, call)
            try:
                make(tmp_path / "a", text="two", overwrite=True)
            except ArtifactError as error:
                assert words in str(error)  # noqa: PT017  (which calls fail is what the loop is about)
                assert str(tmp_path / "a") in str(error)  # noqa: PT017
                assert "\n" not in str(error)  # noqa: PT017
        published = read_manifest(tmp_path / "a").config["text"]
        assert published in ("one", "two")
        assert [name for name in only(tmp_path) if ".lock" not in name] == ["a"]
        if count[0] < call:
            break
        if published == "two":
            make(tmp_path / "a", text="one", overwrite=True)
    assert call > 1, "the fault was never injected"
    assert published == "two"


def test_full_disk_while_the_block_writes(tmp_path: Path) -> None:
    def full(error: Exception) -> None:
        with write_directory(tmp_path / "a", "sample", config={}):
            raise error

    native = RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")
    for error in (OSError(errno.ENOSPC, "No space left on device"), native):
        with pytest.raises(ArtifactError, match=r"cannot write .*a; found no space left on the device"):
            full(error)
    with pytest.raises(FileNotFoundError):  # no storage fault of ours: stays what it is
        full(FileNotFoundError(errno.ENOENT, "No such file", "input.csv"))
    assert only(tmp_path) == []


def test_previous_that_cannot_be_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "a")
    with monkeypatch.context() as patch:
        fail_at(patch, "rmtree", errno.EACCES)
        with pytest.raises(
            ArtifactError, match=r"a is published, but its previous state is still there; found .*previous"
        ):
            make(tmp_path / "a", text="two", overwrite=True)
    assert read_manifest(tmp_path / "a").config == {"text": "two"}
    make(tmp_path / "a", text="three", overwrite=True)
    assert only(tmp_path) == ["a"]


def test_real_read_only_parent(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root writes everywhere")
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(ArtifactError, match="Permission denied"):
        make(tmp_path / "locked" / "a")


# ---- kill -9 ----

_KILL_DRIVER = """
import os, signal, sys
from pathlib import Path
from recalign import artifacts
from recalign.artifacts import read_manifest, write_directory, append_info

root, overwrite = Path(sys.argv[1]), sys.argv[2] == "overwrite"

def write(text):
    with write_directory(root / "a", "sample", config={"text": text}, overwrite=overwrite) as staging:
        (staging / "data.txt").write_text(text * 1000)
        (staging / "more").mkdir()
        (staging / "more" / "data.txt").write_text(text)

def die_at(limit):
    count = 0
    def wrap(original):
        def call(*arguments):
            nonlocal count
            count += 1
            if count == limit:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments)
        return call
    for name in ("mkdir", "open", "write", "fsync", "rename", "unlink", "rmtree"):
        setattr(artifacts.io, name, wrap(getattr(artifacts.io, name)))

def in_child(work):
    child = os.fork()
    if child == 0:
        work()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

states, kills = set(), 0
for limit in range(1, 200):
    if overwrite and limit == 1:
        write("old")
    def victim():
        die_at(limit)
        write("new")
    code = in_child(victim)
    assert code in (0, -signal.SIGKILL), code
    kills += code != 0
    if overwrite or (root / "a").exists():
        states.add(read_manifest(root / "a").config["text"])
    else:
        states.add("none")
    if (root / "a").exists() and not overwrite:
        assert code == 0 or read_manifest(root / "a")
        import shutil; shutil.rmtree(root / "a")
    write("old")
    assert read_manifest(root / "a").config["text"] == "old"
    assert sorted(path.name for path in root.iterdir()) == ["a"], list(root.iterdir())
    if not overwrite:
        import shutil; shutil.rmtree(root / "a")
    if code == 0:
        break
else:
    raise AssertionError("never finished")
print(kills, *sorted(states))
"""


@pytest.mark.parametrize(("mode", "states"), [("overwrite", ["new", "old"]), ("fresh", ["new", "none"])])
def test_kill_at_every_storage_call(tmp_path: Path, mode: str, states: list[str]) -> None:
    result = subprocess.run(
        [sys.executable, "-c", _KILL_DRIVER, str(tmp_path), mode], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    kills, *seen = result.stdout.split()
    assert seen == states
    assert int(kills) > 20


def test_staging_of_a_living_writer_is_not_swept(tmp_path: Path) -> None:
    with write_directory(tmp_path / "a", "sample", config={"text": "slow"}, overwrite=True) as staging:
        (staging / "data.txt").write_text("slow")
        make(tmp_path / "a", text="quick", overwrite=True)
        assert staging.exists()
    assert read_manifest(tmp_path / "a").config == {"text": "slow"}
    assert only(tmp_path) == ["a"]


def test_second_writer_does_not_replace_the_first_unasked(tmp_path: Path) -> None:
    def slow() -> None:
        with write_directory(tmp_path / "a", "sample", config={"text": "slow"}):
            make(tmp_path / "a", text="quick")

    with pytest.raises(ArtifactError, match="exists already"):
        slow()
    assert read_manifest(tmp_path / "a").config == {"text": "quick"}


# ---- single files and the log in the manifest ----


def test_write_file_atomic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "new" / "x.json"
    write_file_atomic(path, b"one")
    for method in ("write", "fsync", "rename"):
        with monkeypatch.context() as patch:
            fail_at(patch, method, errno.ENOSPC)
            with pytest.raises(ArtifactError, match=r"x\.json; found no space left"):
                write_file_atomic(path, b"two")
        assert path.read_bytes() == b"one"
        assert only(path.parent) == ["x.json"]
    write_file_atomic(path, b"three")
    assert path.read_bytes() == b"three"


def test_append_info(tmp_path: Path) -> None:
    before = read_manifest(make(tmp_path / "a", info={"rows": 3}))
    append_info(tmp_path / "a", "test_reads", {"by": "evaluate"})
    append_info(tmp_path / "a", "test_reads", {"by": "recommend"})
    after = read_manifest(tmp_path / "a")
    assert after.info == {"rows": 3, "test_reads": [{"by": "evaluate"}, {"by": "recommend"}]}
    assert after.fingerprint == before.fingerprint
    assert after.created == before.created
    with pytest.raises(ArtifactError, match="is no log; found int; expected a list"):
        append_info(tmp_path / "a", "rows", 4)
    with pytest.raises(ArtifactError, match="no artefact"):
        append_info(tmp_path, "rows", 4)
    assert only(tmp_path) == ["a"]
    assert only(tmp_path / "a") == ["data.txt", "deep", "manifest.json"]


def test_append_info_survives_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "a")
    content = (tmp_path / "a" / MANIFEST_NAME).read_bytes()
    fail_at(monkeypatch, "write", errno.ENOSPC)
    with pytest.raises(ArtifactError, match="no space left"):
        append_info(tmp_path / "a", "reads", 1)
    assert (tmp_path / "a" / MANIFEST_NAME).read_bytes() == content


def test_concurrent_appends_lose_nothing(tmp_path: Path) -> None:
    make(tmp_path / "a")
    script = (
        "import sys; from pathlib import Path; from recalign.artifacts import append_info\n"
        "for entry in range(10): append_info(Path(sys.argv[1]), 'log', f'{sys.argv[2]}-{entry}')"
    )
    processes = [subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "a"), str(name)]) for name in range(2)]

    def append(name: str) -> None:
        for entry in range(10):
            append_info(tmp_path / "a", "log", f"{name}-{entry}")

    threads = [threading.Thread(target=append, args=(f"thread{name}",)) for name in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [process.wait(timeout=60) for process in processes] == [0, 0]
    log = read_manifest(tmp_path / "a").info["log"]
    expected = [f"{name}-{entry}" for name in ("0", "1", "thread0", "thread1") for entry in range(10)]
    assert sorted(log) == sorted(expected)


def test_lock_of_a_hung_process_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from recalign.artifacts import storage

    monkeypatch.setattr(storage, "_LOCK_SECONDS", 0.1)
    with storage.locked(tmp_path / "x"), pytest.raises(ArtifactError, match=r"x is in use; found the lock .*\.x\.lock"):
        write_file_atomic(tmp_path / "x", b"")
    write_file_atomic(tmp_path / "x", b"")


# ---- the rule about work that is done already ----


def test_what_the_same_settings_made_is_found(tmp_path: Path) -> None:
    made = {"config": {"text": "one"}, "parents": {"data": "a"}, "derived": ["lists"], "info": {"input": "x"}}
    assert find_finished(tmp_path / "a", "note", **made) is None
    (tmp_path / "a").mkdir()
    assert find_finished(tmp_path / "a", "note", **made) is None, "an empty folder is nothing"
    parents = {"data": "a", "lists": "follows from the data"}
    with write_directory(
        tmp_path / "a", "note", config={"text": "one", "more": 1}, parents=parents, info={"input": "x"}
    ):
        pass
    manifest = read_manifest(tmp_path / "a")
    assert find_finished(tmp_path / "a", "note", **made) == manifest
    assert find_finished(tmp_path / "a", "note", **made, replace=True) is None
    assert already("written", tmp_path / "a").startswith("already written from these inputs and settings: ")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"config": {"text": "two"}}, "text: one -> two"),
        ({"config": {"stage": {"seed": 1}}}, "stage: none -> "),
        ({"parents": {"data": "b"}}, "data: a -> b"),
        ({"parents": {}}, "data: a -> none"),
        ({"parents": {"data": "a", "encoder": "e"}}, "encoder: none -> e"),
        ({"info": {"input": "y"}}, "input: x -> y"),
        ({"info": {"input": None}}, "input: not comparable"),
        ({"info": {"absent": None}}, "absent: not comparable"),
    ],
)
def test_what_others_made_is_refused_with_the_option_that_replaces_it(
    tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    with write_directory(tmp_path / "a", "note", config={"text": "one"}, parents={"data": "a"}, info={"input": "x"}):
        pass
    asked = {"config": {"text": "one"}, "parents": {"data": "a"}, **changes}
    with pytest.raises(ArtifactError, match=rf"a exists already; .*{told}.*--restart") as caught:
        find_finished(tmp_path / "a", "note", **asked, option="--restart")
    assert "\n" not in str(caught.value)
    with pytest.raises(ArtifactError, match="kind: note -> model"):
        find_finished(tmp_path / "a", "model", config={"text": "one"}, parents={"data": "a"})
    with pytest.raises(ArtifactError, match="will not overwrite"):
        find_finished(tmp_path / "a", "model", replace=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(ArtifactError, match=r"exists already.*--restart"):
        find_finished(tmp_path / "mine", "note", option="--restart")


def test_what_is_done_but_damaged_is_not_taken_for_done(tmp_path: Path) -> None:
    make(tmp_path / "a")
    victim = next(path for path in (tmp_path / "a").iterdir() if path.name != MANIFEST_NAME)
    victim.write_bytes(b"?")
    with pytest.raises(ArtifactError, match="damaged"):
        find_finished(tmp_path / "a", read_manifest(tmp_path / "a", verify=False).kind, config={"text": "one"})
