"""Makes operators.txt: small files as exporters write them, and what onnxruntime says of them.

    pip install numpy==2.4.6 onnx==1.23.2 onnxruntime==1.31.1
    python3 crates/compiler/tests/vectors/make.py

A line a case: name, the file in hex, and then input and output of each sample.
"""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

HERE = Path(__file__).parent
RNG = np.random.default_rng(5)
LINES = []


def f(*shape, spread=1.0):
    return RNG.normal(0, spread, shape).astype(np.float32)


def ints(*values):
    return np.array(values, np.int64)


class Case:
    def __init__(self, name, shape, opset=17):
        self.name, self.shape, self.opset = name, shape, opset
        self.nodes, self.constants = [], []

    def c(self, array):
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def n(self, kind, inputs, outputs=1, **attributes):
        names = [f"v{len(self.nodes)}_{i}" for i in range(outputs)]
        place = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, names, name=place, **attributes))
        return names[0] if outputs == 1 else names

    def done(self, y, inputs=None, spread=1.5, whole=False):
        # Something to compute even where the case only moves elements.
        half = [y] if whole else [y, self.c(np.float32(0.5))]
        self.nodes.append(helper.make_node("Identity" if whole else "Mul", half, ["y"], name="end"))
        graph = helper.make_graph(
            self.nodes, self.name,
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *self.shape])],
            [helper.make_tensor_value_info("y", TensorProto.INT64 if whole else TensorProto.FLOAT, None)],
            self.constants,
        )
        opset = helper.make_opsetid("", self.opset)
        model = helper.make_model(graph, opset_imports=[opset], ir_version=8)
        session = onnxruntime.InferenceSession(model.SerializeToString())
        fields = [self.name, model.SerializeToString().hex()]
        text = lambda a: ",".join(f"{v:.5g}" for v in a)
        for _ in range(6):
            x = (f(1, *self.shape, spread=spread) if inputs is None else inputs()).round(2)
            result = session.run(None, {"x": x})[0]
            fields += [text(x.ravel()), text(result.astype(np.float32).ravel())]
        LINES.append("\t".join(fields))


def positive(*shape):
    return lambda: RNG.uniform(0.2, 3.0, (1, *shape)).astype(np.float32)


def dense():
    k = Case("gemm", [6]); k.done(k.n("Gemm", ["x", k.c(f(4, 6)), k.c(f(4))], transB=1, alpha=0.5, beta=2.0))
    k = Case("gemm_added_value", [5]); a = k.n("Relu", ["x"])
    k.done(k.n("Gemm", [a, k.c(f(5, 5)), "x"]))
    k = Case("shared_layer", [4]); m = k.n("MatMul", ["x", k.c(f(4, 4))])
    k.done(k.n("Sub", [k.n("Relu", [m]), k.n("Add", [m, k.c(f(4))])]))
    k = Case("matmul_rows", [3, 4]); k.done(k.n("Add", [k.n("MatMul", ["x", k.c(f(4, 5))]), k.c(f(5))]))


