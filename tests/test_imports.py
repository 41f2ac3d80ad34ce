"""Imports go one way, and the detector knows the engine only by pycaffe's public names."""
import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ENGINE = ROOT / "caffe-fast-rcnn" / "python" / "caffe"
ORDER = ["errors", "proto", "engine.device", "engine.blob", "engine.fillers", "kernels", "engine.layer", "engine.bases",
         "engine.layers", "engine.graph", "engine.files", "engine.construction", "engine.net", "engine.solvers",
         "engine.parallel", "pycaffe"]
PUBLIC = ("caffe", "caffe.io", "caffe.proto", "caffe.proto.caffe_pb2", "caffe.net_spec")
OPTIONAL = {"prototxt.py": "caffe.proto.prototxt"}      # where our own modules are used if they are there


def modules_imported(path: Path, package: str) -> set[str]:
    """Full names of the modules and names that a file imports; relative imports are resolved against `package`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")[:len(package.split(".")) - node.level + 1] if node.level else []
            stem = ".".join([*parts, *([node.module] if node.module else [])])
            found.add(stem)
            found.update(f"{stem}.{alias.name}" for alias in node.names)
    return found


def place(module: str) -> int | None:
    """Position of a module of the engine in the order; the longest matching entry counts."""
    name = module.removeprefix("caffe.")
    matches = [entry for entry in ORDER if name == entry or name.startswith(entry + ".")]
    return ORDER.index(max(matches, key=len)) if matches and module.startswith("caffe.") else None


ENGINE_FILES = sorted(path for part in ("engine", "kernels", "proto") for path in (ENGINE / part).rglob("*.py"))


@pytest.mark.parametrize("path", ENGINE_FILES, ids=lambda path: str(path.relative_to(ENGINE)))
def test_engine_imports_only_what_comes_before(path):
    module = "caffe." + ".".join(path.relative_to(ENGINE).with_suffix("").parts).removesuffix(".__init__")
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    own = place(module)
    if own is None:
        assert path.parent.name == "engine" and path.name == "__init__.py"
        return
    later = {name for name in modules_imported(path, package) if (place(name) or 0) > own}
    assert not later, f"{module} imports {sorted(later)}, which come after it"


@pytest.mark.parametrize("path", sorted((ENGINE / "engine" / "layers").glob("*.py")), ids=lambda path: path.name)
def test_no_layer_file_imports_another(path):
    if path.name == "__init__.py":
        return
    others = {name for name in modules_imported(path, "caffe.engine.layers")
              if name.startswith("caffe.engine.layers.")}
    assert not others


@pytest.mark.parametrize("path", sorted([*(ROOT / "lib").rglob("*.py"), *(ROOT / "tools").glob("*.py")]),
                         ids=lambda path: str(path.relative_to(ROOT)))
def test_detector_uses_only_the_public_interface(path):
    used = {name for name in modules_imported(path, "") if name == "caffe" or name.startswith("caffe.")}
    private = {name for name in used if name != OPTIONAL.get(path.name)
               if ".engine" in name or ".kernels" in name or not {name, name.rpartition(".")[0]} & set(PUBLIC)}
    assert not private, f"{path.name} imports {sorted(private)}"
