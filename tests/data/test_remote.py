"""Files behind URLs: every format, broken connections, changed files, credentials, the cache."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

import broken_server
import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from broken_server import BrokenServer
from corpora import TASK

from antiphon.config import SourceConfig
from antiphon.data.fingerprint import fingerprints, refuse_changes
from antiphon.data.lines import Cursor, LineReader
from antiphon.data.remote import cache as cache_module
from antiphon.data.remote import filesystem, reading, retrying
from antiphon.data.remote.cache import open_cached
from antiphon.data.remote.reading import RemoteFile, open_remote
from antiphon.data.sources import check_files, records, rows, text_bytes
from antiphon.errors import ConfigError, DataError, ReadError
from antiphon.urls import FileCache, RemoteName, hide, is_url, known_name

PAIRS = [(f"source {number} " + "word " * (number % 7), f"Ziel {number} – ü") for number in range(400)]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "FIRST_DELAY", 0.001)
    monkeypatch.setattr(reading, "BLOCK_BYTES", 5000)  # so that a small file has many blocks
    monkeypatch.setattr(reading, "LEAST_BYTES", 100)


@pytest.fixture
def server() -> Iterator[BrokenServer]:
    with broken_server.serving() as made:
        made.files |= contents()
        yield made


def contents() -> dict[str, bytes]:
    """The pairs in every format."""
    rows = [{"source": one, "target": other} for one, other in PAIRS]
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), sink, row_group_size=64)
    made = {
        "a.jsonl": lines,
        "a.tsv": "".join(f"{one}\t{other}\n" for one, other in PAIRS).encode(),
        "a.csv": ("source,target\n" + "".join(f'"{one}","{other}"\n' for one, other in PAIRS)).encode(),
        "a.parquet": sink.getvalue().to_pybytes(),
        "a.en": "".join(f"{one}\n" for one, _ in PAIRS).encode(),
        "a.de": "".join(f"{other}\n" for _, other in PAIRS).encode(),
    }
    packed = {f"{name}.gz": gzip.compress(made[name]) for name in ("a.jsonl", "a.en", "a.de")}
    return (
        made | packed | {f"{name}.zst": zstandard.compress(made[name]) for name in ("a.jsonl", "a.tsv", "a.en", "a.de")}
    )


FORMATS = ["jsonl", "tsv", "csv", "parquet", "jsonl.gz", "jsonl.zst", "tsv.zst", "en", "en.gz", "en.zst"]


def source_of(server: BrokenServer, kind: str) -> SourceConfig:
    if kind.startswith("en"):
        return SourceConfig(source=f"{server.url}/a.{kind}", target=f"{server.url}/a.{kind.replace('en', 'de')}")
    return SourceConfig(path=f"{server.url}/a.{kind}")


@pytest.mark.filterwarnings("ignore:reading .* failed 3 times")
@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_across_broken_connections(server: BrokenServer, kind: str) -> None:
    server.breaks, server.after = 9, 700
    data = source_of(server, kind)
    check_files(data)
    assert [(one, other) for one, other, _ in records(data, TASK)] == PAIRS
    assert server.breaks < 9, "no connection was broken"


@pytest.mark.parametrize("kind", FORMATS)
def test_reading_resumes_at_any_row(server: BrokenServer, kind: str) -> None:
    data = source_of(server, kind)
    found = list(rows(data))
    for place in (0, 1, 199, 398, 399):
        again = list(rows(data, found[place].cursor))
        assert [row.record for row in again] == [row.record for row in found[place + 1 :]]
        assert [row.place for row in again] == [row.place for row in found[place + 1 :]]


def test_a_plain_file_is_resumed_by_a_range(server: BrokenServer) -> None:
    data = source_of(server, "jsonl")
    cursor = list(rows(data))[-10].cursor
    server.requests.clear()
    assert len(list(rows(data, cursor))) == 9
    assert [wanted.split("-")[0] for _, wanted in server.requests] == [f"bytes={cursor.offsets[0]}"]


@pytest.mark.parametrize(("ranges", "sized"), [(False, True), (False, False), (True, False)])
def test_a_server_without_ranges_or_sizes(server: BrokenServer, ranges: bool, sized: bool) -> None:
    server.ranges, server.sized = ranges, sized
    server.breaks, server.after = (3 if sized else 0), 9000  # without a size no break can be seen
    assert [(one, other) for one, other, _ in records(source_of(server, "jsonl"), TASK)] == PAIRS


@pytest.mark.parametrize("status", [429, 500, 503])
def test_refusals_that_pass_are_waited_for(server: BrokenServer, status: int) -> None:
    server.refusals, server.status = 2, status
    assert len(list(records(source_of(server, "jsonl"), TASK))) == len(PAIRS)
    assert server.refusals == 0


def test_waits_double_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(retrying, "FIRST_DELAY", 0.5)
    monkeypatch.setattr(retrying.time, "sleep", waits.append)

    def fail() -> None:
        raise ConnectionResetError("reset")

    with pytest.warns(UserWarning, match="failed 3 times"), pytest.raises(ReadError, match="reset; tried 10 times"):
        retrying.persist(fail, name=RemoteName("s3://b/k", retries=9))
    for wait, most in zip(waits, [0.5, 1, 2, 4, 8, 16, 30, 30, 30], strict=True):
        assert most / 2 <= wait <= most


def test_a_connection_that_stays_broken_names_shard_and_row(server: BrokenServer) -> None:
    server.breaks, server.after = 10**6, 90
    name = RemoteName(f"{server.url}/a.jsonl", retries=3)
    read = LineReader(name, go_on=True)
    seen = []
    with pytest.raises(ReadError) as caught, pytest.warns(UserWarning, match="failed 3 times"):
        seen.extend(read)
    message = str(caught.value)
    assert message.startswith(f"the data file `{server.url}/a.jsonl` cannot be read after row {len(seen)} (")
    assert "tried 4 times" in message and "\n" not in message


def test_a_file_that_is_not_there(server: BrokenServer) -> None:
    with pytest.raises(DataError, match=r"`http://127\.0\.0\.1:\d+/none\.jsonl` cannot be read \(there is none\)"):
        check_files(SourceConfig(path=f"{server.url}/none.jsonl"))


def test_a_file_that_changes_while_it_is_read(server: BrokenServer) -> None:
    with open_remote(RemoteName(f"{server.url}/a.jsonl")) as stream:
        stream.read(100)
        server.files["a.jsonl"] = server.files["a.tsv"]
        server.breaks = 1
        with pytest.raises(DataError, match="must not change while it is read"):
            stream.read()


def test_fingerprints_of_remote_files(server: BrokenServer) -> None:
    data = source_of(server, "en")
    before = fingerprints(data)
    assert [size for size, _ in before.values()] == [len(server.files["a.en"]), len(server.files["a.de"])]
    assert all(version.startswith("etag:") for _, version in before.values())
    refuse_changes(before, fingerprints(data))
    server.files["a.de"] = server.files["a.de"].replace(b"7", b"8")
    with pytest.raises(DataError, match=r"`http.*a\.de` holds other text of the same length"):
        refuse_changes(before, fingerprints(data))
    assert text_bytes(data) == sum(len(server.files[name]) for name in ("a.en", "a.de"))


def test_random_access(server: BrokenServer) -> None:
    content = server.files["a.jsonl"]
    with open_remote(RemoteName(f"{server.url}/a.jsonl")) as stream:
        for start, count in [(0, 10), (9000, 6000), (100, 3), (len(content) - 5, 100), (4990, 20), (len(content), 1)]:
            stream.seek(start)
            assert stream.read(count) == content[start : start + count]
        assert stream.seek(-7, 2) == len(content) - 7 and stream.read() == content[-7:]


# Credentials.

SECRETS = [
    ("https://me:hunter2@host/a.jsonl", "https://***@host/a.jsonl"),
    ("s3://AKIA:hunter2@bucket/a.jsonl", "s3://***@bucket/a.jsonl"),
    ("https://host/a.jsonl?X-Amz-Signature=hunter2&part=3", "https://host/a.jsonl?X-Amz-Signature=***&part=3"),
    ("https://host/a.jsonl?sv=1&sig=hunter2%3D", "https://host/a.jsonl?sv=1&sig=***"),
    ("https://host/a.jsonl?access_token=hunter2", "https://host/a.jsonl?access_token=***"),
    ("https://host/a.jsonl?X-Goog-Credential=hunter2#x", "https://host/a.jsonl?X-Goog-Credential=***#x"),
    ("https://host/a.jsonl?version=3", "https://host/a.jsonl?version=3"),
]


@pytest.mark.parametrize(("url", "shown"), SECRETS)
def test_credentials_are_hidden(url: str, shown: str) -> None:
    name = known_name(url)
    assert isinstance(name, RemoteName) and name.url == url
    for text in (
        f"{name}",
        "".join(["x", name])[1:],
        json.loads(json.dumps(name)),
        name.shown,
        hide(f"at {url} !")[3:-2],
    ):
        assert text == shown
    assert str(name) == shown and RemoteName(name).url == url


def test_a_password_is_used_and_never_shown(server: BrokenServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.password = "hunter2"
    url = server.url.replace("http://", "http://user:hunter2@")
    assert len(list(records(SourceConfig(path=f"{url}/a.jsonl"), TASK))) == len(PAIRS)
    assert "hunter2" not in str(fingerprints(SourceConfig(path=f"{url}/a.jsonl")))
    wrong = server.url.replace("http://", "http://user:hun" + "ter3@")  # in no line that a traceback shows
    query = "token=hun" + "ter4"
    with pytest.raises(DataError, match=r"Check the credentials") as caught:
        list(records(SourceConfig(path=f"{wrong}/a.jsonl?{query}"), TASK))
    text = "".join(traceback.format_exception(caught.value))
    assert "hunter" not in text


def test_what_a_url_is(tmp_path: Path) -> None:
    assert all(
        map(is_url, ["s3://b/k", "zip://a.tsv::s3://b/z.zip", "MEMORY://a", "file:///a", "simplecache::s3://b/k"])
    )
    assert not any(map(is_url, ["a.tsv", "/a/b.tsv", "hub:wmt/wmt19", "C:\\a.tsv", "a: b"]))
    assert known_name("file:///a/b%20c.tsv") == "/a/b c.tsv"
    (tmp_path / "a.tsv").write_text("eins\tone\n")
    assert [pair[:2] for pair in records(SourceConfig(path=f"file://{tmp_path}/a.tsv"), TASK)] == [("eins", "one")]


def test_protocols_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"a URL must have a protocol of fsspec.*`nosuch://a/b.tsv`"):
        check_files(SourceConfig(path="nosuch://a/b.tsv"))
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(ConfigError, match=r"`gs://b/a.tsv` needs the library gcsfs.*pip install 'antiphon\[cloud\]'"):
        check_files(SourceConfig(path="gs://b/a.tsv"))


def test_nothing_imports_fsspec_before_it_is_needed() -> None:
    code = (
        "import sys, antiphon, antiphon.recipe, antiphon.data\n"
        "from antiphon.config import SourceConfig\nSourceConfig(path='s3://b/a.jsonl')\n"
        "assert not {'fsspec', 's3fs', 'aiohttp', 'antiphon.data.remote.reading'} & set(sys.modules), 'imported'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


# The cache.


def cached(server: BrokenServer, folder: Path, most: int, file: str = "a.jsonl") -> RemoteName:
    return RemoteName(f"{server.url}/{file}", cache=FileCache(str(folder), most))


def copies(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir() if path.suffix in (".copy", ".part"))


def test_the_cache_is_read_instead_of_the_server(server: BrokenServer, tmp_path: Path) -> None:
    name = cached(server, tmp_path / "new" / "cache", 10**9)
    for _ in range(2):
        with open_cached(name) as stream:
            assert stream.read() == server.files["a.jsonl"]
    assert len({wanted for _, wanted in server.requests}) == len(server.requests), "a part was fetched twice"
    server.files["a.jsonl"] = server.files["a.tsv"]  # another version is another copy
    with open_cached(name) as stream:
        assert stream.read() == server.files["a.tsv"]


def test_the_cache_keeps_its_bound_and_what_was_used_last(server: BrokenServer, tmp_path: Path) -> None:
    size = len(server.files["a.jsonl"])
    server.files |= {f"{number}.jsonl": bytes([65 + number]) * size for number in range(4)}
    for number, file in enumerate(["0.jsonl", "1.jsonl", "0.jsonl", "2.jsonl"]):
        with open_cached(cached(server, tmp_path, 2 * size, file)) as stream:
            stream.read()
        for path in tmp_path.iterdir():  # a second apart, whatever the clock of the file system
            os.utime(path, (path.stat().st_mtime - 1,) * 2) if number < 3 else None
        assert copies(tmp_path) <= 2 * size
    server.requests.clear()
    for file in ("0.jsonl", "2.jsonl"):
        open_cached(cached(server, tmp_path, 2 * size, file)).close()
    assert not server.requests
    with (
        pytest.warns(UserWarning, match="is read without the cache"),
        open_cached(cached(server, tmp_path, 9)) as stream,
    ):
        assert len(stream.read()) == size


def test_a_download_that_broke_off_goes_on(
    server: BrokenServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "BLOCK_BYTES", 5000)
    server.breaks, server.after = 10**6, 4000
    name = RemoteName(f"{server.url}/a.jsonl", cache=FileCache(str(tmp_path), 10**9), retries=0)
    with pytest.raises(ReadError):
        open_cached(name)
    [part] = tmp_path.glob("*.part")
    part.write_bytes(server.files["a.jsonl"][:12_345])
    server.breaks = 0
    server.requests.clear()
    with open_cached(name) as stream:
        assert stream.read() == server.files["a.jsonl"]
    assert server.requests[0][1].startswith("bytes=12345-")


def test_an_evicted_copy_stays_readable(server: BrokenServer, tmp_path: Path) -> None:
    size = len(server.files["a.jsonl"])
    server.files["b.jsonl"] = b"b" * size
    with open_cached(cached(server, tmp_path, size)) as stream:
        stream.read(10)
        open_cached(cached(server, tmp_path, size, "b.jsonl")).close()
        assert stream.read() == server.files["a.jsonl"][10:]
    assert copies(tmp_path) == size


def test_processes_share_the_cache(server: BrokenServer, tmp_path: Path) -> None:
    """Four processes read six files in different orders with room for two: each byte is right, the bound is kept."""
    size = 200_000
    server.files = {f"{number}.bin": bytes([number]) * size for number in range(6)}
    code = (
        "import sys, os, random\nfrom antiphon.data.remote.cache import open_cached\n"
        "from antiphon.urls import FileCache, RemoteName\nurl, folder, size, seed = sys.argv[1:5]\n"
        "order = [*range(6)] * 3\nrandom.Random(seed).shuffle(order)\n"
        "for number in order:\n"
        "    name = RemoteName(f'{url}/{number}.bin', cache=FileCache(folder, 2 * int(size)))\n"
        "    with open_cached(name) as stream: assert stream.read() == bytes([number]) * int(size), number\n"
        "    held = 0\n"
        "    for path in os.scandir(folder):\n"
        "        try: held += path.stat().st_size if path.name.endswith(('.copy', '.part')) else 0\n"
        "        except FileNotFoundError: pass\n"
        "    assert held <= 3 * int(size), held\n"  # one may be deleted and another made between two looks
    )
    command = [sys.executable, "-c", code, server.url, str(tmp_path), str(size)]
    running = [subprocess.Popen([*command, str(seed)], stderr=subprocess.PIPE, text=True) for seed in range(4)]
    for process in running:
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
    assert copies(tmp_path) <= 2 * size


# Other file systems of fsspec.


def test_memory_and_patterns() -> None:
    system = fsspec.filesystem("memory")
    for number in range(3):
        system.pipe(f"/test_remote/t-{number}.jsonl", contents()["a.jsonl"])
    data = SourceConfig(path="memory://test_remote/t-*.jsonl")
    found = list(records(data, TASK))
    assert [(one, other) for one, other, _ in found] == PAIRS * 3
    assert [str(place) for _, _, place in found[:: len(PAIRS)]] == [
        f"memory:///test_remote/t-{number}.jsonl:1" for number in range(3)
    ]
    with pytest.raises(DataError, match=r"a pattern must name at least one file, but `memory://test_remote/x-\*"):
        check_files(SourceConfig(path="memory://test_remote/x-*.jsonl"))
    assert [row.cursor.shard for row in rows(data)][:: len(PAIRS)] == [0, 1, 2]
    again = list(rows(data, Cursor(0, len(PAIRS), (len(contents()["a.jsonl"]),), 0, 1)))
    assert len(again) == len(PAIRS)


def test_steps_of_a_url(tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "z.zip", "w") as packed:
        for number in range(2):
            packed.writestr(f"t-{number}.tsv", f"eins {number}\tone\n")
    data = SourceConfig(path=f"zip://t-*.tsv::file://{tmp_path}/z.zip")
    assert [one for one, _, _ in records(data, TASK)] == ["eins 0", "eins 1"]


def test_one_object_a_handle(server: BrokenServer) -> None:
    """The file is closed with its last reader, and a closed file does not fetch on."""
    file = RemoteFile(RemoteName(f"{server.url}/a.jsonl"))
    file.read(10)
    file.close()
    assert file._handle is None and file.closed
    assert filesystem.details(file.name).size == len(server.files["a.jsonl"])