def conv():
    for name, shape, w, attributes in [
        ("conv", [2, 6, 5], (3, 2, 3, 3), dict(pads=[1, 1, 1, 1])),
        ("conv_uneven", [2, 6, 5], (3, 2, 2, 3), dict(pads=[0, 1, 2, 0], strides=[2, 1])),
        ("conv_groups", [4, 5, 5], (6, 2, 3, 3), dict(group=2, strides=[2, 2])),
        ("conv_depthwise", [3, 5, 6], (3, 1, 3, 3), dict(group=3, pads=[1, 1, 1, 1])),
        ("conv_dilated", [2, 7, 7], (2, 2, 3, 3), dict(dilations=[2, 2])),
        ("conv_same", [2, 5, 6], (2, 2, 3, 2), dict(auto_pad="SAME_UPPER", strides=[2, 2])),
        ("conv_same_lower", [2, 5, 6], (2, 2, 2, 2), dict(auto_pad="SAME_LOWER")),
        ("conv_signal", [2, 9], (4, 2, 3), dict(pads=[1, 1], strides=[2], dilations=[2])),
    ]:
        k = Case(name, shape); k.done(k.n("Conv", ["x", k.c(f(*w)), k.c(f(w[0]))], **attributes))
    for name, shape in [("batch_norm", [3, 4, 4]), ("batch_norm_flat", [4])]:
        k = Case(name, shape); c = shape[0]
        norm = [k.c(f(c)), k.c(f(c)), k.c(f(c)), k.c(RNG.uniform(0.5, 2, c).astype(np.float32))]
        k.done(k.n("BatchNormalization", ["x", *norm], epsilon=1e-3))
    k = Case("conv_norm_relu", [2, 6, 6]); y = k.n("Conv", ["x", k.c(f(4, 2, 3, 3))], pads=[1, 1, 1, 1])
    norm = [k.c(f(4)), k.c(f(4)), k.c(f(4)), k.c(RNG.uniform(0.5, 2, 4).astype(np.float32))]
    k.done(k.n("Relu", [k.n("BatchNormalization", [y, *norm])]))
    k = Case("scaled_input", [2, 5, 5])
    x = k.n("Div", [k.n("Sub", ["x", k.c(f(2, 1, 1))]), k.c(np.array([[[2.0]], [[0.5]]], np.float32))])
    k.done(k.n("Conv", [x, k.c(f(3, 2, 3, 3)), k.c(f(3))]))
    k = Case("scaled_padded", [2, 5, 5])
    x = k.n("Sub", [k.n("Mul", ["x", k.c(np.float32(0.5))]), k.c(f(2, 1, 1))])
    k.done(k.n("Conv", [x, k.c(f(3, 2, 3, 3)), k.c(f(3))], pads=[1, 1, 1, 1]))


def pools():
    for name, kind, shape, attributes in [
        ("max_pool", "MaxPool", [2, 6, 6], dict(kernel_shape=[2, 2], strides=[2, 2])),
        ("max_pool_padded", "MaxPool", [2, 6, 5], dict(kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2])),
        ("max_pool_ceil", "MaxPool", [2, 6, 6], dict(kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)),
        ("max_pool_dilated", "MaxPool", [2, 7, 7], dict(kernel_shape=[2, 2], dilations=[2, 2])),
        ("max_pool_signal", "MaxPool", [2, 9], dict(kernel_shape=[3], strides=[3])),
        ("average_pool", "AveragePool", [2, 6, 6], dict(kernel_shape=[2, 2], strides=[2, 2])),
        ("average_pool_padded", "AveragePool", [2, 5, 5], dict(kernel_shape=[3, 3], pads=[1, 1, 1, 1])),
        ("average_pool_counted", "AveragePool", [2, 5, 5], dict(kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1)),
        ("global_average", "GlobalAveragePool", [3, 4, 5], {}),
        ("global_max", "GlobalMaxPool", [3, 4, 5], {}),
        ("reduce_mean", "ReduceMean", [3, 4, 5], dict(axes=[2, 3], keepdims=0)),
        ("reduce_mean_channels", "ReduceMean", [3, 4, 5], dict(axes=[1], keepdims=1)),
        ("reduce_max", "ReduceMax", [3, 4], dict(axes=[-1], keepdims=0)),
    ]:
        k = Case(name, shape); k.done(k.n(kind, ["x"], **attributes))
    k = Case("reduce_sum", [3, 4]); k.done(k.n("ReduceSum", ["x", k.c(ints(1))], keepdims=0))


