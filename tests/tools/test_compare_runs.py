"""tools/compare_runs.py on handwritten records."""
import json

import pytest
from test_look_at_data import run  # noqa: F401  (fixture)

pytestmark = pytest.mark.usefixtures("default_settings")


def made(folder, ap, seed, iterations):
    figures = {"ap50": ap, "ap75": ap / 2, "ap": ap / 3, "voc_area": None, "voc_11_points": ap}
    test = folder / "test" / "street_test"
    test.mkdir(parents=True)
    (test / "evaluation.json").write_text(json.dumps({"mean": figures, "classes": {"<b>car": figures}}))
    (folder / "logs").mkdir()
    record = {"iteration": 1, "stage": "stage1_rpn", "loss": 2.0, "losses": {"a": 2.0}, "lr": 0.1, "seconds": 1.0}
    (folder / "logs" / "stage1_rpn.jsonl").write_text(json.dumps(record) + "\n")
    steps = {step: {"state": "running", "inputs": {"cfg.RNG_SEED": seed, "cfg.SAME": "1", "net": "a" * 64,
                                                "max_iters": iterations}, "outputs": {}, "seconds": 1.0}
             for step in ("stage1_rpn", "stage2_rpn")}
    (folder / "manifest.json").write_text(json.dumps({"format": 1, "steps": steps}))
    return folder


@pytest.fixture
def runs(tmp_path):
    return [made(tmp_path / "x" / "run", 0.6, "3", "10"), made(tmp_path / "y" / "run", 0.75, "3", "20")]


def test_the_comparison(run, runs, tmp_path):       # noqa: F811
    status, text, _ = run("compare_runs", *runs, "--output", tmp_path / "c.html")
    lines = text.splitlines()
    assert status == 0 and lines[0] == "street_test" and lines[1].split() == ["AP50", "AP75", "AP50:95", "VOC"]
    assert lines[2].split() == ["x/run", "0.600", "0.300", "0.200", "–"]
    assert lines[3].split() == ["y/run", "0.750", "(+0.150)", "0.375", "(+0.075)", "0.250", "(+0.050)", "–"]
    assert lines[4:] == ["max_iters (stage1_rpn, stage2_rpn): 10 | 20", f"Page: {tmp_path}/c.html"]
    page = (tmp_path / "c.html").read_text()
    assert "<b>car" not in page and "&lt;b&gt;car" in page and "stage1_rpn" in page and "+0.150" in page


def test_differences_of_data_sets_and_solvers_in_words(run, runs):    # noqa: F811
    def record(folder, data, name, **solver):
        path = folder / "manifest.json"
        content = json.loads(path.read_text())
        for step in content["steps"].values():
            step["inputs"] |= {"data set": data * 64, "solver": solver["stepsize"][0] * 64}
            step.update(imdb=name, solver=solver)
        path.write_text(json.dumps(content))
    steps = "(stage1_rpn, stage2_rpn)"
    record(runs[0], "b", "data/one:train", stepsize="7", gamma="0.1")
    record(runs[1], "c", "data/two:train", stepsize="8", gamma="0.1")
    text = run("compare_runs", *runs)[1]
    assert f"data set {steps}: data/one:train | data/two:train\n" in text
    assert f"solver.stepsize {steps}: 7 | 8\n" in text and "gamma" not in text and "solver (" not in text
    record(runs[1], "c", "data/one:train", stepsize="8", gamma="0.1")       # with other annotations
    assert (f"data set {steps}: data/one:train ({'b' * 10}…) | data/one:train ({'c' * 10}…)\n"
            in run("compare_runs", *runs)[1])
    content = json.loads((runs[0] / "manifest.json").read_text())
    for step in content["steps"].values():
        del step["solver"]
    (runs[0] / "manifest.json").write_text(json.dumps(content))
    text = run("compare_runs", *runs)[1]
    assert f"solver {steps}: {'7' * 10}… | {'8' * 10}…\n" in text and "stepsize" not in text


def test_data_sets_of_one_name_in_different_places(run, runs, tmp_path):     # noqa: F811
    def places(*found):
        for folder, place in zip(runs, found, strict=True):
            (folder / "test" / "street_test" / "data_set.json").write_text(json.dumps({"data set": place}))
        return run("compare_runs", *runs, "--output", tmp_path / "c.html")[1], (tmp_path / "c.html").read_text()

    words = "hese may be different data sets of one name: x/run: /a/street:test, y/run: /b/street:test"
    assert all(words in text for text in places("/a/street:test", "/b/street:test"))
    assert not any("of one name" in text for text in places("/a/street:test", "/a/street:test"))


def test_a_run_without_results(run, runs, tmp_path):    # noqa: F811
    (tmp_path / "new" / "logs").mkdir(parents=True)
    status, text, _ = run("compare_runs", runs[0], tmp_path / "new")
    assert status == 0 and "new" in text
    assert "no test results" in run("compare_runs", tmp_path / "new")[1]


def test_folders_that_are_refused(run, runs, tmp_path):      # noqa: F811
    assert "there is no folder" in run("compare_runs", tmp_path / "none")[2]
    (tmp_path / "photos").mkdir()
    status, _, errors = run("compare_runs", runs[0], tmp_path / "photos")
    assert status == 2 and errors.startswith(f"error: {tmp_path}/photos: is not the output folder of a training")
    evaluation = runs[0] / "test" / "street_test" / "evaluation.json"
    for damaged in ("{", '{"mean": {"ap": "x"}, "classes": {}}', '{"mean": {}, "classes": {"a": 1}}'):
        evaluation.write_text(damaged)
        status, _, errors = run("compare_runs", *runs)
        assert status == 2 and "evaluation.json: damaged" in errors
