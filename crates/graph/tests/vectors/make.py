"""Makes the graph vectors from docs/spec/model.md alone: encoding and big-integer arithmetic.

    python3 crates/graph/tests/vectors/make.py
"""

import random
import struct
from decimal import ROUND_HALF_UP, Decimal, getcontext
from pathlib import Path

getcontext().prec = 60

HERE = Path(__file__).parent
DENSE, REQUANTISE, ADD, CLAMP, ARG_MAX = 1, 2, 3, 4, 5
CONV, MAX_POOL, SUM_POOL, SELECT, TABLE, SLOPES, MULTIPLY = 6, 7, 8, 9, 10, 11, 12
TREES, DISTANCES, EXPONENTIAL = 32, 33, 34
MISSING = 2**31 - 1


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


def tree(first, splits, leaves):
    """Splits are (feature, threshold, missing to yes, yes, no); a leaf is a list of numbers."""
    places = len(splits) + len(leaves)
    deep = [0] * places
    for place in reversed(range(len(splits))):
        deep[place] = 1 + max(deep[splits[place][3]], deep[splits[place][4]])
    return dict(first=first, splits=splits, leaves=leaves, depth=deep[0])


def forest(source, outputs, width, biases, trees, wide):
    shape = struct.pack(">IIBI", outputs, width, wide, len(trees))
    body = struct.pack(f">{len(biases)}i", *biases)
    for t in trees:
        shape += struct.pack(">4I", t["first"], len(t["splits"]), len(t["leaves"]), t["depth"])
        for feature, threshold, missing, yes, no in t["splits"]:
            body += struct.pack(">IiBII", feature, threshold, missing, yes, no)
        for leaf in t["leaves"]:
            body += struct.pack(f">{width}i", *leaf)

    def run(values):
        y = list(biases)
        for t in trees:
            at = 0
            while at < len(t["splits"]):
                feature, threshold, missing, yes, no = t["splits"][at]
                x = values[source][feature]
                at = yes if x <= threshold or (x == MISSING and missing) else no
            for o, number in enumerate(t["leaves"][at - len(t["splits"])]):
                y[t["first"] + o] += number
        return y

    return node(TREES, [source], shape, body), run


def grown(rng, first, width, features, span, most, depth):
    """A random tree, splits numbered level by level; one leaf is the child of two splits."""
    splits, level, leaves = [], [0], []
    for deep in range(depth):
        below = []
        for place in level:
            split = [rng.randrange(features), rng.randint(*span), rng.randint(0, 1)]
            children = []
            for _ in range(2):
                if deep + 1 < depth and (place == 0 or rng.random() < 0.7):
                    children.append(len(level) + len(splits) - level.index(place) + len(below))
                    below.append(children[-1])
                else:
                    children.append(None)
            splits.append(split + children)
        level = below
    for split in splits:
        for child in (3, 4):
            if split[child] is None:
                split[child] = len(splits) + len(leaves)
                leaves.append([rng.randint(-most, most) for _ in range(width)])
    if len(leaves) > 2 and splits[-1][4] == len(splits) + len(leaves) - 1:
        splits[-1][4] -= 2
        leaves.pop()
    return tree(first, [tuple(split) for split in splits], leaves)


def distances(source, vectors):
    flat = [c for vector in vectors for c in vector]
    body = struct.pack(f">{len(flat)}h", *flat)

    def run(values):
        return [sum((x - c) ** 2 for x, c in zip(values[source], v)) for v in vectors]

    return node(DISTANCES, [source], struct.pack(">I", len(flat)), body), run


