"""Where a training run keeps what it goes on from."""
from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from fast_rcnn import parallel
from fast_rcnn.config import cfg
from utils.files import read_record, write_json


class Checkpoints:
    """The newest checkpoint of a run, in a folder of its own. Of several processes the first one writes it.

    `checkpoint.json` names the files and is written last, so it is never about files that are not complete.

    folder    where they are kept; made when the first one is written
    run_hash  fingerprint of what the run was made from; a checkpoint of another run is not used
    """

    def __init__(self, folder: str | os.PathLike, run_hash: str = "") -> None:
        self.folder, self.run_hash = Path(folder), run_hash
        self._note = self.folder / "checkpoint.json"

    def write(self, solver: Any) -> None:
        """Keep weights, history and iteration of a solver, and remove the checkpoint before.

        Other Caffes do not let us say where: there is no checkpoint then.
        """
        if parallel.is_first() and hasattr(getattr(solver, "param", None), "snapshot_prefix"):
            self._write(solver)
        parallel.wait()     # nobody leaves, and so ends the run, before it is complete

    def _write(self, solver: Any) -> None:
        target = self.folder / f"iter_{solver.iter}"
        target.mkdir(parents=True, exist_ok=True)
        before = solver.param.snapshot_prefix
        solver.param.snapshot_prefix = str(target.resolve() / "checkpoint")
        try:
            state = solver.snapshot()
        finally:
            solver.param.snapshot_prefix = before
        write_json(self._note, {"iteration": solver.iter, "run": self.run_hash, "seed": cfg.RNG_SEED,
                                "state": f"{target.name}/{Path(state).name}"})
        for other in self.folder.glob("iter_*"):
            if other != target:
                shutil.rmtree(other)

    def newest(self) -> Path | None:
        """The solver state to go on from; None if there is none of this run."""
        if not self._note.exists():
            return None
        note = read_record(self._note, self.how_to_begin_anew, run=str, state=str)
        state = self.folder / note["state"]
        return state if note["run"] == self.run_hash and state.exists() else None

    @property
    def how_to_begin_anew(self) -> str:
        """What to do about checkpoints that are damaged."""
        return f"delete the folder {self.folder} to train from the start"

    def remove(self) -> None:
        """Delete all of them."""
        if parallel.is_first():
            shutil.rmtree(self.folder, ignore_errors=True)
