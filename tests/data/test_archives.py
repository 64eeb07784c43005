"""Archives from strangers: what is plain comes out, what is not is refused, and nothing lands outside."""

from __future__ import annotations

import io
import random
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recalign.data.archives import Limits, unpack
from recalign.errors import DataError, RecalignError

FILES = {"ml/u.data": b"1\t2\t3\t4\n" * 100, "ml/sub/u.item": "Café".encode("latin-1"), "empty": b""}


def make_zip(path: Path, files: dict[str, bytes], **changes: Callable[[zipfile.ZipInfo], None]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            for change in changes.values():
                change(info)
            bundle.writestr(info, content)
    return path


def make_tar(path: Path, files: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as bundle:  # type: ignore[call-overload]
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            bundle.addfile(info, io.BytesIO(content))
    return path


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "target"
    path.mkdir()
    return path


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tar.bz2"])
def test_plain_archives_come_out_whole(tmp_path: Path, target: Path, kind: str) -> None:
    path = tmp_path / f"a.{kind}"
    if kind == "zip":
        make_zip(path, {"ml/": b"", **FILES})
    else:
        make_tar(path, FILES, "w:" + kind.removeprefix("tar").removeprefix("."))
    unpack(path, target)
    assert tree(target) == FILES
    assert not any(p.stat().st_mode & 0o111 for p in target.rglob("*") if p.is_file())


def test_a_tar_of_a_folder_itself(tmp_path: Path, target: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as bundle:
        folder = tarfile.TarInfo("./")
        folder.type = tarfile.DIRTYPE
        bundle.addfile(folder)
        bundle.addfile(tarfile.TarInfo("./a"), io.BytesIO())
    unpack(path, target)
    assert tree(target) == {"a": b""}


EVIL_NAMES = [
    "../evil",
    "a/../../evil",
    "/evil",
    "//evil",
    "C:\\evil",
    "C:evil",
    "..\\evil",
    "a//b",
    "a/./b",
    "a\nb",
    "a" * 300,
    "..",
    ".",
]


@pytest.mark.parametrize("name", EVIL_NAMES)
@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_names_that_lead_elsewhere(
    tmp_path: Path, target: Path, make: Callable[[Path, dict[str, bytes]], Path], name: str
) -> None:
    path = make(tmp_path / "archive", {"good": b"1", name: b"evil"})
    with pytest.raises(DataError, match="member"):
        unpack(path, target)
    assert {p.name for p in tmp_path.iterdir()} == {"archive", "target"}
    assert b"evil" not in tree(target).values()


@pytest.mark.parametrize(
    "names", [("a", "a"), ("Readme", "README"), ("caf\u00e9", "cafe\u0301"), ("d/", "d"), ("f", "f/g")]
)
def test_names_that_collide(tmp_path: Path, target: Path, names: tuple[str, str]) -> None:
    path = tmp_path / "a.zip"
    with (
        pytest.warns(UserWarning, match="Duplicate") if names == ("a", "a") else _nothing(),
        zipfile.ZipFile(path, "w") as bundle,
    ):
        for name in names:
            bundle.writestr(name, b"")
    with pytest.raises(DataError):
        unpack(path, target)


class _nothing:
    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFBLK, stat.S_IFSOCK])
def test_zip_links_and_devices(tmp_path: Path, target: Path, kind: int) -> None:
    def mark(info: zipfile.ZipInfo) -> None:
        info.external_attr = (kind | 0o777) << 16

    path = make_zip(tmp_path / "a.zip", {"link": b"/etc/passwd"}, mark=mark)
    with pytest.raises(DataError, match="link or device"):
        unpack(path, target)
    assert tree(target) == {}


@pytest.mark.parametrize(
    "kind",
    [
        tarfile.SYMTYPE,
        tarfile.LNKTYPE,
        tarfile.CHRTYPE,
        tarfile.BLKTYPE,
        tarfile.FIFOTYPE,
        tarfile.GNUTYPE_SPARSE,
        b"Z",
    ],
)
def test_tar_links_and_devices(tmp_path: Path, target: Path, kind: bytes) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as bundle:
        info = tarfile.TarInfo("link")
        info.type, info.linkname = kind, "../../outside"
        bundle.addfile(info)
        bundle.addfile(tarfile.TarInfo("link/evil"), io.BytesIO())
    with pytest.raises(DataError):
        unpack(path, target)
    assert not any(p.is_symlink() for p in target.rglob("*"))


def test_bombs_by_ratio_total_and_number(tmp_path: Path, target: Path) -> None:
    zeros = make_zip(tmp_path / "a.zip", {"zeros": bytes(3_000_000)})
    limits = Limits(free_bytes=1_000_000)
    with pytest.raises(DataError, match="per packed byte"):
        unpack(zeros, target, limits)
    assert sum(p.stat().st_size for p in target.rglob("*")) <= 1_048_576
    noise = random.Random(0).randbytes(3_000_000)
    honest = make_tar(tmp_path / "a.tar.gz", {"noise": noise}, "w:gz")
    for number, bad in enumerate([Limits(total_bytes=2_000_000), Limits(members=0)]):
        folder = tmp_path / f"t{number}"
        folder.mkdir()
        with pytest.raises(DataError, match=r"bytes in all|more than 0 members"):
            unpack(honest, folder, bad)
    folder = tmp_path / "t"
    folder.mkdir()
    unpack(honest, folder, limits)


def test_a_tar_header_of_gigabytes_is_not_read(tmp_path: Path, target: Path) -> None:
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 2**40
    path = tmp_path / "a.tar"
    path.write_bytes(header.tobuf(tarfile.GNU_FORMAT) + bytes(10_240))
    with pytest.raises(DataError, match="damaged"):
        unpack(path, target)


def test_encrypted_and_exotic_members(tmp_path: Path, target: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {"a": b"secret"})
    content = bytearray(path.read_bytes())
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="encrypted"):
        unpack(path, target)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as bundle:
        bundle.writestr("a", b"x")
    with pytest.raises(DataError, match="compression method 14"):
        unpack(path, target)


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 no", b"\x1f\x8b no", b"BZh no", bytes(2048)])
def test_what_is_no_archive(tmp_path: Path, target: Path, content: bytes) -> None:
    path = tmp_path / "a"
    path.write_bytes(content)
    if content == bytes(2048):
        unpack(path, target)  # an empty tar, which is one
        return
    with pytest.raises(DataError, match="no archive, or a damaged one"):
        unpack(path, target)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(["zip", "tar", "tar.gz"]),
    at=st.integers(0, 5000),
    byte=st.integers(1, 255),
    cut=st.integers(0, 9),
)
def test_damaged_archives_never_escape(tmp_path: Path, kind: str, at: int, byte: int, cut: int) -> None:
    path, target = tmp_path / "a", tmp_path / "target"
    make_zip(path, FILES) if kind == "zip" else make_tar(path, FILES, "w:gz" if kind == "tar.gz" else "w")
    content = bytearray(path.read_bytes())
    content[at % len(content)] ^= byte
    path.write_bytes(content[: len(content) - cut * 20] if cut else content)
    for left in target.rglob("*"):
        if left.is_file():
            left.unlink()
    fresh = target / str(len(list(target.glob("*")))) if target.exists() else target / "0"
    fresh.mkdir(parents=True)
    try:
        unpack(path, fresh)
    except RecalignError:
        return
    finally:
        assert {p.name for p in tmp_path.iterdir()} == {"a", "target"}