def shapes():
    k = Case("view", [2, 3, 4])
    first = k.n("Unsqueeze", [k.n("Gather", [k.n("Shape", ["x"]), k.c(np.int64(0))]), k.c(ints(0))])
    k.done(k.n("Reshape", ["x", k.n("Concat", [first, k.c(ints(-1))], axis=0)]))
    k = Case("product_of_shape", [2, 3, 4]); s = k.n("Shape", ["x"])
    a = k.n("Gather", [s, k.c(np.int64(1))]); b = k.n("Gather", [s, k.c(np.int64(2))])
    half = k.n("Div", [k.n("Mul", [a, b]), k.c(np.int64(2))])
    u = lambda v: k.n("Unsqueeze", [v, k.c(ints(0))])
    k.done(k.n("Reshape", ["x", k.n("Concat", [k.c(ints(1)), u(half), k.c(ints(-1))], axis=0)]))
    k = Case("transpose", [2, 3, 4]); k.done(k.n("Transpose", ["x"], perm=[0, 3, 1, 2]))
    k = Case("nhwc", [5, 5, 2]); t = k.n("Transpose", ["x"], perm=[0, 3, 1, 2])
    y = k.n("Conv", [t, k.c(f(3, 2, 3, 3))], pads=[1, 1, 1, 1])
    k.done(k.n("Transpose", [y], perm=[0, 2, 3, 1]))
    k = Case("slice", [3, 8]); k.done(k.n("Slice", ["x", k.c(ints(1, -1)), k.c(ints(3, -9)), k.c(ints(1, 2)), k.c(ints(1, -3))]))
    k = Case("split_concat", [6, 2]); a, b, c = k.n("Split", ["x", k.c(ints(1, 2, 3))], 3, axis=1)
    k.done(k.n("Concat", [c, k.n("Relu", [a]), b], axis=1))
    k = Case("shuffle", [4, 2, 2]); r = k.n("Reshape", ["x", k.c(ints(1, 2, 2, 2, 2))])
    k.done(k.n("Reshape", [k.n("Transpose", [r], perm=[0, 2, 1, 3, 4]), k.c(ints(1, 4, 2, 2))]))
    k = Case("pad", [2, 3]); k.done(k.n("Pad", ["x", k.c(ints(0, 1, 0, 0, 0, 2)), k.c(np.float32(1.5))]))
    k = Case("pad_reflect", [2, 4]); k.done(k.n("Pad", ["x", k.c(ints(0, 0, 2, 0, 0, 1))], mode="reflect"))
    k = Case("gather", [5, 2]); k.done(k.n("Gather", ["x", k.c(ints(4, 0, -2))], axis=1))
    k = Case("expand", [1, 3]); k.done(k.n("Expand", ["x", k.c(ints(1, 4, 1))]))
    k = Case("squeeze", [1, 3, 1]); k.done(k.n("Squeeze", ["x", k.c(ints(1, 3))]))
    k = Case("flatten", [2, 3]); k.done(k.n("Flatten", ["x"]))
    k = Case("drop_and_cast", [4]); d = k.n("Dropout", ["x"])
    k.done(k.n("Cast", [k.n("Cast", [d], to=TensorProto.DOUBLE)], to=TensorProto.FLOAT))
    k = Case("zeros_joined", [3]); z = k.n("ConstantOfShape", [k.c(ints(1, 2))])
    k.done(k.n("Concat", ["x", z], axis=1))


def elements():
    for name, kind in [("relu", "Relu"), ("abs", "Abs"), ("neg", "Neg"), ("sigmoid", "Sigmoid"), ("tanh", "Tanh"), ("erf", "Erf"), ("softplus", "Softplus"), ("exp", "Exp")]:
        k = Case(name, [9]); k.done(k.n(kind, ["x"]))
    for name, kind in [("sqrt", "Sqrt"), ("log", "Log"), ("reciprocal", "Reciprocal")]:
        k = Case(name, [9]); k.done(k.n(kind, ["x"]), positive(9))
    k = Case("leaky_relu", [9]); k.done(k.n("LeakyRelu", ["x"], alpha=0.1))
    k = Case("clip", [9]); k.done(k.n("Clip", ["x", k.c(np.float32(-0.5)), k.c(np.float32(1))]))
    k = Case("elu", [9]); k.done(k.n("Elu", ["x"], alpha=0.7))
    k = Case("selu", [9]); k.done(k.n("Selu", ["x"]))
    k = Case("hard_sigmoid", [9]); k.done(k.n("HardSigmoid", ["x"], alpha=0.3))
    k = Case("hard_swish", [9]); k.done(k.n("HardSwish", ["x"]))
    k = Case("prelu_channels", [3, 4]); k.done(k.n("PRelu", ["x", k.c(f(3, 1))]))
    k = Case("pow", [9]); k.done(k.n("Pow", ["x", k.c(np.float32(3))]))
    k = Case("div_by_value", [4]); k.done(k.n("Div", ["x", k.n("Add", [k.n("Mul", ["x", "x"]), k.c(np.float32(1))])]))
    k = Case("sub_values", [4]); r = k.n("Relu", [k.n("Gemm", ["x", k.c(f(4, 4))])]); k.done(k.n("Sub", ["x", r]))
    k = Case("mul_values", [4]); g = k.n("Gemm", ["x", k.c(f(4, 4))]); k.done(k.n("Mul", ["x", g]))
    k = Case("gate", [3, 2, 2]); s = k.n("Sigmoid", [k.n("Conv", [k.n("GlobalAveragePool", ["x"]), k.c(f(3, 3, 1, 1))])])
    k.done(k.n("Mul", ["x", s]))
    k = Case("sum_of_three", [4]); a = k.n("Gemm", ["x", k.c(f(4, 4))]); k.done(k.n("Sum", ["x", a, k.c(f(4))]))
    k = Case("min_max", [4]); g = k.n("Gemm", ["x", k.c(f(4, 4))]); k.done(k.n("Max", [k.n("Min", ["x", g]), k.c(np.float32(-1))]))
    k = Case("by_column", [3, 4]); k.done(k.n("Mul", [k.n("Add", ["x", k.c(f(4))]), k.c(f(3, 1))]))
    k = Case("arg_max", [6]); k.done(k.n("ArgMax", [k.n("Gemm", ["x", k.c(f(6, 5))])], axis=1, keepdims=0), whole=True)


