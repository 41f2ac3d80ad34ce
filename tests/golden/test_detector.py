"""Every recorded detector case that is a contract is run by a test in tests/lib, in any of its folders."""
import ast
from pathlib import Path

import pytest
from golden.detector_cases import load_case, read_index, selects

TESTS = Path(__file__).resolve().parents[1] / "lib"


def selections_of(file: Path) -> list[tuple[list, dict]]:
    """Arguments of the @golden decorators in a test file."""
    functions = [node for node in ast.parse(file.read_text(encoding="utf-8")).body
                 if isinstance(node, ast.FunctionDef) and node.name.startswith("test")]
    calls = [call for function in functions for call in function.decorator_list
             if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "golden"]
    return [([ast.literal_eval(value) for value in call.args],
             {word.arg: ast.literal_eval(word.value) for word in call.keywords}) for call in calls]


@pytest.fixture(scope="module")
def selections() -> list[tuple[list, dict]]:
    return [selection for file in sorted(TESTS.rglob("test_*.py")) for selection in selections_of(file)]


@pytest.fixture(scope="module")
def folder(request) -> Path:
    return Path(request.config.getoption("--golden-detector"))


def test_every_contract_case_is_run(selections, folder):
    left_out = [f"{entry['group']}/{entry['name']}" for entry in read_index(folder) if entry["kind"] == "contract"
                and not any(selects(entry, *words, **named) for words, named in selections)]
    assert not left_out, f"no test in {TESTS} runs these cases: {', '.join(left_out)}"


def test_contract_cases_are_not_chosen_by_name(selections):
    """A test that names cases would be skipped silently if a folder has other names."""
    assert selections and all("quirk" in words for words, named in selections if "name" in named)


def test_arrays_are_those_of_the_index(folder):
    """Types and shapes in index.json match the files: a case cannot be selected for an array that it lacks."""
    for entry in read_index(folder):
        case = load_case(folder, entry)
        arrays = {**{f"in_{key}": value for key, value in case.inputs.items()},
                  **{f"out_{key}": value for key, value in case.outputs.items()}}
        assert {key: [str(value.dtype), list(value.shape)] for key, value in arrays.items()} == entry["arrays"]
