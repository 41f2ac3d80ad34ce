"""--split of the tools: which share of which data set is trained and tested on."""
import pytest
import test_net
import train_faster_rcnn_alt_opt
import train_net


class Stop(Exception):
    """Raised instead of working."""


def names(monkeypatch, module, entry, argv):
    """--imdb and --test_imdb as the tool's work gets them."""
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
    (["--imdb", "a"], ("a", None))])
def test_training(monkeypatch, argv, expected):
    assert names(monkeypatch, train_faster_rcnn_alt_opt, "_train_and_test", argv) == expected


def test_training_of_one_net_and_testing(monkeypatch):
    argv = ["--imdb", "a", "--split", "0.8"]
    assert names(monkeypatch, train_net, "_run", [*argv, "--solver", "s"])[0] == "a:train@0.8"
    assert names(monkeypatch, test_net, "find_detector", [*argv, "--run", "r"])[0] == "a:test@0.8"


@pytest.mark.parametrize("share", ["0", "1", "1.5", "nan", "x"])
def test_shares_that_are_refused(capsys, share):
    assert train_net.main(["--solver", "s", "--split", share]) == 2
    assert "--split" in capsys.readouterr().err
