"""Trains the shipped models and writes their files. For maintainers; nothing else needs Python.

    pip install numpy==2.4.6 scikit-learn==1.9.1 onnx==1.23.2
    python3 models/train.py

Data: the breast cancer (Wisconsin diagnostic) and digits sets inside the scikit-learn wheel.
Fixed seeds and one thread; another release of numpy or scikit-learn may give other weights.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

HERE = Path(__file__).parent
SEED = 20


def train(x, y, axis, hidden, alpha):
    """Weights and biases of a network on raw features: standardisation is folded into layer 1.

    axis 0: each feature by itself (features of different units); None: all alike (pixels).
    """
    mean = np.broadcast_to(x.mean(axis=axis), x.shape[1])
    std = np.broadcast_to(x.std(axis=axis), x.shape[1])
    net = MLPClassifier(hidden, alpha=alpha, random_state=SEED, max_iter=2000)
    net.fit((x - mean) / std, y)
    weights = [w.copy() for w in net.coefs_]
    biases = [b.copy() for b in net.intercepts_]
    biases[0] -= (mean / std) @ weights[0]
    weights[0] /= std[:, None]
    if weights[-1].shape[1] == 1:  # one logit z of class 1: two logits -z/2 and z/2
        weights[-1] = np.hstack([-weights[-1] / 2, weights[-1] / 2])
        biases[-1] = np.hstack([-biases[-1] / 2, biases[-1] / 2])
    return weights, biases


def matmul_nodes(layer, x, y):
    return [
        helper.make_node("MatMul", [x, f"w{layer}"], [f"m{layer}"], name=f"matmul{layer}"),
        helper.make_node("Add", [f"m{layer}", f"b{layer}"], [y], name=f"add{layer}"),
    ]


def gemm_nodes(layer, x, y):
    return [helper.make_node("Gemm", [x, f"w{layer}", f"b{layer}"], [y], name=f"gemm{layer}")]


def to_onnx(name, weights, biases, layer_nodes):
    nodes, initializers, x = [], [], "features"
    for layer, (w, b) in enumerate(zip(weights, biases)):
        last = layer == len(weights) - 1
        initializers.append(numpy_helper.from_array(w.astype(np.float32), f"w{layer}"))
        initializers.append(numpy_helper.from_array(b.astype(np.float32), f"b{layer}"))
        y = "logits" if last else f"z{layer}"
        nodes += layer_nodes(layer, x, y)
        if not last:
            x = f"h{layer}"
            nodes.append(helper.make_node("Relu", [y], [x], name=f"relu{layer}"))
    features, classes = weights[0].shape[0], weights[-1].shape[1]
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", features])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", classes])],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def logits(weights, biases, x):
    for w, b in zip(weights[:-1], biases[:-1]):
        x = np.maximum(x @ w.astype(np.float32) + b.astype(np.float32), 0)
    return x @ weights[-1].astype(np.float32) + biases[-1].astype(np.float32)


def number(value):
    return np.format_float_positional(np.float32(value), unique=True, trim="-")


def write_rows(path, header, rows):
    lines = [",".join(header)] + [",".join(row) for row in rows]
    path.write_text("\n".join(lines) + "\n")


def ship(name, data, names, axis, hidden, alpha, held_out, calibration, layer_nodes):
    x, y = data.data.astype(np.float32), data.target
    x_train, x_held, y_train, y_held = train_test_split(
        x, y, test_size=held_out, random_state=SEED, stratify=y
    )
    weights, biases = train(x_train, y_train, axis, hidden, alpha)
    folder = HERE / name
    folder.mkdir(exist_ok=True)
    model = to_onnx(name, weights, biases, layer_nodes)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    rows = [[number(v) for v in row] for row in x_train[:calibration]]
    write_rows(folder / "calibration.csv", names, rows)
    rows = [[str(c)] + [number(v) for v in row] for c, row in zip(y_held, x_held)]
    write_rows(folder / "samples.csv", ["class"] + names, rows)
    right = int((logits(weights, biases, x_held).argmax(axis=1) == y_held).sum())
    print(f"{name}: float model right on {right} of {len(y_held)} held-out samples")


def main():
    cancer = load_breast_cancer()
    names = [n.replace(" ", "_") for n in cancer.feature_names]
    ship("tumour", cancer, names, 0, (16,), 1.0, 114, 128, matmul_nodes)
    digits = load_digits()
    names = [f"pixel_{i // 8}_{i % 8}" for i in range(64)]
    ship("digits", digits, names, None, (32,), 1.0, 200, 200, gemm_nodes)


if __name__ == "__main__":
    main()
