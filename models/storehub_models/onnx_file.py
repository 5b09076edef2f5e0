"""Networks as ONNX files, the same way for all of them.

Owns the form: float32, opset 17, batch 1, static shapes, BatchNorm folded, nothing in the file that differs between two
machines.
"""

from __future__ import annotations

import copy
import hashlib
from pathlib import Path

import onnx
import onnxruntime
import torch
from torch.nn.utils.fusion import fuse_conv_bn_eval

MANIFEST_SCHEMA = "storehub-model/1"
OPSET = 17


def fold_batch_norm(model: torch.nn.Module) -> torch.nn.Module:
    """A copy in which every convolution carries its BatchNorm."""
    model = copy.deepcopy(model).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.Sequential) and len(module) == 3 and isinstance(module[1], torch.nn.BatchNorm2d):
            module[0] = fuse_conv_bn_eval(module[0], module[1])
            module[1] = torch.nn.Identity()
    return model


def write(graph: torch.nn.Module, example: torch.Tensor, outputs: list[str], path: Path) -> None:
    """Writes a graph with one input, `image`; the example's shape becomes the only one."""
    torch.onnx.export(graph.eval(), (example,), str(path), opset_version=OPSET, dynamo=False,
                      input_names=["image"], output_names=outputs, do_constant_folding=True)
    loaded = onnx.load(str(path))
    del loaded.metadata_props[:]
    loaded.producer_name, loaded.producer_version, loaded.doc_string = "storehub_models", "", ""
    for node in loaded.graph.node:
        node.doc_string = ""
    onnx.checker.check_model(loaded, full_check=True)
    if any(node.op_type == "BatchNormalization" for node in loaded.graph.node):
        raise AssertionError("BatchNorm must be folded")
    onnx.save(loaded, str(path))


def manifest_head(path: Path, side: int, mean, std, formula: str) -> dict:
    """What every manifest begins with: the written file, and the square picture of `side` pixels that it takes."""
    return {
        "schema": MANIFEST_SCHEMA,
        "name": path.stem,
        "file": path.name,
        "sha256": sha256(path),
        "bytes": path.stat().st_size,
        "licence": "the licence of this repository; trained from nothing on pictures drawn by our own code",
        "opset": OPSET,
        "input": {
            "name": "image", "shape": [1, 3, side, side], "type": "float32", "layout": "NCHW", "colour": "RGB",
            "range": [0.0, 1.0], "mean": list(mean), "std": list(std), "formula": formula,
        },
    }


def session(path: Path) -> onnxruntime.InferenceSession:
    """The file in ONNX Runtime, on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def sha256(path: Path) -> str:
    """Lower-case hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
