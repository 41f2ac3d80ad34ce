"""Reads recorded detector cases (tests/golden/detector/FORMAT.md) and runs tests over them.

    from golden.detector_cases import generate as pytest_generate_tests, golden

    @golden("ohem", "contract")
    def test_losses(case):
        case.check("loss", roi_losses(case.inputs["cls_prob"], ...))

Contract cases are selected by their group and the arrays they hold (`has`), never by name, so that another folder of
the same format can be checked: pytest tests --golden-detector DIR. A quirk is one particular question; its test names
the case and is skipped if the folder does not have it.
"""
from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass
class Case:
    """One recorded call: inputs, outputs, settings and the tolerance of each output."""
    name: str
    group: str
    kind: str                       # 'contract', 'quirk' or 'seeded'
    config: dict[str, Any]          # full key -> value; lists stand for tuples
    params: dict[str, Any]
    notes: str
    tolerance: dict[str, Any]
    inputs: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]

    def check(self, name: str, got: Any) -> None:
        """Compare an array with the recorded output `name` within its tolerance."""
        compare(self, name, got)

    def split(self, name: str, counts: str) -> list[np.ndarray]:
        """Parts of a concatenated input or output, split by its `*_counts` array."""
        arrays = {**self.outputs, **self.inputs}
        return np.split(arrays[name], np.cumsum(arrays[counts].reshape(-1))[:-1])


def read_index(folder: str | Path) -> list[dict[str, Any]]:
    """The entries of a folder's index.json."""
    return json.loads((Path(folder) / "index.json").read_text(encoding="utf-8"))


def selects(entry: dict[str, Any], group: str, *kinds: str, name: str = "", has: str | None = None) -> bool:
    """Whether an entry is of a group and one of `kinds` (any if none), starts with `name` and holds the array `has`."""
    return (entry["group"] == group and (not kinds or entry["kind"] in kinds) and entry["name"].startswith(name)
            and (has is None or has in entry["arrays"]))


def load_cases(folder: str | Path, *selection: str, **named: str) -> list[Case]:
    """All cases that `selects` picks."""
    return [load_case(folder, entry) for entry in read_index(folder) if selects(entry, *selection, **named)]


def load_case(folder: str | Path, entry: dict[str, Any]) -> Case:
    """Load the case of an index entry."""
    with np.load(Path(folder) / entry["file"], allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}
    fields = {key: entry[key] for key in ("name", "group", "kind", "config", "params", "notes", "tolerance")}
    return Case(**fields, inputs={k[3:]: v for k, v in arrays.items() if k.startswith("in_")},
                outputs={k[4:]: v for k, v in arrays.items() if k.startswith("out_")})


def compare(case: Case, name: str, got: Any) -> None:
    """Fail with the position of the worst element unless |got - want| <= atol + rtol * |want|."""
    want, got = case.outputs[name], np.asarray(got)
    tolerance = case.tolerance.get("out_" + name, "exact")
    assert got.shape == want.shape, f"{case.name}.{name}: shape {got.shape}, recorded {want.shape}"
    if tolerance in ("exact", "seeded"):
        different = np.asarray(got != want)
    else:
        got, want = got.astype(np.float64), want.astype(np.float64)
        different = ~np.isclose(got, want, rtol=tolerance["rtol"], atol=tolerance["atol"], equal_nan=True)
    if different.any():
        where = tuple(int(i) for i in np.argwhere(different)[0])
        raise AssertionError(f"{case.name}.{name}: {int(different.sum())} of {want.size} values differ, "
                             f"first at {where}: got {got[where]!r}, recorded {want[where]!r}")


def golden(*selection: str, **named: str):
    """Run the decorated test once for every case that `selects` picks, passed as `case`."""
    def mark(function):
        function.golden = selection, named
        return function
    return mark


def generate(metafunc) -> None:
    """For import by a test module under the name pytest_generate_tests."""
    selection = getattr(metafunc.function, "golden", None)
    if selection:
        cases = load_cases(metafunc.config.getoption("--golden-detector"), *selection[0], **selection[1])
        metafunc.parametrize("case", cases, ids=[case.name for case in cases])
