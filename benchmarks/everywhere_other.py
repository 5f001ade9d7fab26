"""Runs exported ONNX in the onnxruntime of this Python, without bittailor: what `everywhere.py` starts in another one.

    python benchmarks/everywhere_other.py FOLDER

FOLDER holds NUMBER.run.onnx, NUMBER.npz (x, lengths, y) and, where there is a step, NUMBER.step.onnx with x0 … in the
file in the order of the model's inputs, and after each step what it gave. Prints one JSON object.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime


def session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def run(folder: Path, number: str) -> tuple[int, int]:
    """(integers compared, integers that differ) of one program."""
    data = np.load(folder / f"{number}.npz")
    model = session(folder / f"{number}.run.onnx")
    (y,) = model.run(None, dict(zip([i.name for i in model.get_inputs()], (data["x"], data["lengths"]), strict=True)))
    compared, wrong = y.size, int((y != data["y"]).sum())
    if not (folder / f"{number}.step.onnx").is_file():
        return compared, wrong
    model = session(folder / f"{number}.step.onnx")
    names = [i.name for i in model.get_inputs()]
    state = [data[f"start{i}"] for i in range(len(names) - 1)]
    for t in range(data["x"].shape[1]):
        out, *state = model.run(None, dict(zip(names, (data["x"][:, t], *state), strict=True)))
        for got, want in zip((out, *state), (data[f"out{t}"], *(data[f"state{t}.{i}"] for i in range(len(state)))),
                             strict=True):
            compared, wrong = compared + got.size, wrong + int((got != want).sum())
    return compared, wrong


def main(folder: Path) -> None:
    """Every program of a folder."""
    compared, wrong, programs = 0, 0, []
    for path in sorted(folder.glob("*.npz")):
        some, bad = run(folder, path.stem)
        compared, wrong = compared + some, wrong + bad
        programs += [path.stem] if bad else []
    print(json.dumps({"version": onnxruntime.__version__, "compared": compared, "different": wrong,
                      "programs": programs}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
