"""Imports in engine and detector follow an order; the detector uses only pycaffe's public names of the engine."""
import ast
import re
import signal
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ENGINE = ROOT / "caffe-fast-rcnn" / "python" / "caffe"
LIB = ROOT / "lib"
ENGINE_ORDER = [f"caffe.{part}" for part in (
    "errors", "atomic", "logs", "tables", "proto", "net_spec", "coord_map", "kernels", "engine.device", "engine.blob",
    "engine.fillers", "engine.layer", "engine.bases", "engine.layers", "engine.graph", "engine.files",
    "engine.construction", "engine.net", "engine.solvers", "engine.parallel", "spans", "profile", "timer", "nccl",
    "pycaffe_net", "pycaffe")]
# py-faster-rcnn's names put training and test in the same package as the settings that they depend on
LIB_ORDER = ["utils", "nms", "fast_rcnn", "datasets", "roi_data_layer", "fast_rcnn.train", "fast_rcnn.test",
             "onnx_export", "rpn", "net_definitions", "checks", "commands", "frcnn", "alt_opt", "reports"]
PUBLIC = ("caffe", "caffe.io", "caffe.proto", "caffe.proto.caffe_pb2", "caffe.net_spec")
OPTIONAL = {"other_caffe.py": "caffe.proto.prototxt"}   # our own modules, used if available
# Whether Caffe, or an object of its, has an attribute
PROBE = re.compile(r"\b(?:has|get)attr\((?:[\w.]*\.)?(?:caffe|caffe_pb2|net|solver|blob), \"")


def modules_imported(path: Path, module: str) -> set[str]:
    """Full names of the modules and names that the file of a module imports."""
    found, package = set(), module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")[:len(package.split(".")) - node.level + 1] if node.level else []
            stem = ".".join([*parts, *([node.module] if node.module else [])])
            found.add(stem)
            found.update(f"{stem}.{alias.name}" for alias in node.names)
    return found


def place(module: str, order: list[str]) -> int | None:
    """Index of the longest entry of an order that matches a module; None if there is none."""
    matches = [entry for entry in order if module == entry or module.startswith(entry + ".")]
    return order.index(max(matches, key=len)) if matches else None


def later_imports(path: Path, module: str, order: list[str]) -> set[str]:
    """Imports of a module, at any level, that come later in the order than the module."""
    own = place(module, order)
    return {name for name in modules_imported(path, module) if (place(name, order) or 0) > (own or 0)}


def module_name(path: Path, root: Path) -> str:
    """Full name of a module or package, relative to the folder of its outermost package."""
    return ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


LIB_FILES = sorted(path for path in LIB.rglob("*.py") if path.parent != LIB)
ENGINE_FILES = sorted(path for path in ENGINE.rglob("*.py") if path.is_relative_to(ENGINE / "engine")
                      or place(module_name(path, ENGINE.parent), ENGINE_ORDER) is not None)


@pytest.mark.parametrize("path", ENGINE_FILES, ids=lambda path: str(path.relative_to(ENGINE)))
def test_engine_imports_only_what_comes_before(path):
    module = module_name(path, ENGINE.parent)
    if place(module, ENGINE_ORDER) is None:
        assert path.parent.name == "engine" and path.name == "__init__.py"
        return
    own = {name for name in modules_imported(path, module) if name.startswith("caffe.")} - {"caffe.engine"}
    unlisted = {name for name in own if place(name, ENGINE_ORDER) is None}
    assert not unlisted, f"{module} imports {sorted(unlisted)}, which have no place in ENGINE_ORDER"
    later = later_imports(path, module, ENGINE_ORDER)
    assert not later, f"{module} imports {sorted(later)}, which come after it"


@pytest.mark.parametrize("path", LIB_FILES, ids=lambda path: str(path.relative_to(LIB)))
def test_lib_imports_only_what_comes_before(path):
    module = module_name(path, LIB)
    assert place(module, LIB_ORDER) is not None, f"{module} has no place in LIB_ORDER"
    later = later_imports(path, module, LIB_ORDER)
    assert not later, f"{module} imports {sorted(later)}, which come after it"


def test_no_module_of_lib_imports_itself_indirectly():
    imports = {}
    for path in LIB_FILES:
        module = module_name(path, LIB)
        imports[module] = modules_imported(path, module) - {module}
    graph = {module: found & set(imports) for module, found in imports.items()}
    TopologicalSorter(graph).prepare()      # raises CycleError, which names the cycle


@pytest.mark.parametrize("path", sorted((ENGINE / "engine" / "layers").glob("*.py")), ids=lambda path: path.name)
def test_no_layer_file_imports_another(path):
    if path.name == "__init__.py":
        return
    others = {name for name in modules_imported(path, module_name(path, ENGINE.parent))
              if name.startswith("caffe.engine.layers.")}
    assert not others


DETECTOR_FILES = sorted([*LIB.rglob("*.py"), *(ROOT / "tools").glob("*.py")])


@pytest.mark.parametrize("path", DETECTOR_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_detector_uses_only_the_public_interface(path):
    used = {name for name in modules_imported(path, "") if name == "caffe" or name.startswith("caffe.")}
    private = {name for name in used if name != OPTIONAL.get(path.name)
               if ".engine" in name or ".kernels" in name or not {name, name.rpartition(".")[0]} & set(PUBLIC)}
    assert not private, f"{path.name} imports {sorted(private)}"


def test_only_other_caffe_tests_what_a_caffe_has():
    probing = {path.name for path in DETECTOR_FILES if PROBE.search(path.read_text(encoding="utf-8"))}
    assert probing == {"other_caffe.py"}


def test_ctrl_c_while_a_tool_imports_its_modules():
    """These imports take seconds, before the tool's own handling of Ctrl-C is in place."""
    ended = subprocess.run([sys.executable, "-c", "import _init_paths; raise KeyboardInterrupt"], cwd=ROOT / "tools",
                           capture_output=True, text=True, check=False)
    assert (ended.stderr, ended.returncode) == ("interrupted\n", -signal.SIGINT)
