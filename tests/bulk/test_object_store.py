"""Bulk scoring from and to an S3 server: the bytes of plain scoring, and no credential in anything that is left."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from pyarrow.fs import FileSelector, FileSystem

from recalign.bulk.folders import folder_at
from recalign.bulk.places import place
from recalign.bulk.request import Share
from recalign.errors import ArtifactError, DataError, Interrupted

from .conftest import Score, contents, some_events

pytestmark = [
    pytest.mark.extras,
    pytest.mark.skipif(
        find_spec("moto") is None or find_spec("flask") is None, reason="no S3 server: make test-extras installs one"
    ),
]

KEY, SECRET = "AKIDOFTHETEST", "hush-hush-secret"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A server's address, with a bucket `shop`; the usual variables lead there."""
    from moto.server import ThreadedMotoServer

    running = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_ACCESS_KEY_ID", KEY)
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        FileSystem.from_uri("s3://shop?allow_bucket_creation=true")[0].create_dir("shop")
        yield f"{host}:{port}"
    running.stop()


@pytest.fixture
def store(server: str, request: pytest.FixtureRequest) -> str:
    """A URL of its own for each test."""
    return f"s3://shop/{request.node.name}"


def objects(url: str) -> dict[str, bytes]:
    """Names and contents of what is below a URL."""
    filesystem, base = FileSystem.from_uri(url)
    entries = filesystem.get_file_info(FileSelector(base, recursive=True))
    return {entry.path[len(base) + 1 :]: filesystem.open_input_file(entry.path).read() for entry in entries}


def upload(path: Path, url: str) -> str:
    folder, _, name = url.rpartition("/")
    folder_at(place(folder)).write(name, path.read_bytes())
    return url


def test_tables_and_scores_in_a_store_are_those_of_files(score: Score, tmp_path: Path, store: str) -> None:
    events = some_events(60)
    (tmp_path / "parts").mkdir()
    for number in (0, 1):
        part = tmp_path / f"parts/part-{number}.csv"
        events[number::2].write_csv(part)
        upload(part, f"{store}/events/part-{number}.csv")
    score(tmp_path / "parts", tmp_path / "plain", k=3)
    done = score(place(f"{store}/events"), place(f"{store}/scores"), k=3)
    assert str(done.place) == f"{store}/scores"
    assert objects(f"{store}/scores") == contents(tmp_path / "plain")
    assert score(place(f"{store}/events/"), place(f"{store}/scores/"), k=3).missing == ()
    files = score(place(f"file://{tmp_path}/parts"), place(f"file://{tmp_path}/files"), k=3)
    assert contents(Path(str(files.place))) == contents(tmp_path / "plain")


def test_shares_go_on_and_a_half_written_shard_is_made_again(
    score: Score, table: Path, tmp_path: Path, store: str, server: str
) -> None:
    score(table, tmp_path / "plain")
    output = place(f"{store}?endpoint_override={server}&scheme=http&region=us-east-1")
    assert score(table, output, share=Share(1, 2)).missing == (0, 2, 4)
    with pytest.raises(Interrupted):
        score(table, output, signals=[15], progress=lambda done, total: None)
    folder = folder_at(output)
    folder.write("part-00001.parquet", b"half")
    folder.write("part-00003.json", b"{")
    assert score(table, output).missing == ()
    assert objects(store) == contents(tmp_path / "plain")
    with pytest.raises(ArtifactError, match="another setting k"):
        score(table, output, k=2)
    score(table, output, k=2, restart=True)
    assert objects(store) == contents(Path(str(score(table, tmp_path / "two", k=2).place)))


WORKER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import killed
from recalign.bulk.places import place
killed.Path = place
killed.main(*sys.argv[2:])
"""


def test_two_workers_on_all_shards_leave_one_output_whoever_dies(
    score: Score, table: Path, tmp_path: Path, store: str
) -> None:
    score(table, tmp_path / "plain", k=3, shards=4)
    command = [sys.executable, "-c", WORKER, str(Path(__file__).parent), str(table), store, "4"]
    pair = [subprocess.Popen([*command, pause], stdout=subprocess.PIPE) for pause in ("0.05", "0")]
    with pair[0], pair[1]:
        assert pair[0].stdout is not None
        assert pair[0].stdout.readline()
        assert pair[0].stdout.readline()
        pair[0].kill()
        assert pair[1].wait(120) == 0
    assert objects(store) == contents(tmp_path / "plain")


def test_credentials_are_in_no_object_and_no_message(score: Score, table: Path, store: str) -> None:
    score(table, place(store))
    for text in (KEY.encode(), SECRET.encode()):
        assert not [name for name, content in objects(store).items() if text in content]
    for error, tables, output in (
        (ArtifactError, table, "s3://no-such-bucket/x"),
        (DataError, place(f"{store}/none.csv"), f"{store}/out"),
    ):
        with pytest.raises(error) as caught:
            score(tables, place(output))
        assert "s3://" in str(caught.value)
        assert not {KEY, SECRET} & set(str(caught.value).split())
        assert "\n" not in str(caught.value)
    assert os.environ["AWS_SECRET_ACCESS_KEY"] == SECRET
