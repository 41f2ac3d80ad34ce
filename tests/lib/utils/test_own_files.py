"""The record of own files, and the lock of a folder."""
import errno
import fcntl
import os

import pytest

from utils.errors import UserError
from utils.files import DamagedFileError, atomic_path, inside, read_json, read_json_lines, read_table, write_json
from utils.folder_lock import FolderLock, RunError
from utils.own_files import OwnFiles
from utils.ragged import Spool


def test_only_recorded_files_are_replaced_and_removed(tmp_path):
    own = OwnFiles(tmp_path)
    own.claim("a.pt", "logs/b.log")
    (tmp_path / "a.pt").write_text("ours")
    (tmp_path / "mine.pt").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError, match=f"{tmp_path} holds files that would be overwritten.*: mine.pt. Choose another"):
        OwnFiles(tmp_path).claim("a.pt", "mine.pt")
    OwnFiles(tmp_path).remove("a.pt", "mine.pt", "logs/b.log")
    assert sorted(os.listdir(tmp_path)) == ["mine.pt", "own_files.json"]
    assert OwnFiles(tmp_path).names() == {"a.pt", "logs/b.log"}


def test_files_left_by_killed_writers_are_deleted(tmp_path):
    own = OwnFiles(tmp_path)
    own.claim("logs/a.jsonl", "b.caffemodel")
    (tmp_path / "logs").mkdir()
    left = ["logs/.a.12.tmp.jsonl", ".b.caffemodel.345.tmp", ".b.6.tmp.caffemodel"]
    kept = ["logs/.c.12.tmp.jsonl", ".b.caffemodel.x.tmp", "b.caffemodel", ".b.caffemodel.tmp", ".bb.6.tmp.caffemodel"]
    for name in left + kept:
        (tmp_path / name).write_text("")
    own.sweep()
    assert not any((tmp_path / name).exists() for name in left) and all((tmp_path / name).exists() for name in kept)


@pytest.mark.parametrize("text", ["{", "[]", '{"files": 3}', "[" * 100000, '{"files": ' + "9" * 5000 + "}", "\xff"])
def test_a_damaged_record(tmp_path, text):
    (tmp_path / "own_files.json").write_text(text, encoding="latin-1")
    with pytest.raises(DamagedFileError, match="own_files.json: damaged.*choose another --output"):
        OwnFiles(tmp_path).claim("a")


@pytest.mark.parametrize("name", ["../a", "/etc/passwd", "sub/../../a", "", "link/a", "a\0b"])
def test_paths_in_records_stay_inside(tmp_path, name):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path)
    with pytest.raises(DamagedFileError, match="lies outside of"):
        inside(folder, name)
    assert inside(folder, "sub/a") == folder / "sub" / "a"


@pytest.mark.parametrize("text, message", [("[1]", "no JSON object"), ('{"a": 1}', "'a' is of another type")])
def test_tables(tmp_path, text, message):
    assert read_table(tmp_path / "none.json", "delete it", list) == {}
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DamagedFileError, match=f"a.json: damaged.*{message}; delete it"):
        read_table(tmp_path / "a.json", "delete it", list)


def test_damaged_lines_are_named(tmp_path):
    log = tmp_path / "a.jsonl"
    log.write_bytes(b'{"iteration": 1}\n\n{"iteration": 2}\n{"iter')
    assert [record["iteration"] for record in read_json_lines(log, iteration=int)] == [1, 2]
    for line in (b"{", b"7", b'{"iteration": "x"}', b"\xff\xfe"):
        log.write_bytes(b'{"iteration": 1}\n' + line + b'\n{"iteration": 3}\n')
        with pytest.raises(DamagedFileError, match=r"a.jsonl:2: damaged.*remove this line"):
            read_json_lines(log, iteration=int)


# ---- errors of the operating system
def test_a_full_disk_is_reported_with_the_file(tmp_path):
    write_json(tmp_path / "a.json", 1)
    with pytest.raises(OSError, match="No space left") as caught, atomic_path(tmp_path / "a.json"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.filename == str(tmp_path / "a.json") and read_json(tmp_path / "a.json") == 1
    assert os.listdir(tmp_path) == ["a.json"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_a_full_folder_for_temporary_files(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.TemporaryFile", lambda dir: open("/dev/full", "wb"))
    with pytest.raises(OSError, match="No space left") as caught, Spool((4,), float, tmp_path) as spool:
        spool.extend([[[1, 2, 3, 4]]] * 5000)
    assert caught.value.filename == str(tmp_path)


def test_no_folder_for_temporary_files(monkeypatch):
    def gettempdir():
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")
    monkeypatch.setattr("tempfile.gettempdir", gettempdir)
    with pytest.raises(UserError, match="no temporary files can be written .*TMPDIR"):
        Spool((4,), float)


def test_a_file_system_without_locks(tmp_path, monkeypatch):
    def flock(file, kind):
        raise OSError(errno.ENOLCK, "No locks available")
    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(RunError, match=f"{tmp_path}/lock: cannot be locked .no locks available.*on another disk"):
        FolderLock(tmp_path)


def test_a_file_that_is_called_lock_is_kept(tmp_path):
    (tmp_path / "lock").write_text("the combination is 1234\n")
    with pytest.raises(RunError, match="lock: is not the lock of a run"):
        FolderLock(tmp_path)
    assert (tmp_path / "lock").read_text() == "the combination is 1234\n"