def exponential(source, multiplier, shift):
    def entry(j):
        exact = 32767 * Decimal(2) ** (Decimal(-j) / 64)
        return int(exact.quantize(Decimal(1), rounding=ROUND_HALF_UP))

    entries = [entry(j) for j in range(65)]

    def run(values):
        y = []
        for x in values[source]:
            z = x * multiplier // 2**shift
            k, j, r = z // 2**16, z // 2**10 % 64, z % 2**10
            y.append((entries[j] * (1024 - r) + entries[j + 1] * r) // 2 ** (10 + min(k, 15)))
        return y

    return node(EXPONENTIAL, [source], struct.pack(">B", shift), struct.pack(">H", multiplier)), run


def write(name, lines):
    (HERE / f"{name}.vector").write_text("\n".join(lines) + "\n")


def case(name, elements, lo, hi, steps, rng, more=()):
    graph = header(b"SRGR\x01", elements, lo, hi, len(steps))
    graph += b"".join(full for (full, _), _ in steps)
    shape = header(b"SRSH\x01", elements, lo, hi, len(steps))
    shape += b"".join(part for (_, part), _ in steps)
    lines = [f"graph {graph.hex()}", f"shape {shape.hex()}"]
    inputs = [[lo] * elements, [hi] * elements]
    inputs += [[rng.randint(lo, hi) for _ in range(elements)] for _ in range(20)]
    inputs += more
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

    # Splits on numbers that come, features that are missing, trees that add to the same outputs.
    span, seven = (-99, 99), lambda: [rng.choice([rng.randint(-99, 99), MISSING]) for _ in range(7)]
    more = [seven() for _ in range(20)]
    trees = [grown(rng, first, 2, 7, span, 9999, depth) for first, depth in [(0, 4), (1, 3), (1, 6)]]
    trees.append(tree(0, [], [[5, -5]]))
    narrow = [forest(0, 3, 2, biases(3), trees, 0)]
    case("trees", 7, -(2**31), MISSING, narrow, rng, more)
    high = [grown(rng, 0, 1, 7, span, 2**31 - 1, 4) for _ in range(5)]
    heavy = [forest(0, 1, 1, [2**31 - 1], high, 1), clamp(1, -(2**31), 2**31 - 1)]
    case("trees_wide", 7, -(2**31), MISSING, heavy, rng, more)
    vectors = [[rng.randint(-16383, 16383) for _ in range(4)] for _ in range(6)]
    near = [[v + rng.randint(-400, 400) for v in vector] for vector in vectors]
    near = [[max(-16383, min(16383, v)) for v in vector] for vector in near]
    radial = [distances(0, vectors), exponential(1, 40000, 20), dense(2, weights(2, 6, 99), biases(2), 1, 0)]
    case("radial", 4, -16383, 16383, radial, rng, near + vectors)

    huge = struct.pack(">BIIIBB", DENSE, 0, 2**32 - 1, 2**32 - 1, 1, 0)
    stump = tree(0, [(0, 0, 0, 1, 2)], [[1], [2]])
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
        "bad_tree_loop": (
            one(forest(0, 1, 1, [0], [stump | {"splits": [(0, 0, 0, 0, 1)]}], 0)),
            "Unsound(BadTree { node: 0, tree: 0 })",
        ),
        "bad_tree_depth": (
            one(forest(0, 1, 1, [0], [stump | {"depth": 2}], 0)),
            "WrongDepth",
        ),
        "bad_tree_feature": (
            one(forest(0, 1, 1, [0], [tree(0, [(2, 0, 0, 1, 2)], [[1], [2]])], 0)),
            "Unsound(BadTree { node: 0, tree: 0 })",
        ),
        "bad_tree_orphan": (
            one(forest(0, 1, 1, [0], [tree(0, [(0, 0, 0, 1, 1)], [[1], [2]])], 0)),
            "Unsound(BadTree { node: 0, tree: 0 })",
        ),
        "bad_tree_sum": (
            one(forest(0, 1, 1, [2**29], [tree(0, [], [[2**29]])], 0)),
            "Unsound(AccumulatorOverflow { node: 0 })",
        ),
        "bad_coordinate": (
            one(distances(0, [[16384, 0]])),
            "Unsound(BadParameter { node: 0 })",
        ),
        "bad_exponential": (
            one(exponential(0, 1, 0)),
            "Unsound(InputTooWide { node: 0 })",
        ),
        "bad_wide_output": (one(dense(0, [[1, 1]], [0], 1, 1)), "Unsound(WideOutput)"),
    }
    for name, (graph, error) in bad.items():
        write(name, [f"graph {graph.hex()}", f"error {error}"])


if __name__ == "__main__":
    main()
