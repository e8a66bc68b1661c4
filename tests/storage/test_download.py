"""Downloads against a real server that behaves as badly as servers do."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import shutil
from pathlib import Path

import pytest
from file_server import FileServer

from gcm.errors import DownloadError, UsageError
from gcm.storage import http
from gcm.storage.download import download_file

CONTENT = b"".join(hashlib.sha256(str(i).encode()).digest() for i in range(12_000))  # 384 kB
SHA = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server(file_server: FileServer) -> FileServer:
    file_server.content = CONTENT
    return file_server


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "a folder" / "file.bin"


def assert_only(target: Path, *, there: bool) -> None:
    """Nothing but the file lies in the folder; no folder was made for nothing."""
    assert target.parent.exists() == there
    if there:
        assert [path.name for path in target.parent.iterdir()] == [target.name]


def test_fetches_and_reports_progress(server: FileServer, target: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    assert (
        download_file([f"{server.url}/file"], target, sha256=SHA, on_progress=lambda *a: seen.append(a))
        == target
    )
    assert target.read_bytes() == CONTENT
    assert_only(target, there=True)
    assert seen[0] == (0, len(CONTENT))
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert seen == sorted(seen)


def test_a_right_file_is_not_fetched_again(server: FileServer, target: Path) -> None:
    target.parent.mkdir()
    target.write_bytes(CONTENT)
    before = target.stat()
    download_file([f"{server.url}/file"], target, sha256=SHA, size=len(CONTENT))
    assert server.asked == []
    assert target.stat() == before
    assert_only(target, there=True)


def test_a_wrong_file_is_replaced(server: FileServer, target: Path) -> None:
    target.parent.mkdir()
    target.write_bytes(CONTENT[:-1] + b"?")
    download_file([f"{server.url}/file"], target, sha256_prefix=SHA[:8].upper())
    assert target.read_bytes() == CONTENT


def test_goes_on_after_dropped_connections(server: FileServer, target: Path) -> None:
    server.drops = [100_000, 70_000, 80_000]
    download_file([f"{server.url}/file"], target, sha256=SHA)
    assert target.read_bytes() == CONTENT
    ranges = [wanted for _, wanted, _ in server.asked]
    assert ranges == [None, "bytes=100000-", "bytes=170000-", "bytes=250000-"]
    assert {condition for _, _, condition in server.asked[1:]} == {'"one"'}


def test_progress_buys_new_tries(server: FileServer, target: Path) -> None:
    server.content = CONTENT * 2
    server.drops = [70_000] * 10  # twice the tries allowed without progress
    download_file([f"{server.url}/file"], target)
    assert target.read_bytes() == CONTENT * 2


def test_gives_up_on_an_address_without_progress(server: FileServer, target: Path) -> None:
    server.drops = [1000] + [0] * 50
    with pytest.raises(DownloadError, match=r"broke off after 1000 of 384000 bytes .5 tries."):
        download_file([f"{server.url}/file"], target)
    assert len(server.asked) == 5
    assert not target.exists()


def test_an_interrupted_download_goes_on(server: FileServer, target: Path) -> None:
    def interrupt(done: int, total: int | None) -> None:
        if done > 100_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download_file([f"{server.url}/file"], target, on_progress=interrupt)
    held = target.with_name("file.bin.part").stat().st_size
    assert held > 100_000
    assert not target.exists()
    download_file([f"{server.url}/file"], target)
    assert server.asked[1] == ("/file", f"bytes={held}-", '"one"')
    assert target.read_bytes() == CONTENT
    assert_only(target, there=True)


def test_a_complete_part_is_not_fetched_again(server: FileServer, target: Path) -> None:
    target.parent.mkdir()
    target.with_name("file.bin.part").write_bytes(CONTENT)
    download_file([f"{server.url}/file"], target, sha256=SHA, size=len(CONTENT))
    assert server.asked == []
    assert_only(target, there=True)


def leave_part(target: Path, server: FileServer, data: bytes, *, etag: str | None = '"one"') -> None:
    target.parent.mkdir(exist_ok=True)
    target.with_name("file.bin.part").write_bytes(data)
    note = {"url": f"{server.url}/file", "validator": etag, "total": len(server.content)}
    target.with_name("file.bin.part.json").write_text(json.dumps(note))


def test_a_changed_file_is_not_glued_together(server: FileServer, target: Path) -> None:
    leave_part(target, server, b"old" * 1000, etag='"zero"')
    download_file([f"{server.url}/file"], target)
    assert server.asked == [("/file", "bytes=3000-", '"zero"')]
    assert target.read_bytes() == CONTENT


def test_a_part_of_unknown_origin_is_dropped(server: FileServer, target: Path) -> None:
    target.parent.mkdir()
    target.with_name("file.bin.part").write_bytes(b"?" * 100)
    download_file([f"{server.url}/file"], target)
    assert server.asked == [("/file", None, None)]
    assert target.read_bytes() == CONTENT


def test_without_validator_another_length_starts_anew(server: FileServer, target: Path) -> None:
    server.etag = None
    leave_part(target, server, b"?" * 100, etag=None)
    server.content = CONTENT + b"more"
    download_file([f"{server.url}/file"], target)
    assert [wanted for _, wanted, _ in server.asked] == ["bytes=100-", None]
    assert target.read_bytes() == CONTENT + b"more"


def test_a_bad_part_under_a_hash_is_fetched_anew(server: FileServer, target: Path) -> None:
    leave_part(target, server, b"?" * 100)
    download_file([f"{server.url}/file"], target, sha256=SHA)
    assert [wanted for _, wanted, _ in server.asked] == ["bytes=100-", None]
    assert target.read_bytes() == CONTENT


def test_a_server_that_ignores_ranges(server: FileServer, target: Path) -> None:
    server.supports_ranges = False
    server.drops = [100_000]
    download_file([f"{server.url}/file"], target, sha256=SHA)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("shift", [-10, 10])
def test_a_206_from_another_place(server: FileServer, target: Path, shift: int) -> None:
    server.shift = shift
    server.drops = [100_000]
    download_file([f"{server.url}/file"], target)
    assert target.read_bytes() == CONTENT
    assert [wanted for _, wanted, _ in server.asked] == [None, "bytes=100000-", None]


def test_a_416_for_a_complete_part(server: FileServer, target: Path) -> None:
    # The server promised more than it has: the first answer breaks off, the second says nothing is left.
    server.claimed = len(CONTENT) + 500
    download_file([f"{server.url}/file"], target, sha256=SHA)
    assert target.read_bytes() == CONTENT
    assert server.asked[-1][1] == f"bytes={len(CONTENT)}-"


def test_a_416_for_a_part_too_long(server: FileServer, target: Path) -> None:
    leave_part(target, server, b"?" * (len(CONTENT) + 7))
    download_file([f"{server.url}/file"], target)
    assert [wanted for _, wanted, _ in server.asked] == [f"bytes={len(CONTENT) + 7}-", None]
    assert target.read_bytes() == CONTENT


def test_a_length_claimed_too_short_shows(server: FileServer, target: Path) -> None:
    server.claimed = 1000
    with pytest.raises(DownloadError, match="1000 bytes where 384000 were expected"):
        download_file([f"{server.url}/file"], target, size=len(CONTENT))
    with pytest.raises(DownloadError, match="serves another file: it has sha256"):
        download_file([f"{server.url}/file"], target, sha256=SHA)
    assert_only(target, there=False)


def test_without_length_more_than_expected_is_refused(server: FileServer, target: Path) -> None:
    server.no_length = True
    with pytest.raises(DownloadError, match="more than the 1000 bytes expected"):
        download_file([f"{server.url}/file"], target, size=1000)
    assert not target.exists()
    download_file([f"{server.url}/file"], target, size=len(CONTENT))
    assert target.read_bytes() == CONTENT


def test_the_next_mirror_after_404_and_corrupt_file(server: FileServer, target: Path) -> None:
    good = server.content
    server.content = b"<html>sorry</html>"
    urls = [f"{server.url}/missing", f"{server.url}/corrupt", f"{server.url}/file"]

    def mend(done: int, total: int | None) -> None:
        if done == len(b"<html>sorry</html>"):
            server.content = good

    download_file(urls, target, sha256=SHA, on_progress=mend)
    assert [path for path, _, _ in server.asked] == ["/missing", "/corrupt", "/file"]
    assert target.read_bytes() == CONTENT
    assert_only(target, there=True)


def test_all_mirrors_fail_names_each_and_leaves_nothing(server: FileServer, target: Path) -> None:
    server.content = b"corrupt"
    with pytest.raises(DownloadError) as caught:
        download_file(
            [f"{server.url}/missing", f"{server.url}/file", "http://127.0.0.1:9/x"], target, sha256=SHA
        )
    message = str(caught.value)
    assert "answered 404 Not Found" in message
    assert "serves another file: it has sha256" in message
    assert "Connection refused" in message
    assert str(target) in message
    assert "\n" not in message
    assert_only(target, there=False)


def test_503_and_429_are_asked_again_404_is_not(server: FileServer, target: Path) -> None:
    server.statuses = [503, 429, 502]
    download_file([f"{server.url}/file"], target, sha256=SHA)
    assert len(server.asked) == 4
    with pytest.raises(DownloadError, match="404"):
        download_file([f"{server.url}/missing"], target.with_name("other"))
    assert len(server.asked) == 5


def test_redirects_keep_the_range(server: FileServer, target: Path) -> None:
    server.drops = [100_000]
    download_file([f"{server.url}/moved"], target)
    assert target.read_bytes() == CONTENT
    assert server.asked[-1] == ("/file", "bytes=100000-", '"one"')


@pytest.mark.parametrize("location", ["file:///etc/hostname", "ftp://127.0.0.1/x", "/moved"])
def test_redirects_elsewhere_are_refused(server: FileServer, target: Path, location: str) -> None:
    server.location = location
    with pytest.raises(DownloadError):
        download_file([f"{server.url}/moved"], target)
    assert not target.exists()


@pytest.mark.parametrize(
    "url", ["file:///etc/hostname", "ftp://127.0.0.1/x", "/etc/hostname", "http://[", "http://"]
)
@pytest.mark.usefixtures("server")
def test_other_addresses_are_refused(target: Path, url: str) -> None:
    with pytest.raises(DownloadError):
        download_file([url], target)
    assert not target.exists()


def test_a_compressed_answer_is_refused(server: FileServer, target: Path) -> None:
    server.headers = {"Content-Encoding": "gzip"}
    with pytest.raises(DownloadError, match="compressed"):
        download_file([f"{server.url}/file"], target)


def test_a_silent_server_times_out(server: FileServer, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_TIMEOUT_SECONDS", 0.05)
    server.silent = True
    with pytest.raises(DownloadError, match=r"no answer within 0.05 s .5 tries."):
        download_file([f"{server.url}/file"], target)


def test_offline_never_dials(server: FileServer, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GCM_OFFLINE", "1")
    with pytest.raises(DownloadError, match="is missing and GCM_OFFLINE=1 forbids"):
        download_file([f"{server.url}/file"], target)
    assert server.asked == []
    target.parent.mkdir()
    target.write_bytes(CONTENT)
    assert download_file([f"{server.url}/file"], target, sha256=SHA) == target


def test_a_full_disk_is_noticed_first(
    server: FileServer, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 5, 5))  # type: ignore[attr-defined]
    with pytest.raises(DownloadError, match="free some space"):
        download_file([f"{server.url}/file"], target, sha256=SHA)
    assert not target.exists()


@pytest.mark.parametrize("length_known", [True, False])
def test_a_disk_that_fills_up_says_how_much_is_needed(
    server: FileServer, target: Path, length_known: bool, full_disk
) -> None:
    server.content = CONTENT * 10
    server.no_length = not length_known
    message = "it needs 3 MB more" if length_known else "the server does not say how much more"
    with full_disk(1_000_000), pytest.raises(DownloadError, match=f"the disk is full after 1 MB.*{message}"):
        download_file([f"{server.url}/file"], target)
    assert not target.exists()
    download_file([f"{server.url}/file"], target)
    assert target.read_bytes() == server.content


@pytest.mark.parametrize("sha256", ["abc", SHA[:-1] + "g", SHA + "0", "", f"sha256:{SHA}"])
def test_a_hash_of_the_wrong_form_is_refused_first(server: FileServer, target: Path, sha256: str) -> None:
    with pytest.raises(UsageError, match="is no SHA-256: that is 64 hex digits"):
        download_file([f"{server.url}/file"], target, sha256=sha256)
    with pytest.raises(UsageError, match="no beginning of a SHA-256"):
        download_file([f"{server.url}/file"], target, sha256_prefix="wxyz")
    assert server.asked == []
    assert not target.parent.exists()


def test_an_address_with_spaces_and_letters_outside_ascii(server: FileServer, target: Path) -> None:
    download_file([f"{server.url}/my füle.bin?q=a b"], target, sha256=SHA)
    assert server.asked[0][0] == "/my%20f%C3%BCle.bin?q=a%20b"


def test_a_folder_in_the_way(server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="is a folder"):
        download_file([f"{server.url}/file"], tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(DownloadError, match="cannot be written"):
        download_file([f"{server.url}/file"], tmp_path / "file" / "below")


def _download(url: str, target: Path) -> None:
    download_file([url], target, sha256=SHA)


@pytest.mark.e2e
def test_two_processes_fetch_once(server: FileServer, target: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_download, args=(f"{server.url}/file", target)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    assert len(server.asked) == 1
    assert target.read_bytes() == CONTENT
