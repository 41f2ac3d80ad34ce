"""The record of a training run of several steps: the inputs, state and outputs of each step.

It is the file `manifest.json` in the run's output folder, replaced atomically after every change:

    {"format": 1, "steps": {"stage1_rpn": {
        "state": "done",                                    pending, running or done
        "inputs": {"max_iters": "80000", ...},              name -> value or fingerprint, all strings
        "outputs": {"model": {"path": "vgg16_rpn_stage1_iter_80000.caffemodel", "sha256": ..., "size": ...}},
        "solver": {"base_lr": "0.001", ...},                settings, to report what has changed; absent if unknown
        "imdb": "voc_2007_trainval",                        the data set's name, for the same purpose
        "seconds": 8123.4}}}                                total time of all attempts

Paths are relative to the folder and inside it, so that the folder can be moved.
"""
from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from utils.files import DamagedFileError, inside, read_record, sha256_file, write_json
from utils.folder_lock import RunError

FORMAT = 1
PENDING, RUNNING, DONE = "pending", "running", "done"
CONTINUES_FROM = "goes on from"       # input of a step that was extended: the iterations where it ended before
# What a different fingerprint of an input means
_CHANGED = {"data set": "its images or annotations have changed", "net": "the prototxt has changed",
            "solver": "its settings have changed", "weights": "it starts from others",
            "proposals": "it trains on others", "val_imdb": "its annotations have changed",
            "val_net": "the prototxt has changed"}


