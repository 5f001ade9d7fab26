"""Makes exported.zip: the modules of `modules` as both of torch's exporters write them, and their weights.

    pip install onnxscript && python tests/exported/make_exported.py              all, some minutes
    python tests/exported/make_exported.py --only NAME …                          some, the others stay as they are

Every file is written in a process of its own: from the second export in one process on, the new exporter fails with
dynamic shapes. What an exporter refuses is in refused.json with its first line.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tempfile
import warnings
import zipfile
from pathlib import Path

import onnx
import torch
from safetensors.torch import save

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from exported.modules import DYNAMIC, MODULES, example  # noqa: E402

EXPORTERS = ("legacy", "dynamo", "fixed")


def export(name: str, exporter: str) -> bytes:
    """One file, without the lines of source code that the new exporter keeps."""
    torch.manual_seed(list(MODULES).index(name))
    known = MODULES[name]
    module, given, file = known.make().eval(), example(known), io.BytesIO()
    axes = {n: {i: axis for i, axis in enumerate(axes) if axis in DYNAMIC} for n, axes in known.inputs.items()}
    names = {"input_names": list(known.inputs), "output_names": list(known.outputs)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.onnx"
        if exporter == "legacy":
            torch.onnx.export(module, given, path, dynamo=False, dynamic_axes=axes, **names)
        elif exporter == "dynamo":
            sizes = tuple(dict.fromkeys(axes[n], torch.export.Dim.AUTO) for n in known.inputs)
            torch.onnx.export(module, given, path, dynamo=True, external_data=False, dynamic_shapes=sizes, **names)
        else:
            torch.onnx.export(module, given, path, dynamo=True, external_data=False, **names)
        model = onnx.load(path)
    for node in model.graph.node:
        kept = [p for p in node.metadata_props if "stack_trace" not in p.key and "fx_node" not in p.key]
        del node.metadata_props[:]
        node.metadata_props.extend(kept)
    file.write(model.SerializeToString(deterministic=True))
    return file.getvalue()


def weights(name: str) -> bytes:
    """The module's parameters."""
    torch.manual_seed(list(MODULES).index(name))
    return save(MODULES[name].make().state_dict())


def main() -> None:
    """Make the archive; with a name and an exporter, write that one file to standard output."""
    if len(sys.argv) == 3 and sys.argv[1] != "--only":
        warnings.simplefilter("ignore")
        out, sys.stdout = sys.stdout.buffer, sys.stderr
        out.write(export(*sys.argv[1:]))
        return
    only = sys.argv[2:] or list(MODULES)
    file, kept = HERE / "exported.zip", dict[str, bytes]()
    if len(only) < len(MODULES):
        with zipfile.ZipFile(file) as archive:
            kept = {name: archive.read(name) for name in archive.namelist() if name.split(".")[0] not in only}
    refused = {name: said for name, said in json.loads(kept.pop("refused.json", b"{}")).items()
               if name.split(".")[0] not in only}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        def put(name: str, data: bytes) -> None:
            archive.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), data, zipfile.ZIP_DEFLATED)

        for name, data in kept.items():
            put(name, data)
        for name in only:
            put(f"{name}.safetensors", weights(name))
            for exporter in EXPORTERS:
                made = subprocess.run([sys.executable, __file__, name, exporter], capture_output=True)
                if made.returncode == 0:
                    put(f"{name}.{exporter}.onnx", made.stdout)
                    continue
                lines = [line for line in made.stderr.decode().splitlines() if "Error" in line[:60]]
                refused[f"{name}.{exporter}"] = (lines or ["?"])[-1].split(". ")[0][:200]
        put("refused.json", json.dumps(refused, indent=1).encode())


if __name__ == "__main__":
    main()