def taken_apart():
    k = Case("silu_apart", [9]); k.done(k.n("Mul", ["x", k.n("Sigmoid", ["x"])]))
    k = Case("gelu_apart", [9]); e = k.n("Erf", [k.n("Div", ["x", k.c(np.float32(2**0.5))])])
    y = k.n("Mul", ["x", k.n("Add", [e, k.c(np.float32(1))])]); k.done(k.n("Mul", [y, k.c(np.float32(0.5))]))
    k = Case("leaky_apart", [9]); small = k.n("Mul", ["x", k.c(np.float32(0.01))])
    k.done(k.n("Where", [k.n("Greater", ["x", k.c(np.float32(0))]), "x", small]))
    k = Case("relu_apart", [9]); k.done(k.n("Max", ["x", k.c(np.float32(0))]))
    k = Case("sigmoid_apart", [9]); e = k.n("Exp", [k.n("Neg", ["x"])])
    k.done(k.n("Reciprocal", [k.n("Add", [e, k.c(np.float32(1))])]))
    k = Case("swish_hard_apart", [9]); c = k.n("Clip", [k.n("Add", ["x", k.c(np.float32(3))]), k.c(np.float32(0)), k.c(np.float32(6))])
    k.done(k.n("Div", [k.n("Mul", ["x", c]), k.c(np.float32(6))]))
    k = Case("mask", [9]); m = k.n("Cast", [k.n("Less", ["x", k.c(np.float32(0.5))])], to=TensorProto.FLOAT)
    k.done(k.n("Mul", ["x", m]))


def quantised():
    q = lambda a, scale: np.clip(np.round(a / scale), -127, 127).astype(np.int8)
    i8, u8 = (lambda v: np.int8(v)), (lambda v: np.uint8(v))
    k = Case("qdq", [6]); s = lambda v: k.c(np.float32(v))
    pair = lambda x, scale, zero: k.n("DequantizeLinear", [k.n("QuantizeLinear", [x, s(scale), k.c(zero)]), s(scale), k.c(zero)])
    x = pair("x", 0.04, i8(0))
    w = k.n("DequantizeLinear", [k.c(q(f(6, 5), 0.02)), k.c(np.full(5, 0.02, np.float32)), k.c(np.zeros(5, np.int8))], axis=1)
    k.done(pair(k.n("Relu", [k.n("MatMul", [x, w])]), 0.06, u8(0)))
    k = Case("qlinear", [2, 5, 5]); s = lambda v: k.c(np.float32(v))
    x = k.n("QuantizeLinear", ["x", s(0.05), k.c(u8(128))])
    w = q(f(3, 2, 3, 3), 0.02)
    y = k.n("QLinearConv", [x, s(0.05), k.c(u8(128)), k.c(w), k.c(np.full(3, 0.02, np.float32)), k.c(np.zeros(3, np.int8)), s(0.1), k.c(u8(100)), k.c(np.array([50, -20, 7], np.int32))], pads=[1, 1, 1, 1])
    flat = k.n("Reshape", [y, k.c(ints(1, 75))])
    w = q(f(75, 4, spread=0.3), 0.01)
    y = k.n("QLinearMatMul", [flat, s(0.1), k.c(u8(100)), k.c(w), s(0.01), k.c(i8(0)), s(0.15), k.c(u8(120))])
    k.done(k.n("DequantizeLinear", [y, s(0.15), k.c(u8(120))]), spread=1.0)


for family in [dense, conv, pools, shapes, elements, taken_apart, quantised]:
    family()
(HERE / "operators.txt").write_text("\n".join(LINES) + "\n")
print(len(LINES), "cases")
