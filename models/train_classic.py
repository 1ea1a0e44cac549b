"""Trains classic models, exports them with skl2onnx, and writes what a runtime says of them.

    pip install numpy==2.4.6 scikit-learn==1.9.1 onnx==1.23.2 skl2onnx==1.20.0 onnxruntime==1.31.1
    python3 models/train_classic.py                 # the few that the repository keeps
    python3 models/train_classic.py all DIR         # every model, opset and ZipMap setting

For maintainers; nothing else needs Python. Fixed seeds and one thread. Data: the sets inside the
scikit-learn wheel. For each set `S` two tables, `S.calibration.csv` (training samples) and
`S.samples.csv` (held out, true class or value first); for each model `S-NAME.onnx` and
`S-NAME.golden.csv`: what onnxruntime says of the held-out samples, class or values.
"""

import os
import sys
import warnings

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import skl2onnx.common._container as container
from onnx import TensorProto, helper, numpy_helper
from skl2onnx import to_onnx
from sklearn import datasets
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.svm import SVC, SVR, LinearSVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

HERE = Path(__file__).parent / "classic"
SEED = 20

SETS = {
    "iris": datasets.load_iris,
    "wine": datasets.load_wine,
    "tumour": datasets.load_breast_cancer,
    "digits": datasets.load_digits,
    "diabetes": datasets.load_diabetes,
    # Wine with measurements left out.
    "gaps": datasets.load_wine,
}

CLASSIFIERS = {
    "logistic": lambda: LogisticRegression(max_iter=5000),
    "logistic-scaled": lambda: make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000)),
    "logistic-minmax": lambda: make_pipeline(MinMaxScaler(), LogisticRegression(max_iter=5000)),
    "logistic-pca": lambda: make_pipeline(
        StandardScaler(), PCA(4, random_state=SEED), LogisticRegression(max_iter=5000)
    ),
    "linearsvc": lambda: LinearSVC(random_state=SEED, max_iter=20000),
    "svc": lambda: SVC(),
    "svc-scaled": lambda: make_pipeline(StandardScaler(), SVC()),
    "svc-minmax": lambda: make_pipeline(MinMaxScaler(), SVC()),
    "svc-pca": lambda: make_pipeline(StandardScaler(), PCA(4, random_state=SEED), SVC()),
    "svc-linear": lambda: make_pipeline(StandardScaler(), SVC(kernel="linear")),
    "tree": lambda: DecisionTreeClassifier(random_state=SEED),
    "forest": lambda: RandomForestClassifier(random_state=SEED),
    "forest-small": lambda: RandomForestClassifier(20, max_depth=5, random_state=SEED),
    "forest-scaled": lambda: make_pipeline(
        StandardScaler(), RandomForestClassifier(30, random_state=SEED)
    ),
    "forest-minmax": lambda: make_pipeline(
        MinMaxScaler(), RandomForestClassifier(30, random_state=SEED)
    ),
    "extratrees": lambda: ExtraTreesClassifier(30, random_state=SEED),
    "boosting": lambda: GradientBoostingClassifier(random_state=SEED),
    "boosting-small": lambda: GradientBoostingClassifier(n_estimators=20, random_state=SEED),
    "histogram": lambda: HistGradientBoostingClassifier(max_iter=20, random_state=SEED),
    "histogram-scaled": lambda: make_pipeline(
        StandardScaler(), HistGradientBoostingClassifier(max_iter=20, random_state=SEED)
    ),
    "mlp": lambda: make_pipeline(
        StandardScaler(), MLPClassifier((16,), max_iter=2000, random_state=SEED)
    ),
    "mlp-tanh": lambda: make_pipeline(
        StandardScaler(), MLPClassifier((16,), activation="tanh", max_iter=2000, random_state=SEED)
    ),
}

REGRESSORS = {
    "linear": lambda: LinearRegression(),
    "ridge": lambda: Ridge(),
    "ridge-minmax": lambda: make_pipeline(MinMaxScaler(), Ridge()),
    "ridge-pca": lambda: make_pipeline(StandardScaler(), PCA(4, random_state=SEED), Ridge()),
    "svr": lambda: SVR(),
    "svr-scaled": lambda: make_pipeline(StandardScaler(), SVR(C=30.0)),
    "tree": lambda: DecisionTreeRegressor(max_depth=8, random_state=SEED),
    "forest": lambda: RandomForestRegressor(random_state=SEED, min_samples_leaf=3),
    "forest-small": lambda: RandomForestRegressor(20, max_depth=5, random_state=SEED),
    "forest-scaled": lambda: make_pipeline(
        StandardScaler(), RandomForestRegressor(20, max_depth=6, random_state=SEED)
    ),
    "extratrees": lambda: ExtraTreesRegressor(20, max_depth=6, random_state=SEED),
    "boosting": lambda: GradientBoostingRegressor(random_state=SEED),
    "histogram": lambda: HistGradientBoostingRegressor(max_iter=20, random_state=SEED),
    "mlp": lambda: make_pipeline(
        StandardScaler(), MLPRegressor(hidden_layer_sizes=(16,), max_iter=5000, random_state=SEED)
    ),
    "mlp-tanh": lambda: make_pipeline(
        StandardScaler(),
        MLPRegressor(hidden_layer_sizes=(16,), activation="tanh", max_iter=5000, random_state=SEED),
    ),
}

