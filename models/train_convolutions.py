"""Trains the two small convolutional networks and writes their files. For maintainers.

    pip install numpy==2.4.6 scikit-learn==1.9.1 onnx==1.23.2 onnxruntime==1.31.1
    python3 models/train_convolutions.py

Data: the digits set inside the scikit-learn wheel, split as train.py splits it. The files are
written as exporters of deep-learning frameworks write them: batch norm as a node of its own, shapes
computed by nodes, activations taken apart, constants as nodes. The answers that the importer is
held against are onnxruntime's. Fixed seeds and one thread; another release may give other weights.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

HERE = Path(__file__).parent
SEED = 20


class Conv:
    """3 x 3 with padding 1, or 1 x 1; groups of channels; no bias."""

    def __init__(self, rng, inputs, outputs, kernel, groups=1):
        fan = inputs // groups * kernel * kernel
        self.w = rng.normal(0, np.sqrt(2 / fan), (outputs, inputs // groups, kernel, kernel))
        self.groups, self.k = groups, kernel

    def taps(self):
        return [(i, j) for i in range(self.k) for j in range(self.k)]

    def forward(self, x, training):
        n, c, h, w = x.shape
        pad = self.k // 2
        padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
        patches = np.stack([padded[:, :, i : i + h, j : j + w] for i, j in self.taps()], 2)
        g, o = self.groups, self.w.shape[0]
        self.patches = patches.reshape(n, g, c // g * self.k**2, h * w)
        weights = self.w.reshape(g, o // g, -1)
        self.shape = x.shape
        return np.einsum("gok,ngkp->ngop", weights, self.patches, optimize=True).reshape(n, o, h, w)

    def backward(self, d):
        n, c, h, w = self.shape
        g, o, pad = self.groups, self.w.shape[0], self.k // 2
        d = d.reshape(n, g, o // g, h * w)
        grad = np.einsum("ngop,ngkp->gok", d, self.patches, optimize=True)
        self.grads = [(self.w, grad.reshape(self.w.shape))]
        weights = self.w.reshape(g, o // g, -1)
        back = np.einsum("gok,ngop->ngkp", weights, d, optimize=True)
        back = back.reshape(n, c, self.k**2, h, w)
        padded = np.zeros((n, c, h + 2 * pad, w + 2 * pad))
        for t, (i, j) in enumerate(self.taps()):
            padded[:, :, i : i + h, j : j + w] += back[:, :, t]
        return padded[:, :, pad : pad + h, pad : pad + w]


class BatchNorm:
    def __init__(self, channels):
        self.gamma, self.beta = np.ones(channels), np.zeros(channels)
        self.mean, self.var = np.zeros(channels), np.ones(channels)

    def forward(self, x, training):
        if not training:
            mean, var = self.mean, self.var
        else:
            mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3))
            self.mean = 0.9 * self.mean + 0.1 * mean
            self.var = 0.9 * self.var + 0.1 * var
        column = lambda v: v[None, :, None, None]
        self.std = np.sqrt(column(var) + 1e-5)
        self.x = (x - column(mean)) / self.std
        return column(self.gamma) * self.x + column(self.beta)

    def backward(self, d):
        self.grads = [(self.gamma, (d * self.x).sum((0, 2, 3))), (self.beta, d.sum((0, 2, 3)))]
        d = d * self.gamma[None, :, None, None]
        average = lambda v: v.mean((0, 2, 3), keepdims=True)
        return (d - average(d) - self.x * average(d * self.x)) / self.std


class Relu:
    grads = []

    def forward(self, x, training):
        self.on = x > 0
        return x * self.on

    def backward(self, d):
        return d * self.on


class Silu:
    grads = []

    def forward(self, x, training):
        self.x, self.s = x, 1 / (1 + np.exp(-x))
        return x * self.s

    def backward(self, d):
        return d * self.s * (1 + self.x * (1 - self.s))


class MaxPool:
    grads = []

    def forward(self, x, training):
        n, c, h, w = x.shape
        blocks = x.reshape(n, c, h // 2, 2, w // 2, 2)
        y = blocks.max((3, 5), keepdims=True)
        self.on = blocks == y
        self.shape = x.shape
        return y.reshape(n, c, h // 2, w // 2)

    def backward(self, d):
        return (self.on * d[:, :, :, None, :, None]).reshape(self.shape)


class Mean:
    grads = []

    def forward(self, x, training):
        self.shape = x.shape
        return x.mean((2, 3))

    def backward(self, d):
        n, c, h, w = self.shape
        return np.broadcast_to(d[:, :, None, None] / (h * w), self.shape)


class Flatten:
    grads = []

    def forward(self, x, training):
        self.shape = x.shape
        return x.reshape(len(x), -1)

    def backward(self, d):
        return d.reshape(self.shape)


class Linear:
    def __init__(self, rng, inputs, outputs):
        self.w = rng.normal(0, np.sqrt(1 / inputs), (outputs, inputs))
        self.b = np.zeros(outputs)

    def forward(self, x, training):
        self.x = x
        return x @ self.w.T + self.b

    def backward(self, d):
        self.grads = [(self.w, d.T @ self.x), (self.b, d.sum(0))]
        return d @ self.w


class Residual:
    """What the layers make, added to what they take."""

    def __init__(self, layers):
        self.layers = layers

    def forward(self, x, training):
        y = x
        for layer in self.layers:
            y = layer.forward(y, training)
        return x + y

    def backward(self, d):
        back = d
        for layer in reversed(self.layers):
            back = layer.backward(back)
        self.grads = [g for layer in self.layers for g in layer.grads]
        return d + back


def train(layers, x, y, rng, epochs):
    moments, step = {}, 0
    for epoch in range(epochs):
        rate = 3e-3 * 0.5 * (1 + np.cos(np.pi * epoch / epochs))
        order = rng.permutation(len(x))
        for start in range(0, len(x), 64):
            rows = order[start : start + 64]
            # Shifted by up to a pixel, so that few examples say more.
            shift = rng.integers(-1, 2, 2)
            z = np.roll(x[rows], shift, (2, 3))
            for layer in layers:
                z = layer.forward(z, True)
            p = np.exp(z - z.max(1, keepdims=True))
            p /= p.sum(1, keepdims=True)
            p[np.arange(len(rows)), y[rows]] -= 1
            d = p / len(rows)
            for layer in reversed(layers):
                d = layer.backward(d)
            step += 1
            for value, grad in [g for layer in layers for g in layer.grads]:
                m, v = moments.setdefault(id(value), [np.zeros_like(value), np.zeros_like(value)])
                m += 0.1 * (grad - m)
                v += 0.001 * (grad**2 - v)
                scaled = (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8)
                value -= rate * (scaled + 1e-2 * value * (value.ndim > 1))


class Writer:
    """Nodes and constants, as a framework's exporter names them."""

    def __init__(self):
        self.nodes, self.constants, self.count = [], [], 0

    def constant(self, name, array):
        self.constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def node(self, kind, inputs, **attributes):
        self.count += 1
        out = f"/{kind}_{self.count}_output_0"
        node = helper.make_node(kind, inputs, [out], name=f"/{kind}_{self.count}", **attributes)
        self.nodes.append(node)
        return out

    def literal(self, array):
        """A constant that is a node."""
        return self.node("Constant", [], value=numpy_helper.from_array(np.asarray(array)))

    def layers(self, layers, x, prefix):
        for place, layer in enumerate(layers):
            x = self.layer(layer, x, f"{prefix}.{place}")
        return x

    def layer(self, layer, x, name):
        f32 = lambda a: a.astype(np.float32)
        if isinstance(layer, Conv):
            k, pad = layer.k, layer.k // 2
            w = self.constant(f"{name}.weight", f32(layer.w))
            return self.node(
                "Conv", [x, w], dilations=[1, 1], group=layer.groups, kernel_shape=[k, k],
                pads=[pad] * 4, strides=[1, 1],
            )
        if isinstance(layer, BatchNorm):
            parts = [("weight", layer.gamma), ("bias", layer.beta)]
            parts += [("running_mean", layer.mean), ("running_var", layer.var)]
            names = [self.constant(f"{name}.{part}", f32(v)) for part, v in parts]
            return self.node("BatchNormalization", [x, *names], epsilon=1e-5, momentum=0.9)
        if isinstance(layer, Relu):
            return self.node("Relu", [x])
        if isinstance(layer, Silu):
            return self.node("Mul", [x, self.node("Sigmoid", [x])])
        if isinstance(layer, MaxPool):
            return self.node("MaxPool", [x], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=0)
        if isinstance(layer, Mean):
            return self.node("ReduceMean", [x], axes=[-1, -2], keepdims=0)
        if isinstance(layer, Flatten):
            # x.view(x.size(0), -1)
            first = self.node("Gather", [self.node("Shape", [x]), self.literal(np.int64(0))], axis=0)
            axes = self.literal(np.array([0]))
            first = self.node("Unsqueeze", [first, axes])
            shape = self.node("Concat", [first, self.literal(np.array([-1]))], axis=0)
            return self.node("Reshape", [x, shape], allowzero=0)
        if isinstance(layer, Linear):
            w = self.constant(f"{name}.weight", f32(layer.w))
            b = self.constant(f"{name}.bias", f32(layer.b))
            return self.node("Gemm", [x, w, b], alpha=1.0, beta=1.0, transB=1)
        return self.node("Add", [x, self.layers(layer.layers, x, name)])

    def model(self, name, layers):
        x = self.node("Div", ["image", self.literal(np.float32(16))])
        y = self.layers(layers, x, name)
        self.nodes.append(helper.make_node("Identity", [y], ["logits"], name="/Identity"))
        batch = lambda *dims: ["batch", *dims]
        graph = helper.make_graph(
            self.nodes,
            name,
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, batch(1, 8, 8))],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, batch(10))],
            self.constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model)
        return model


