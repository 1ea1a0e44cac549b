"""Makes the graph vectors from docs/spec/model.md alone: encoding and big-integer arithmetic.

    python3 crates/graph/tests/vectors/make.py
"""

import random
import struct
from pathlib import Path

HERE = Path(__file__).parent
DENSE, REQUANTISE, ADD, CLAMP, ARG_MAX = 1, 2, 3, 4, 5


def header(magic, elements, lo, hi, count):
    return magic + struct.pack(">IiiI", elements, lo, hi, count)


def node(kind, inputs, shape, parameters):
    head = struct.pack(">B", kind) + b"".join(struct.pack(">I", i) for i in inputs)
    return head + shape + parameters, head + shape


def dense(source, weights, bias, width, wide):
    shape = struct.pack(">IIBB", len(bias), len(weights[0]), width, wide)
    flat = [w for row in weights for w in row]
    body = struct.pack(f">{len(bias)}i", *bias)
    body += struct.pack(f">{len(flat)}{'b' if width == 1 else 'h'}", *flat)

    def run(values):
        x = values[source]
        return [b + sum(w * v for w, v in zip(row, x)) for row, b in zip(weights, bias)]

    return node(DENSE, [source], shape, body), run


def requantise(source, multipliers, shift, lo, hi):
    shape = struct.pack(">BhhI", shift, lo, hi, len(multipliers))
    body = struct.pack(f">{len(multipliers)}H", *multipliers)

    def run(values):
        x = values[source]
        size = len(x) // len(multipliers)
        scaled = [(v * multipliers[i // size]) // 2**shift for i, v in enumerate(x)]
        return [max(lo, min(hi, v)) for v in scaled]

    return node(REQUANTISE, [source], shape, body), run


def add(a, b, left, right):
    def run(values):
        return [left * p + right * q for p, q in zip(values[a], values[b])]

    return node(ADD, [a, b], b"", struct.pack(">HH", left, right)), run


def clamp(source, lo, hi):
    def run(values):
        return [max(lo, min(hi, v)) for v in values[source]]

    return node(CLAMP, [source], struct.pack(">ii", lo, hi), b""), run


def arg_max(source):
    def run(values):
        return [values[source].index(max(values[source]))]

    return node(ARG_MAX, [source], b"", b""), run


def write(name, lines):
    (HERE / f"{name}.vector").write_text("\n".join(lines) + "\n")


def case(name, elements, lo, hi, steps, rng):
    graph = header(b"SRGR\x01", elements, lo, hi, len(steps))
    graph += b"".join(full for (full, _), _ in steps)
    shape = header(b"SRSH\x01", elements, lo, hi, len(steps))
    shape += b"".join(part for (_, part), _ in steps)
    lines = [f"graph {graph.hex()}", f"shape {shape.hex()}"]
    inputs = [[lo] * elements, [hi] * elements]
    inputs += [[rng.randint(lo, hi) for _ in range(elements)] for _ in range(20)]
    for x in inputs:
        values = [x]
        for _, run in steps:
            values.append(run(values))
        lines.append("run " + ",".join(map(str, x)) + " " + ",".join(map(str, values[-1])))
    write(name, lines)
    return graph


def main():
    rng = random.Random(7)
    weights = lambda rows, columns, most: [
        [rng.randint(-most, most) for _ in range(columns)] for _ in range(rows)
    ]
    biases = lambda rows: [rng.randint(-9999, 9999) for _ in range(rows)]
    mlp = [
        dense(0, weights(4, 5, 127), biases(4), 1, 0),
        requantise(1, [rng.randint(0, 65535) for _ in range(4)], 24, 0, 127),
        dense(2, weights(3, 4, 127), biases(3), 1, 0),
    ]
    good = case("mlp", 5, -128, 127, mlp, rng)
    case("mlp_class", 5, -128, 127, mlp + [arg_max(3)], rng)
    residual = mlp[:2] + [
        dense(2, weights(4, 4, 127), biases(4), 1, 0),
        requantise(3, [40000], 20, -127, 127),
        add(2, 4, 300, 8192),
        clamp(5, 0, 2**31 - 1),
    ]
    case("residual", 5, -128, 127, residual, rng)
    wide = [
        dense(0, weights(2, 6, 32767), [2**31 - 1, -(2**31)], 2, 1),
        requantise(1, [65535, 1], 46, -32768, 32767),
    ]
    case("wide", 6, -32768, 32767, wide, rng)
    case("clamp_full_range", 3, -(2**31), 2**31 - 1, [clamp(0, -5, 70000)], rng)

    huge = struct.pack(">BIIIBB", DENSE, 0, 2**32 - 1, 2**32 - 1, 1, 0)
    one = lambda step: header(b"SRGR\x01", 2, -9, 9, 1) + step[0][0]
    bad = {
        "bad_short": (good[:-1], "Short"),
        "bad_trailing": (good + b"\0", "Trailing"),
        "bad_magic": (b"SRGX" + good[4:], "UnknownTag"),
        "bad_version": (good[:4] + b"\x02" + good[5:], "UnknownTag"),
        "bad_operator": (header(b"SRGR\x01", 2, -9, 9, 1) + b"\x63" + bytes(9), "UnknownTag"),
        "bad_huge_dense": (header(b"SRGR\x01", 2, -9, 9, 1) + huge, "TooLong"),
        "bad_many_nodes": (header(b"SRGR\x01", 2, -9, 9, 2**32 - 1), "TooLong"),
        "bad_empty": (header(b"SRGR\x01", 2, -9, 9, 0), "Unsound(Empty)"),
        "bad_input": (header(b"SRGR\x01", 0, -9, 9, 1) + arg_max(0)[0][0], "Unsound(BadInputType)"),
        "bad_forward": (one(arg_max(1)), "Unsound(UnknownValue { node: 0 })"),
        "bad_clamp": (one(clamp(0, 1, 0)), "Unsound(BadParameter { node: 0 })"),
        "bad_shift": (one(requantise(0, [1], 47, 0, 1)), "Unsound(BadParameter { node: 0 })"),
        "bad_channels": (one(requantise(0, [1] * 3, 1, 0, 1)), "Unsound(WrongSize { node: 0 })"),
        "bad_overflow": (
            one(dense(0, [[1, 1]], [2**30 - 18], 1, 0)),
            "Unsound(AccumulatorOverflow { node: 0 })",
        ),
        "bad_unused": (
            header(b"SRGR\x01", 2, -9, 9, 2) + clamp(0, 0, 1)[0][0] + clamp(0, 0, 2)[0][0],
            "Unsound(Unused { value: 1 })",
        ),
        "bad_wide_output": (one(dense(0, [[1, 1]], [0], 1, 1)), "Unsound(WideOutput)"),
    }
    for name, (graph, error) in bad.items():
        write(name, [f"graph {graph.hex()}", f"error {error}"])


if __name__ == "__main__":
    main()
