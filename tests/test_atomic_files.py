"""Files of the engine and the detector are written atomically: complete and synced to disk, or not at all."""
import os
import stat

import pytest

from caffe import atomic
from utils import files

BOTH = pytest.mark.parametrize("atomic_path", [atomic.atomic_path, files.atomic_path], ids=["engine", "detector"])


@BOTH
def test_a_failed_write_keeps_the_old_file(atomic_path, tmp_path):
    path = tmp_path / "a.json"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@BOTH
def test_a_folder_is_refused_before_anything_is_written(atomic_path, tmp_path):
    with pytest.raises(IsADirectoryError) as caught, atomic_path(tmp_path):
        pytest.fail("the block must not run")
    assert caught.value.filename == str(tmp_path)


@BOTH
def test_content_reaches_the_disk_before_the_name(atomic_path, tmp_path, monkeypatch):
    done = []

    def fsync(descriptor):
        done.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")

    real_replace = os.replace
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", lambda *paths: (done.append("replace"), real_replace(*paths)))
    with atomic_path(tmp_path / "a.json") as temporary:
        temporary.write_text("new")
    assert done == ["file", "replace", "folder"]
    assert (tmp_path / "a.json").read_text() == "new"


@BOTH
def test_a_link_is_kept_and_its_file_is_replaced(atomic_path, tmp_path):
    real, link = tmp_path / "elsewhere" / "a.json", tmp_path / "link.json"
    real.parent.mkdir()
    real.write_text("old")
    link.symlink_to(real)
    with atomic_path(link) as temporary:
        temporary.write_text("new")
    assert link.is_symlink() and real.read_text() == "new"
