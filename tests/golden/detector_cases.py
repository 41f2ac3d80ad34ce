"""Reads recorded detector cases (tests/golden/detector/FORMAT.md) and runs tests over them.

    from golden.detector_cases import generate as pytest_generate_tests, golden

    @golden("ohem", "contract")
    def test_losses(case):
        case.check("loss", roi_losses(case.inputs["cls_prob"], ...))
"""
from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass
class Case:
    """One recorded call: inputs, outputs, the settings it read and the tolerance of each output."""
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
        """Parts of a concatenated input or output by its `*_counts` array."""
        arrays = {**self.outputs, **self.inputs}
        return np.split(arrays[name], np.cumsum(arrays[counts].reshape(-1))[:-1])


def load_cases(folder: str | Path, group: str, *kinds: str, name: str | None = None) -> list[Case]:
    """All cases of a group (of the given kinds; all kinds if none is given)."""
    entries = json.loads((Path(folder) / "index.json").read_text(encoding="utf-8"))
    return [_load(Path(folder), entry) for entry in entries
            if entry["group"] == group and (not kinds or entry["kind"] in kinds)
            and (name is None or entry["name"].startswith(name))]


def _load(folder: Path, entry: dict[str, Any]) -> Case:
    with np.load(folder / entry["file"], allow_pickle=False) as file:
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


def golden(group: str, *kinds: str, name: str | None = None):
    """Run the decorated test once for every case of the group, handed over as `case`."""
    def mark(function):
        function.golden = (group, kinds, name)
        return function
    return mark


def generate(metafunc) -> None:
    """To be imported by a test module under the name pytest_generate_tests."""
    selection = getattr(metafunc.function, "golden", None)
    if selection:
        group, kinds, name = selection
        cases = load_cases(metafunc.config.getoption("--golden-detector"), group, *kinds, name=name)
        metafunc.parametrize("case", cases, ids=[case.name for case in cases])
