"""The manifest of a run, and the lock of its folder."""
import os
import subprocess
import sys

import pytest

from alt_opt.manifest import CONTINUES_FROM, DONE, PENDING, RUNNING, Manifest
from utils.files import DamagedFileError, sha256_json, write_json
from utils.folder_lock import FolderLock, RunError


def test_a_step_from_pending_to_done_survives_reloading(tmp_path):
    manifest = Manifest(tmp_path)
    assert manifest.state("rpn") == PENDING and not manifest.existed
    manifest.start("rpn", {"iters": "5"})
    assert Manifest(tmp_path).state("rpn") == RUNNING
    (tmp_path / "w.caffemodel").write_bytes(b"weights")
    manifest.add_seconds("rpn", 2.5)
    manifest.finish("rpn", {"model": tmp_path / "w.caffemodel"})
    again = Manifest(tmp_path)
    assert again.state("rpn") == DONE and again.existed
    assert again.output("rpn", "model") == tmp_path / "w.caffemodel"
    assert again.damaged_outputs("rpn") == []
    assert again.steps["rpn"]["seconds"] == 2.5


@pytest.mark.parametrize("text, message", [
    ("{", "damaged JSON"), ("[]", "its 'format' is missing"), ('{"format": 1}', "its 'steps' is missing"),
    ('{"format": 1, "steps": {"rpn": {"state": "done"}}}', "its step 'rpn' is not complete")])
def test_a_damaged_manifest_is_reported_with_what_to_do(tmp_path, text, message):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises((RunError, DamagedFileError), match=f"manifest.json: .*{message}.*; delete it to train from"):
        Manifest(tmp_path)


def test_differences_name_what_changed(tmp_path):
    manifest = Manifest(tmp_path)
    manifest.start("rpn", {"iters": "5", "seed": "3", "old": "x"})
    assert manifest.differences("rpn", {"iters": "5", "seed": "3", "old": "x"}) == []
    assert manifest.differences("rpn", {"iters": "7", "seed": "3", "new": "y"}) == [
        "iters: 5 -> 7", "new: (absent) -> y", "old: x -> (absent)"]
    assert manifest.differences("never started", {"iters": "7"}) == []


def test_differences_of_fingerprints_are_words(tmp_path):
    manifest = Manifest(tmp_path)
    before = {key: sha256_json(key) for key in ("data set", "net", "proposals", "solver", "weights")}
    manifest.start("rpn", {**before, "cfg.TRAIN.SCALES": str([100] * 20)}, {"base_lr": "0.1", "stepsize": "60"})
    after = {key: sha256_json([key]) for key in before}
    assert manifest.differences("rpn", {**after, "cfg.TRAIN.SCALES": str([200] * 20)}, {"base_lr": "0.2"}) == [
        f"cfg.TRAIN.SCALES: {[100] * 20} -> {[200] * 20}", "data set: its images or annotations have changed",
        "net: the prototxt has changed", "proposals: it trains on others",
        "solver: base_lr 0.1 -> 0.2, stepsize 60 -> (absent)", "weights: it starts from others"]
    assert "solver: its settings have changed" in manifest.differences("rpn", after)
    manifest.start("named", before, imdb="a:train@0.8")
    for imdb, words in (("a:train@0.8@7", "a:train@0.8 -> a:train@0.8@7"),
                        ("a:train@0.8", "its images or annotations have changed")):
        assert f"data set: {words}" in manifest.differences("named", after, imdb=imdb)
    assert "weights: a file -> none" in manifest.differences("rpn", {**before, "weights": "none"})
    validated = {**before, "val_imdb": sha256_json("val")}
    assert manifest.differences("named", validated, imdb="a:train@0.8") == ["val_imdb: (absent) -> a data set"]


def test_the_earlier_ends_of_an_extended_step_are_kept_with_the_same_inputs(tmp_path):
    manifest = Manifest(tmp_path)
    manifest.start("rpn", {"max_iters": "8", CONTINUES_FROM: "4"})
    assert manifest.history("rpn", {"max_iters": "8"}) == {CONTINUES_FROM: "4"}
    assert manifest.history("rpn", {"max_iters": "9"}) == manifest.history("other", {}) == {}
    assert manifest.differences("rpn", {"max_iters": "8"}) == []
    assert manifest.differences("rpn", {"max_iters": "9"}) == ["max_iters: 8 -> 9"]


@pytest.mark.parametrize("damage, word", [(lambda p: p.unlink(), "missing"),
                                          (lambda p: p.write_bytes(b"WEIGHTS"), "changed"),
                                          (lambda p: p.write_bytes(b"w"), "changed")])
def test_damaged_outputs_are_detected(tmp_path, damage, word):
    manifest = Manifest(tmp_path)
    output = tmp_path / "w.caffemodel"
    output.write_bytes(b"weights")
    manifest.start("rpn", {})
    manifest.finish("rpn", {"model": output})
    damage(output)
    assert manifest.damaged_outputs("rpn") == [f"w.caffemodel is {word}"]


def test_time_adds_up_over_attempts_with_the_same_inputs_only(tmp_path):
    manifest = Manifest(tmp_path)
    for inputs, expected in (({"a": "1"}, 2.0), ({"a": "1"}, 4.0), ({"a": "2"}, 2.0)):
        manifest.start("rpn", inputs)
        manifest.add_seconds("rpn", 2.0)
        assert manifest.steps["rpn"]["seconds"] == expected


def test_a_file_of_another_format_is_refused(tmp_path):
    write_json(tmp_path / "manifest.json", {"format": 99, "steps": {}})
    with pytest.raises(RunError, match="no manifest of format 1"):
        Manifest(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(ValueError, match="manifest.json: damaged JSON"):
        Manifest(tmp_path)


def test_a_second_lock_says_who_holds_the_folder(tmp_path):
    with FolderLock(tmp_path):
        with pytest.raises(RunError, match=f"in use by process {os.getpid()} on"):
            FolderLock(tmp_path)
    FolderLock(tmp_path).release()


def test_a_child_that_inherits_the_lock_keeps_it(tmp_path):
    lock = FolderLock(tmp_path)
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE,
                             pass_fds=[lock.fileno()])
    lock.release()
    with pytest.raises(RunError, match="in use"):
        FolderLock(tmp_path)
    child.communicate(b"\n")
    FolderLock(tmp_path).release()


def test_the_order_of_keys_does_not_change_a_fingerprint():
    assert sha256_json({"a": 1, "b": 2}) == sha256_json({"b": 2, "a": 1}) != sha256_json({"a": 1, "b": 3})
