"""Makes the graph vectors from docs/spec/model.md alone: encoding and big-integer arithmetic.

    python3 crates/graph/tests/vectors/make.py
"""

import random
import struct
from pathlib import Path

HERE = Path(__file__).parent
DENSE, REQUANTISE, ADD, CLAMP, ARG_MAX = 1, 2, 3, 4, 5
CONV, MAX_POOL, SUM_POOL, SELECT, TABLE, SLOPES, MULTIPLY = 6, 7, 8, 9, 10, 11, 12


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


def window_bytes(w):
    sizes = [w["channels"], w["height"], w["width"], *w["kernel"], *w["stride"], *w["dilation"]]
    return struct.pack(">13I", *sizes, *w["pads"])


def window(channels, height, width, kernel=(1, 1), stride=(1, 1), dilation=(1, 1), pads=(0,) * 4):
    return dict(locals())


def positions(w):
    """For each position: row and column in the plane of each tap, or None."""
    top, left, bottom, right = w["pads"]
    spread = [(k - 1) * d for k, d in zip(w["kernel"], w["dilation"])]
    rows = range(-top, w["height"] + bottom - spread[0], w["stride"][0])
    columns = range(-left, w["width"] + right - spread[1], w["stride"][1])
    for u in rows:
        for v in columns:
            taps = []
            for i in range(w["kernel"][0]):
                for j in range(w["kernel"][1]):
                    r, c = u + i * w["dilation"][0], v + j * w["dilation"][1]
                    inside = 0 <= r < w["height"] and 0 <= c < w["width"]
                    taps.append((r, c) if inside else None)
            yield taps


def under(w, x, channel):
    plane = w["height"] * w["width"]
    at = lambda tap: tap and x[channel * plane + tap[0] * w["width"] + tap[1]]
    return [[None if tap is None else at(tap) for tap in taps] for taps in positions(w)]


def conv(source, w, groups, weights, bias, width):
    flat = [v for row in weights for v in row]
    shape = window_bytes(w) + struct.pack(">IIB", groups, len(bias), width)
    body = struct.pack(f">{len(bias)}i", *bias)
    body += struct.pack(f">{len(flat)}{'b' if width == 1 else 'h'}", *flat)
    depth, outputs = w["channels"] // groups, len(bias) // groups

    def run(values):
        y = []
        for o, (row, b) in enumerate(zip(weights, bias)):
            first = o // outputs * depth
            planes = [under(w, values[source], first + c) for c in range(depth)]
            for p in range(len(planes[0])):
                seen = [x or 0 for plane in planes for x in plane[p]]
                y.append(b + sum(v * x for v, x in zip(row, seen)))
        return y

    return node(CONV, [source], shape, body), run


def pool(source, w, bias):
    kind = MAX_POOL if bias is None else SUM_POOL

    def run(values):
        y = []
        for c in range(w["channels"]):
            for taps in under(w, values[source], c):
                seen = [x for x in taps if x is not None]
                y.append(max(seen) if bias is None else bias + sum(seen))
        return y

    body = b"" if bias is None else struct.pack(">i", bias)
    return node(kind, [source], window_bytes(w), body), run


def select(sources, indices, fill):
    head = struct.pack(">BI", SELECT, len(sources)) + struct.pack(f">{len(sources)}I", *sources)
    numbers = [0xFFFFFFFF if i is None else i for i in indices]
    head += struct.pack(">iI", fill, len(indices)) + struct.pack(f">{len(indices)}I", *numbers)

    def run(values):
        joined = [x for source in sources for x in values[source]]
        return [fill if i is None else joined[i] for i in indices]

    return (head, head), run


def table(source, lo, entries):
    shape = struct.pack(">iI", lo, len(entries)) + struct.pack(f">{len(entries)}h", *entries)
    return node(TABLE, [source], shape, b""), lambda values: [entries[x - lo] for x in values[source]]


def slopes(source, below, above):
    def run(values):
        return [x * (below if x < 0 else above) for x in values[source]]

    return node(SLOPES, [source], struct.pack(">hh", below, above), b""), run


def multiply(a, b):
    def run(values):
        return [p * q for p, q in zip(values[a], values[b])]

    return node(MULTIPLY, [a, b], b"", b""), run


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

    first = window(2, 4, 5, (3, 2), (1, 2), (1, 1), (1, 0, 1, 1))  # 4 x 3
    inner = window(4, 4, 3, (2, 3), (2, 1), (2, 1), (0, 1, 1, 1))  # 2 x 3
    network = [
        conv(0, first, 1, weights(4, 12, 127), biases(4), 1),
        requantise(1, [rng.randint(9000, 65535) for _ in range(4)], 25, -127, 127),
        conv(2, inner, 2, weights(6, 12, 999), biases(6), 2),
        slopes(3, -164, 16384),
        requantise(4, [900], 38, -100, 100),
        pool(5, window(6, 2, 3, (2, 2), (1, 1), (1, 1), (0, 1, 0, 0)), None),
        select([6, 2], [20, 3, None, 0, 17, 50, 3, 9], -7),
        table(7, -130, [rng.randint(-32768, 32767) for _ in range(260)]),
        table(7, -127, [i % 50 - 20 for i in range(255)]),
        multiply(8, 9),
    ]
    case("windows", 40, -128, 127, network, rng)
    sums = [
        pool(0, window(3, 2, 2, (2, 2)), -5),
        pool(0, window(3, 2, 2, (1, 2), (3, 1), (1, 1), (1, 1, 1, 0)), 9),
        select([1, 2], [0, 8, None], 2**31 - 1),
    ]
    case("sums", 12, -32768, 32767, sums, rng)

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
        "bad_window": (
            one(pool(0, window(1, 1, 2) | {"kernel": (2, 1)}, 0)),
            "Unsound(BadParameter { node: 0 })",
        ),
        "bad_planes": (one(pool(0, window(1, 1, 3), 0)), "Unsound(WrongSize { node: 0 })"),
        "bad_padding_alone": (
            one(pool(0, window(1, 1, 2) | {"pads": (0, 1, 0, 0)}, None)),
            "Unsound(BadParameter { node: 0 })",
        ),
        "bad_groups": (
            one(conv(0, window(2, 1, 1), 2, [[1]] * 3, [0] * 3, 1)),
            "Unsound(WrongSize { node: 0 })",
        ),
        "bad_index": (one(select([0], [2], 0)), "Unsound(BadParameter { node: 0 })"),
        "bad_no_inputs": (one(select([], [None], 0)), "Unsound(WrongArity { node: 0 })"),
        "bad_table": (one(table(0, -9, [0] * 18)), "Unsound(InputTooWide { node: 0 })"),
        "bad_huge_select": (
            header(b"SRGR\x01", 2, -9, 9, 1) + struct.pack(">BI", SELECT, 2**32 - 1),
            "TooLong",
        ),
        "bad_wide_output": (one(dense(0, [[1, 1]], [0], 1, 1)), "Unsound(WideOutput)"),
    }
    for name, (graph, error) in bad.items():
        write(name, [f"graph {graph.hex()}", f"error {error}"])


if __name__ == "__main__":
    main()
