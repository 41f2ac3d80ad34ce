"""The example notebook runs, and what its cells end in can be displayed."""
import ast
import json
from pathlib import Path

from frcnn_runs import make_run

NOTEBOOK = Path(__file__).resolve().parents[3] / "docs" / "detect.ipynb"


def value_of(source, names):
    """Run a cell; returns the value of its last line if that is an expression, which a notebook displays."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, NOTEBOOK.name, "exec"), names)
    return eval(compile(ast.Expression(last.value), NOTEBOOK.name, "eval"), names) if last else None


def test_the_notebook_runs(demo_data, tmp_path, monkeypatch, capsys):
    for folder in ("data", "docs", "output"):
        (tmp_path / folder).mkdir()
    (tmp_path / "data" / "demo").symlink_to(demo_data)
    make_run(tmp_path / "output" / "demo", ("ball", "brick", "ring", "star"))
    monkeypatch.chdir(tmp_path / "docs")
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    names, shown = {"__name__": "__main__"}, []
    for cell in cells:
        if cell["cell_type"] == "code":
            assert not cell["outputs"], "the notebook is kept without outputs"
            shown.append(value_of("".join(cell["source"]), names))
    pictures = [value for value in shown if getattr(value, "_repr_png_", lambda: None)()]
    assert len(pictures) == 2 and any("mean AP" in repr(value) for value in shown)
    assert "no_such_photograph.jpg: there is no such photograph or folder" in capsys.readouterr().out
    assert (tmp_path / "docs" / "found.png").is_file()