GAPS = {
    "histogram": lambda: HistGradientBoostingClassifier(max_iter=20, random_state=SEED),
    "imputed-forest": lambda: make_pipeline(
        SimpleImputer(), RandomForestClassifier(20, random_state=SEED)
    ),
    "imputed-logistic": lambda: make_pipeline(
        SimpleImputer(), StandardScaler(), LogisticRegression()
    ),
}

# Set, model, opset, ZipMap.
KEPT = [
    ("tumour", "logistic-scaled", 17, True),
    ("tumour", "svc-scaled", 12, True),
    ("tumour", "histogram", 15, False),
    ("iris", "forest-small", 17, False),
    ("wine", "forest-scaled", 14, True),
    ("wine", "svc-minmax", 13, False),
    ("wine", "linearsvc", 16, True),
    ("digits", "logistic-pca", 17, True),
    ("diabetes", "boosting", 17, True),
    ("diabetes", "ridge-minmax", 12, True),
    ("diabetes", "svr-scaled", 17, True),
    ("gaps", "histogram", 17, True),
    ("gaps", "imputed-logistic", 17, False),
]


def whole(values):
    """Lists that mix Python's and numpy's integers and truth values, as plain integers."""
    if isinstance(values, (list, tuple)) and values:
        if all(isinstance(v, (bool, int, np.bool_, np.integer)) for v in values):
            return [int(v) for v in values]
    return values


def patch_attributes():
    """This release of skl2onnx writes truth values where this release of onnx wants integers."""
    make = container.make_node
    container.make_node = lambda *args, **attributes: make(
        *args, **{name: whole(value) for name, value in attributes.items()}
    )


def models_of(name):
    if name == "gaps":
        return GAPS
    return REGRESSORS if name == "diabetes" else CLASSIFIERS


def number(value):
    if not np.isfinite(value):
        return str(float(value))
    return np.format_float_positional(np.float32(value), unique=True, trim="-")


def write_rows(path, header, rows):
    path.write_text("\n".join([",".join(header)] + [",".join(row) for row in rows]) + "\n")


