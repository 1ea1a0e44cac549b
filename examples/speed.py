"""onnxruntime's own 8 bits on one thread, for `speed.rs`: layers of the widths that are given,
quantised in both of its formats. Says its version and the formats, then answers each format's name
with microseconds a run. Weights are random, as on the other side; input and output are bound once,
so that a call from Python costs little."""

import os
import sys
import tempfile
import time

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)

WIDTHS = [int(width) for width in sys.argv[1:]]
RUNS = 20


class Samples(CalibrationDataReader):
    def __init__(self, rng):
        self.rows = iter(rng.random((64, 1, WIDTHS[0]), dtype=np.float32))

    def get_next(self):
        row = next(self.rows, None)
        return None if row is None else {"x": row}


def floats(rng, path):
    nodes, tensors, last = [], [], "x"
    for layer, (columns, rows) in enumerate(zip(WIDTHS, WIDTHS[1:])):
        weights = rng.normal(0, columns**-0.5, (rows, columns)).astype(np.float32)
        tensors.append(numpy_helper.from_array(weights, f"w{layer}"))
        tensors.append(numpy_helper.from_array(np.zeros(rows, np.float32), f"b{layer}"))
        gemm = [last, f"w{layer}", f"b{layer}"]
        nodes.append(helper.make_node("Gemm", gemm, [f"y{layer}"], transB=1))
        last = f"y{layer}"
        if rows != WIDTHS[-1]:
            nodes.append(helper.make_node("Relu", [last], [f"r{layer}"]))
            last = f"r{layer}"
    value = lambda name, width: helper.make_tensor_value_info(
        name, TensorProto.FLOAT, [1, width]
    )
    graph = helper.make_graph(
        nodes, "m", [value("x", WIDTHS[0])], [value(last, WIDTHS[-1])], tensors
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)


def session(path):
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    s = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    binding = s.io_binding()
    rng = np.random.default_rng(2)
    x = rng.random((1, WIDTHS[0]), dtype=np.float32)
    binding.bind_ortvalue_input("x", ort.OrtValue.ortvalue_from_numpy(x))
    out = s.get_outputs()[0].name
    y = ort.OrtValue.ortvalue_from_numpy(np.zeros((1, WIDTHS[-1]), np.float32))
    binding.bind_ortvalue_output(out, y)
    return lambda: s.run_with_iobinding(binding)


def main():
    ort.set_default_logger_severity(4)
    runs = {}
    with tempfile.TemporaryDirectory() as folder:
        model = os.path.join(folder, "floats.onnx")
        floats(np.random.default_rng(1), model)
        for name in ["QDQ", "QOperator"]:
            path = os.path.join(folder, f"{name}.onnx")
            quantize_static(
                model,
                path,
                Samples(np.random.default_rng(3)),
                quant_format=QuantFormat[name],
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
            runs[name] = session(path)
    print(ort.__version__, *runs, flush=True)
    for line in sys.stdin:
        run = runs[line.strip()]
        for _ in range(3):
            run()
        began = time.perf_counter()
        for _ in range(RUNS):
            run()
        print((time.perf_counter() - began) / RUNS * 1e6, flush=True)


main()