def ship(name, layers, epochs):
    digits = load_digits()
    x, y = digits.data.astype(np.float32), digits.target
    x_train, x_held, y_train, y_held = train_test_split(
        x, y, test_size=200, random_state=SEED, stratify=y
    )
    train(layers, x_train.reshape(-1, 1, 8, 8) / 16, y_train, np.random.default_rng(SEED), epochs)
    folder = HERE / name
    folder.mkdir(exist_ok=True)
    model = Writer().model(name, layers)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"))
    logits = session.run(None, {"image": x_held.reshape(-1, 1, 8, 8)})[0]
    number = lambda v: np.format_float_positional(np.float32(v), unique=True, trim="-")
    rows = [",".join(number(v) for v in row) for row in logits]
    header = ",".join(f"logit_{c}" for c in range(10))
    (folder / "logits.csv").write_text("\n".join([header, *rows]) + "\n")
    right = int((logits.argmax(axis=1) == y_held).sum())
    print(f"{name}: {right} of {len(y_held)}, {(folder / 'model.onnx').stat().st_size} bytes")


def main():
    rng = np.random.default_rng(SEED)
    plain = [
        Conv(rng, 1, 12, 3), BatchNorm(12), Relu(),
        Conv(rng, 12, 16, 3), BatchNorm(16), Relu(), MaxPool(),
        Flatten(), Linear(rng, 256, 10),
    ]
    ship("convolution", plain, 40)
    block = [Conv(rng, 16, 16, 3, 4), BatchNorm(16), Relu(), Conv(rng, 16, 16, 1), BatchNorm(16)]
    separable = [
        Conv(rng, 1, 16, 3), BatchNorm(16), Silu(),
        Residual(block), Relu(),
        Conv(rng, 16, 16, 3, 16), BatchNorm(16), Silu(),
        Conv(rng, 16, 32, 1), BatchNorm(32), Relu(),
        Mean(), Linear(rng, 32, 10),
    ]
    ship("depthwise", separable, 60)


if __name__ == "__main__":
    main()