def load(name, folder):
    """Training and held-out samples; writes the two tables."""
    data = SETS[name]()
    x, y = data.data.astype(np.float32), data.target
    if name == "gaps":
        x[np.random.default_rng(SEED).random(x.shape) < 0.1] = np.nan
    regression = name == "diabetes"
    x_train, x_held, y_train, y_held = train_test_split(
        x, y, test_size=min(200, len(y) // 3), random_state=SEED, stratify=None if regression else y
    )
    header = [f"x{i}" for i in range(x.shape[1])]
    rows = [[number(v) for v in row] for row in x_train[:300]]
    write_rows(folder / f"{name}.calibration.csv", header, rows)
    rows = [[number(t)] + [number(v) for v in row] for t, row in zip(y_held, x_held)]
    write_rows(folder / f"{name}.samples.csv", ["value" if regression else "class"] + header, rows)
    return x_train, x_held, y_train


def export(model, x, opset, zip_map, path):
    # ZipMap is what skl2onnx adds unless told otherwise.
    options = None if zip_map else {id(model): {"zipmap": False}}
    file = to_onnx(model, x[:1], target_opset=opset, options=options)
    # The exporter draws this name at random.
    file.graph.name = path.stem
    path.write_bytes(file.SerializeToString())


def golden(path, x, regression, classes):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    said = session.run(None, {session.get_inputs()[0].name: x})[0]
    if regression:
        rows = [[number(v) for v in row] for row in said.reshape(len(x), -1)]
    else:
        rows = [[str(classes.index(c))] for c in said.tolist()]
    write_rows(path.with_suffix(".golden.csv"), ["value" if regression else "class"], rows)


MODES = ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ"]
PECULIAR = [0.0, -0.0, 1e-45, -1e-45, 1.1754942e-38, 3.4028235e38, np.inf, -np.inf, np.nan]


def grown(rng, depth, kinds, features):
    """A random tree as nested tuples: (feature, kind, threshold, missing, yes, no), or a weight."""
    if depth == 0 or rng.random() < 0.15:
        return float(np.float32(rng.normal()))
    threshold = rng.choice([-2.0, -1.0, 0.0, 0.5, 1.0, 1e-45, -1e-45])
    return (
        int(rng.integers(features)),
        int(rng.integers(kinds)),
        float(np.float32(threshold)),
        int(rng.integers(2)),
        grown(rng, depth - 1, kinds, features),
        grown(rng, depth - 1, kinds, features),
    )


def listed(trees):
    """TreeEnsembleRegressor: nodes by number."""
    rows, leaves = [], []
    for tree_id, tree in enumerate(trees):
        count = 0

        def walk(tree):
            nonlocal count
            node_id, count = count, count + 1
            if isinstance(tree, float):
                rows.append((tree_id, node_id, 0, "LEAF", 0.0, 0, 0, 0))
                leaves.append((tree_id, node_id, 0, tree))
                return node_id
            feature, kind, threshold, missing, yes, no = tree
            place = len(rows)
            rows.append(None)
            yes, no = walk(yes), walk(no)
            rows[place] = (tree_id, node_id, feature, MODES[kind], threshold, yes, no, missing)
            return node_id

        walk(tree)
    names = "treeids nodeids featureids modes values truenodeids falsenodeids".split()
    names = [f"nodes_{name}" for name in names] + ["nodes_missing_value_tracks_true"]
    attributes = dict(zip(names, map(list, zip(*rows))))
    names = [f"target_{name}" for name in ("treeids", "nodeids", "ids", "weights")]
    attributes |= dict(zip(names, map(list, zip(*leaves))))
    return helper.make_node(
        "TreeEnsembleRegressor", ["x"], ["y"], domain="ai.onnx.ml", n_targets=1, **attributes
    ), 3


def rooted(trees):
    """TreeEnsemble, version 5: splits and leaves apart; kind 6 is membership."""
    splits, leaves, roots, members = [], [], [], []

    def walk(tree):
        if isinstance(tree, float):
            leaves.append(tree)
            return len(leaves) - 1, 1
        feature, kind, threshold, missing, yes, no = tree
        place = len(splits)
        splits.append(None)
        if kind == 6:
            members.extend([2.0, 1.0, np.nan])
        yes, no = walk(yes), walk(no)
        splits[place] = (feature, kind, threshold, missing, *yes, *no)
        return place, 0

    for tree in trees:
        if not isinstance(tree, float):
            roots.append(walk(tree)[0])
    feature, kind, threshold, missing, yes, yes_leaf, no, no_leaf = map(list, zip(*splits))
    tensor = lambda values, kind: numpy_helper.from_array(np.array(values, dtype=kind), "t")
    return helper.make_node(
        "TreeEnsemble",
        ["x"],
        ["y"],
        domain="ai.onnx.ml",
        n_targets=1,
        aggregate_function=1,
        post_transform=0,
        tree_roots=roots,
        nodes_featureids=feature,
        nodes_modes=tensor(kind, np.uint8),
        nodes_splits=tensor(threshold, np.float32),
        nodes_missing_value_tracks_true=missing,
        nodes_truenodeids=yes,
        nodes_trueleafs=yes_leaf,
        nodes_falsenodeids=no,
        nodes_falseleafs=no_leaf,
        leaf_targetids=[0] * len(leaves),
        leaf_weights=tensor(leaves, np.float32),
        membership_values=tensor(members, np.float32),
    ), 5


def modes(folder):
    """Trees with every comparison, on numbers that are equal, missing, infinite, tiny."""
    rng = np.random.default_rng(SEED)
    features = 4
    values = np.float32([-2.0, -1.0, 0.0, 0.5, 1.0, 2.0, 0.25] + PECULIAR)
    x = rng.choice(values, (400, features)).astype(np.float32)
    header = [f"x{i}" for i in range(features)]
    rows = [[number(v) for v in row] for row in x]
    write_rows(folder / "modes.calibration.csv", header, rows[:20])
    write_rows(folder / "modes.samples.csv", ["value"] + header, [["0"] + row for row in rows])
    for name, make, kinds in (("listed", listed, 6), ("rooted", rooted, 7)):
        node, version = make([grown(rng, 5, kinds, features) for _ in range(12)])
        value = lambda name, n: helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, n])
        graph = helper.make_graph([node], name, [value("x", features)], [value("y", 1)])
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", version)]
        path = folder / f"modes-{name}.onnx"
        model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
        path.write_bytes(model.SerializeToString())
        golden(path, x, True, None)


def main():
    patch_attributes()
    warnings.filterwarnings("ignore")
    if sys.argv[1:2] == ["all"]:
        folder = Path(sys.argv[2])
        settings = [(opset, zip_map) for opset in range(12, 18) for zip_map in (True, False)]
        wanted = [
            (name, model, opset, zip_map)
            for name in SETS
            for model in models_of(name)
            for opset, zip_map in settings
            # Regressors and LinearSVC have no ZipMap to leave out.
            if zip_map or (name != "diabetes" and not model.startswith("linearsvc"))
        ]
    else:
        folder, wanted = HERE, KEPT
    folder.mkdir(exist_ok=True, parents=True)
    modes(folder)
    samples, fitted = {}, {}
    for name, model, opset, zip_map in wanted:
        if name not in samples:
            samples[name] = load(name, folder)
        x_train, x_held, y_train = samples[name]
        if (name, model) not in fitted:
            fitted[name, model] = models_of(name)[model]().fit(x_train, y_train)
        regression = name == "diabetes"
        file = f"{name}-{model}"
        if folder != HERE:
            file += f"-{opset}" + ("" if regression else "-zipmap" if zip_map else "-tensor")
        path = folder / f"{file}.onnx"
        export(fitted[name, model], x_train, opset, zip_map, path)
        classes = None if regression else sorted(set(y_train.tolist()))
        golden(path, x_held, regression, classes)
        print(f"{path.name}: {path.stat().st_size} B")


if __name__ == "__main__":
    main()
