"""The option --split of the tools: the data sets that they train and test on."""
import json

import look_at_data
import pytest
import test_net
import train_faster_rcnn_alt_opt
import train_net


class Stop(Exception):
    """Raised in place of the tool's work."""


def names(monkeypatch, module, entry, argv):
    """The values of --imdb and --test_imdb that reach the tool's work."""
    def work(args, *others):
        found.append((args.imdb, getattr(args, "test_imdb", None)))
        raise Stop
    found: list = []
    monkeypatch.setattr(module, entry, work)
    with pytest.raises(Stop):
        module.main(argv)
    return found[0]


@pytest.mark.parametrize("argv, expected", [
    (["--imdb", "a", "--split", "0.8"], ("a:train@0.8", "a:test@0.8")),
    (["--imdb", "a:train", "--split", "0.75", "--test_imdb", "b"], ("a:train@0.75", "b")),
    (["--imdb", "a:train", "--split", "0.75"], ("a:train@0.75", "a:test@0.75")),
    (["--imdb", "a+b", "--split", "0.5"], ("a:train@0.5+b:train@0.5", "a:test@0.5+b:test@0.5")),
    (["--imdb", "a", "--split", "0.8", "--split_seed", "7"], ("a:train@0.8@7", "a:test@0.8@7")),
    (["--imdb", "a"], ("a", None))])
def test_training(monkeypatch, argv, expected):
    assert names(monkeypatch, train_faster_rcnn_alt_opt, "_train_and_test", argv) == expected


def test_training_of_one_net_and_testing(monkeypatch):
    argv = ["--imdb", "a", "--split", "0.8"]
    assert names(monkeypatch, look_at_data, "_look", argv)[0] == "a:train@0.8"
    assert names(monkeypatch, train_net, "_run", [*argv, "--solver", "s"])[0] == "a:train@0.8"
    assert names(monkeypatch, test_net, "find_detector", [*argv, "--run", "r"])[0] == "a:test@0.8"
    assert names(monkeypatch, test_net, "find_detector", [*argv, "--split_seed", "0"])[0] == "a:test@0.8@0"


@pytest.mark.parametrize("share", ["0", "1", "1.5", "nan", "x"])
def test_shares_that_are_refused(capsys, share):
    assert train_net.main(["--solver", "s", "--split", share]) == 2
    assert "--split" in capsys.readouterr().err


def test_seeds_that_are_refused(capsys):
    for argv, message in ((["--split", "0.8", "--split_seed", "-1"], "--split_seed: -1 is less than 0"),
                          (["--split_seed", "7"], "error: --split_seed: there is nothing to divide; give --split")):
        assert train_net.main(["--solver", "s", *argv]) == 2
        assert message in capsys.readouterr().err


def test_a_detector_is_tested_with_the_split_it_was_trained_with(tmp_path, monkeypatch, capsys):
    photos = tmp_path / "photos"
    (tmp_path / "test_cfg.yml").write_text("RNG_SEED: 3")
    (tmp_path / "detector.json").write_text(json.dumps({
        "cfg": "test_cfg.yml", "net": "test.pt", "model": "m.caffemodel", "classes": ["__background__", "cat"],
        "data set": f"{photos}:train@0.8@7"}))
    monkeypatch.setattr(test_net, "class_names", None)      # fails when called next

    def test(*argv):
        try:
            assert test_net.main(["--run", str(tmp_path), "--imdb", *argv]) == 2
        except TypeError:
            return capsys.readouterr().out
        return capsys.readouterr().err
    monkeypatch.chdir(tmp_path)
    for argv in (["photos", "--split", "0.8"], [f"{photos}:test@0.8@5"], ["voc_2007_test+photos", "--split", "0.7"]):
        assert "was trained with another division of" in (text := test(*argv))
        assert text.endswith("some of these images; give --split 0.8 --split_seed 7\n")
    assert "Note: the detector was trained on images of" in test(str(photos))
    for argv in (["photos", "--split", "0.8", "--split_seed", "7"], ["run", "--split", "0.5"], ["voc_2007_test"]):
        assert "trained" not in test(*argv)