class Manifest:
    """The manifest of one output folder."""

    FILE = "manifest.json"

    def __init__(self, folder: str | os.PathLike) -> None:
        self.folder = Path(folder)
        self.path = self.folder / self.FILE
        self.existed = self.path.exists()
        self.steps: dict[str, dict[str, Any]] = self._read() if self.existed else {}

    def _read(self) -> dict[str, dict[str, Any]]:
        hint = "delete it to train from the start, or choose another --output"
        content = read_record(self.path, hint, format=int, steps=dict)
        if content["format"] != FORMAT:
            raise RunError(f"{self.path} is no manifest of format {FORMAT}; choose another --output")
        for name, step in content["steps"].items():
            if not _is_complete(step):
                raise RunError(f"{self.path}: damaged, its step '{name}' is not complete; {hint}")
            for entry in step["outputs"].values():
                try:
                    inside(self.folder, entry["path"])
                except DamagedFileError as error:
                    raise DamagedFileError(f"{self.path}: damaged, its step '{name}': {error}; {hint}") from None
        return content["steps"]

    def state(self, step: str) -> str:
        """PENDING, RUNNING (started, possibly killed since) or DONE."""
        return self.steps.get(step, {}).get("state", PENDING)

    def changed(self, step: str, inputs: Mapping[str, str]) -> list[str]:
        """Names of the inputs that have changed since the step was started; [] if it never was."""
        if step not in self.steps:
            return []
        old = self.steps[step]["inputs"]
        return [key for key in sorted({*old, *inputs} - {CONTINUES_FROM}) if old.get(key) != inputs.get(key)]

    def differences(self, step: str, inputs: Mapping[str, str], solver: Mapping[str, str] | None = None,
                    imdb: str = "") -> list[str]:
        """What has changed since the step was started, such as 'max_iters: 400 -> 800'; [] if it never was.

        solver  the settings of the step's solver
        imdb    the name of the data set
        """
        changes = []
        for key in self.changed(step, inputs):
            old, new = self.steps[step]["inputs"].get(key), inputs.get(key)
            words = ", ".join(self.solver_changes(step, solver or {})) if key == "solver" else ""
            named = self.steps[step].get("imdb", imdb)
            if key == "data set" and named != imdb:
                words = f"{named} -> {imdb}"
            if not words and _is_fingerprint(old) and _is_fingerprint(new):
                words = _CHANGED.get(key, "has changed")
            changes.append(f"{key}: {words or f'{_in_words(key, old)} -> {_in_words(key, new)}'}")
        return changes

    def solver_changes(self, step: str, solver: Mapping[str, str]) -> list[str]:
        """Changed settings of a started step's solver, such as 'base_lr 0.1 -> 0.2'; [] if unknown."""
        old = self.steps[step].get("solver")
        if not old or not solver:
            return []
        return [f"{key} {old.get(key, '(absent)')} -> {solver.get(key, '(absent)')}"
                for key in sorted({*old, *solver}) if old.get(key) != solver.get(key)]

    def history(self, step: str, inputs: Mapping[str, str]) -> dict[str, str]:
        """The input CONTINUES_FROM of a step, if it has one and was otherwise started with these inputs."""
        if step not in self.steps or self.changed(step, inputs):
            return {}
        return {key: value for key, value in self.steps[step]["inputs"].items() if key == CONTINUES_FROM}

    def damaged_outputs(self, step: str) -> list[str]:
        """Outputs of a finished step that are missing or modified."""
        return [f"{entry['path']} is {problem}" for entry in self.steps[step].get("outputs", {}).values()
                if (problem := self._problem(entry))]

    def _problem(self, entry: Mapping[str, Any]) -> str:
        path = self.folder / entry["path"]
        if not path.is_file():
            return "missing"
        same = path.stat().st_size == entry["size"] and sha256_file(path) == entry["sha256"]
        return "" if same else "changed"

    def output(self, step: str, name: str) -> Path:
        """Path of an output of a finished step."""
        return self.folder / self.steps[step]["outputs"][name]["path"]

    def output_hash(self, step: str, name: str) -> str:
        """Fingerprint of an output of a finished step."""
        return self.steps[step]["outputs"][name]["sha256"]

    def start(self, step: str, inputs: Mapping[str, str], solver: Mapping[str, str] | None = None,
              imdb: str = "") -> None:
        """Record that a step starts, or resumes with the same inputs; for the other arguments see `differences`."""
        same = step in self.steps and self.steps[step]["inputs"] == dict(inputs)
        seconds = self.steps[step]["seconds"] if same else 0.0
        self.steps[step] = {"state": RUNNING, "inputs": dict(inputs), "outputs": {}, "seconds": seconds,
                            **({"solver": dict(solver)} if solver else {}), **({"imdb": imdb} if imdb else {})}
        self._write()

    def replace_inputs(self, step: str, inputs: Mapping[str, str]) -> None:
        """Record the same inputs of a started step in a new format."""
        self.steps[step]["inputs"] = dict(inputs)
        self._write()

    def add_seconds(self, step: str, seconds: float) -> None:
        """Add time spent on a step, failed attempts included."""
        self.steps[step]["seconds"] += seconds
        self._write()

    def finish(self, step: str, outputs: Mapping[str, str | os.PathLike]) -> None:
        """Record that a step is done; `outputs` maps names to existing files inside the folder."""
        self.steps[step]["outputs"] = {name: self._describe(Path(path)) for name, path in outputs.items()}
        self.steps[step]["state"] = DONE
        self._write()

    def _describe(self, path: Path) -> dict[str, str | int]:
        if not path.resolve().is_relative_to(self.folder.resolve()):
            raise RunError(f"{path}: lies outside of {self.folder}, whose manifest is to name it")
        return {"path": str(path.resolve().relative_to(self.folder.resolve())),
                "sha256": sha256_file(path), "size": path.stat().st_size}

    def forget(self, *steps: str) -> None:
        """Reset steps to pending."""
        for step in steps:
            self.steps.pop(step, None)
        self._write()

    def _write(self) -> None:
        write_json(self.path, {"format": FORMAT, "steps": self.steps})


def _is_complete(step: object) -> bool:
    """Whether the record of a step has all entries, with the right types."""
    return (isinstance(step, dict) and step.get("state") in (PENDING, RUNNING, DONE)
            and isinstance(step.get("inputs"), dict) and isinstance(step.get("outputs"), dict)
            and isinstance(step.get("seconds"), (int, float)) and isinstance(step.get("solver", {}), dict)
            and all(isinstance(value, str) for value in step["inputs"].values())
            and all(isinstance(entry, dict) and isinstance(entry.get("path"), str)
                    and isinstance(entry.get("sha256"), str) and isinstance(entry.get("size"), int)
                    for entry in step["outputs"].values())
            and bool(step["outputs"]) == (step["state"] == DONE))


def _is_fingerprint(value: str | None) -> bool:
    return value is not None and re.fullmatch("[0-9a-f]{64}", value) is not None


def _in_words(key: str, value: str | None) -> str:
    if value is None:
        return "(absent)"
    return ("a data set" if key == "val_imdb" else "a file") if _is_fingerprint(value) else value
