//! `subrosa model`: a model from ONNX to answers, and what hostile files come to.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use compiler::Model;
use serde_json::Value;

use crate::testnet::PROGRAM;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.path(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

/// A file below `models/`.
fn kept(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path: PathBuf = root.join("models").join(path);
    path.to_str().unwrap().to_owned()
}

fn run(arguments: &[&str]) -> Output {
    Command::new(PROGRAM)
        .arg("model")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn done(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&done(arguments)).unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Wrong usage, said in one line that holds `reason`.
fn refused(arguments: &[&str], reason: &str) {
    let output = run(arguments);
    let said = said(&output);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains(reason), "{reason:?} is not in: {said}");
    assert!(output.stdout.is_empty());
}

/// The columns of a kept table behind its first, and the first.
fn split(samples: &str) -> (String, Vec<String>) {
    let text = fs::read_to_string(kept(samples)).unwrap();
    let lines = text
        .lines()
        .skip(1)
        .map(|line| line.split_once(',').unwrap());
    let (first, rest): (Vec<&str>, Vec<&str>) = lines.unzip();
    let first = first.into_iter().map(str::to_owned).collect();
    (rest.join("\n"), first)
}

#[test]
fn a_forest_goes_from_its_onnx_file_to_the_answers_of_onnxruntime() {
    let folder = Folder::new();
    let onnx = kept("classic/wine-forest-scaled.onnx");
    let calibration = kept("classic/wine.calibration.csv");
    let model = folder.path("wine.subrosa");
    let import = ["import", &onnx, "--calibrate", &calibration, "-o"];
    let made = json(&[&import[..], &[&model, "--json"]].concat());
    assert_eq!(made["name"], "wine");
    assert_eq!(made["same_class"], made["samples"]);
    assert_eq!(made["nodes"][0]["operator"], "TreeEnsemble");
    // Nothing else, and the same bytes again.
    assert_eq!(folder.names(), ["wine.subrosa"]);
    let again = folder.path("again.subrosa");
    done(&[&import[..], &[&again, "--name", "wine"]].concat());
    assert_eq!(fs::read(&model).unwrap(), fs::read(&again).unwrap());

    let inspected = json(&["inspect", &model, "--json"]);
    assert_eq!(inspected["graph_hash"], made["graph_hash"]);

    let (rows, _) = split("classic/wine.samples.csv");
    let rows = folder.write("rows.csv", rows.as_bytes());
    let answers = json(&["run", &model, &rows, "--json"]);
    assert_eq!(answers["fuel"], made["fuel"]);
    let golden = fs::read_to_string(kept("classic/wine-forest-scaled.golden.csv")).unwrap();
    let golden: Vec<&str> = golden.lines().skip(1).collect();
    assert_eq!(answers["labels"], serde_json::json!(golden));
    assert_eq!(answers["outputs"].as_array().unwrap().len(), golden.len());

    let times = json(&["bench", &model, "--time", "0.1", "--json"]);
    for key in ["warm_us", "fresh_us", "interpreter_us"] {
        assert!(times[key].as_f64().unwrap() > 0.0, "{times}");
    }
    assert_eq!(times["onnxruntime_us"], Value::Null);
}

#[test]
fn labels_count_right_answers_of_floats_and_of_integers() {
    let folder = Folder::new();
    let (rows, truth) = split("classic/tumour.samples.csv");
    let rows = folder.write("rows.csv", rows.as_bytes());
    let labels = folder.write("y.csv", format!("y\n{}\n", truth.join("\n")).as_bytes());
    let onnx = kept("classic/tumour-logistic-scaled.onnx");
    let file = folder.path("m.subrosa");
    let import = ["import", &onnx, "--calibrate", &rows, "--labels", &labels];
    let made = json(&[&import[..], &["-o", &file, "--json"]].concat());
    assert_eq!(made["score"]["of"], "classes");
    assert_eq!(
        (&made["score"]["float"], &made["score"]["integers"]),
        (&186.into(), &186.into())
    );

    let short = folder.write("short.csv", b"1\n0\n");
    let import = ["import", &onnx, "--calibrate", &rows, "--labels", &short];
    refused(
        &[&import[..], &["-o", &file]].concat(),
        "2 labels for 189 samples",
    );
    let strange = folder.write("strange.csv", "maybe\n".repeat(189).as_bytes());
    let import = ["import", &onnx, "--calibrate", &rows, "--labels", &strange];
    refused(
        &[&import[..], &["-o", &file]].concat(),
        "\"maybe\" is no class",
    );
}

#[test]
fn what_people_read_fits_80_columns() {
    let folder = Folder::new();
    let onnx = kept("depthwise/model.onnx");
    let file = folder.path("depthwise.subrosa");
    let (rows, _) = split("digits/samples.csv");
    let rows: Vec<&str> = rows.lines().take(20).collect();
    let rows = folder.write("rows.csv", rows.join("\n").as_bytes());
    let import = [
        "import",
        &onnx,
        "--shared-scale",
        "--calibrate",
        &rows,
        "-o",
        &file,
    ];
    let mut pages = vec![
        done(&import),
        done(&["inspect", &file]),
        done(&["run", &file, &rows]),
        done(&["bench", &file, "--time", "0.1"]),
        done(&["--help"]),
    ];
    for command in ["import", "inspect", "run", "bench"] {
        pages.push(done(&[command, "--help"]));
    }
    for page in pages {
        let long: Vec<&str> = page.lines().filter(|l| l.chars().count() > 80).collect();
        assert!(long.is_empty(), "{long:?}");
    }
}

#[test]
fn wrong_arguments_give_the_way_out() {
    let folder = Folder::new();
    let onnx = kept("classic/wine-linearsvc.onnx");
    let rows = kept("classic/wine.calibration.csv");
    let file = folder.path("m.subrosa");
    let import = |more: &[&str], reason| {
        let arguments = ["import", &onnx, "--calibrate", &rows, "-o", &file];
        refused(&[&arguments[..], more].concat(), reason);
    };
    import(&["--name", "A wine"], "a-z, 0-9 and -");
    import(&["--classes", "red,white"], "expected 3 labels, got 2");
    import(&["--take", "nothing"], "has no output \"nothing\"");
    refused(&["inspect", &onnx], "make one with `subrosa model import`");
    refused(&["inspect", "/nowhere/m.subrosa"], "/nowhere/m.subrosa: ");
    let nowhere = folder.path("no/where/m.subrosa");
    let import = ["import", &onnx, "--calibrate", &rows, "-o", &nowhere];
    refused(&import, "cannot create");
    let tumour = kept("classic/tumour.calibration.csv");
    let import = ["import", &onnx, "--calibrate", &tumour, "-o", &file];
    refused(&import, "sample 1: expected 13 numbers, got 30");
    assert!(folder.names().is_empty());
    assert_eq!(run(&["imprt"]).status.code(), Some(2));
    assert!(said(&run(&["imprt"])).contains("import"));
}

#[test]
fn an_import_that_takes_too_long_is_given_up_and_leaves_nothing() {
    let folder = Folder::new();
    let (rows, _) = split("digits/samples.csv");
    let many = vec![rows; 400].join("\n");
    let rows = folder.write("rows.csv", many.as_bytes());
    let (onnx, file) = (kept("convolution/model.onnx"), folder.path("m.subrosa"));
    let import = [
        "import",
        &onnx,
        "--shared-scale",
        "--calibrate",
        &rows,
        "-o",
        &file,
    ];
    let output = run(&[&import[..], &["--deadline", "0.1"]].concat());
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said(&output).contains("nothing written"),
        "{}",
        said(&output)
    );

    // As at Ctrl-C, but by a signal that the background jobs of a shell do not ignore.
    let mut child = Command::new(PROGRAM)
        .arg("model")
        .args(import)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    let id = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    assert!(!child.wait().unwrap().success());
    assert_eq!(folder.names(), ["rows.csv"]);
}

#[test]
fn a_file_with_a_module_of_its_own_is_refused() {
    let folder = Folder::new();
    let mut model = compiler::shipped()[0].model().unwrap();
    let file = folder.write("m.subrosa", &model.to_file().unwrap());
    let rows = folder.write("rows.json", format!("{:?}", vec![1.0_f32; 30]).as_bytes());
    done(&["run", &file, &rows]);
    // (func (loop br 0)), exported as the entry point: it would never end.
    let endless =
        b"\0asm\x01\0\0\0\x01\x05\x01\x60\0\x01\x7f\x03\x02\x01\0\x07\x09\x01\x05infer\0\0\
                    \x0a\x0b\x01\x09\0\x03\x40\x0c\0\x0b\x41\0\x0b";
    model.module.bytes = endless.to_vec();
    let hostile = folder.write("endless.subrosa", &model.to_file().unwrap());
    for command in [
        &["run", &hostile, &rows][..],
        &["bench", &hostile],
        &["inspect", &hostile],
    ] {
        refused(command, "not what its graph compiles to");
    }
}

#[test]
fn damaged_and_endless_model_files_are_refused() {
    let folder = Folder::new();
    let whole = compiler::shipped()[0].model().unwrap().to_file().unwrap();
    for end in [4, 5, 40, whole.len() / 2, whole.len() - 1] {
        let file = folder.write("cut.subrosa", &whole[..end]);
        refused(&["inspect", &file], "cut off or damaged");
    }
    refused(&["inspect", "/dev/zero"], "at most 64 MiB");
    refused(&["inspect", folder.path("").as_str()], "irectory");
    let file = folder.write("m.subrosa", &whole);
    let rows = folder.write("rows.csv", b"1,2\n");
    refused(&["run", &file, &rows], "expected 30 numbers, got 2");
    let rows = folder.write("rows.csv", "inf,".repeat(29).as_bytes());
    refused(&["run", &file, &rows], "rows.csv");
    let rows = folder.write("rows.npy", b"\x93NUMPY\x01\0\xff\xff{'descr': '<f4'");
    refused(&["run", &file, &rows], "not a .npy file");
    assert!(Model::from_file(&whole).is_ok());
}

/// Hostile ONNX files, each with what is said of it.
fn hostile() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    use onnx::{model, node, tensor};
    let weight = |dims: &[u64], raw: &[u8]| tensor("w", dims, raw, &[]);
    let four = [0, 0, 128, 63].repeat(4);
    let gemm = || node("gemm", "MatMul", &["x", "w"], "y");
    let of = |nodes: &[Vec<u8>], tensors: &[Vec<u8>]| model(nodes, tensors);
    let good = of(&[gemm()], &[weight(&[2, 2], &four)]);
    let mut deep = vec![0x0a, 0];
    for _ in 0..4000 {
        deep = onnx::field(7, &deep[..deep.len().min(60_000)]);
    }
    let secret = onnx::entry("location", "../../../../etc/passwd");
    vec![
        ("text", b"not a model".to_vec(), "not ONNX"),
        ("empty", Vec::new(), "no graph"),
        ("recursion", deep, "deep.onnx: "),
        ("cut", good[..good.len() - 3].to_vec(), "not ONNX"),
        (
            "dims",
            of(&[gemm()], &[weight(&[1 << 63, 2], &four)]),
            "\"w\"",
        ),
        (
            "constant",
            of(&[gemm()], &[weight(&[1_000_000_000, 2], &[1])]),
            "\"w\"",
        ),
        (
            "external",
            of(&[gemm()], &[tensor("w", &[2, 2], &[], &secret)]),
            "external data is not read",
        ),
        (
            "cycle",
            of(&[node("a", "Add", &["x", "y"], "y")], &[]),
            "cycle",
        ),
        (
            "unknown",
            of(&[node("odd", "Conspire", &["x"], "y")], &[]),
            "node \"odd\": operator \"Conspire\" is not supported",
        ),
        (
            "nan",
            of(&[gemm()], &[weight(&[2, 2], &[0xff; 16])]),
            "not finite",
        ),
        (
            "twice",
            of(&[gemm()], &[weight(&[2, 2], &four), weight(&[2, 2], &four)]),
            "two values are named \"w\"",
        ),
        (
            "mismatch",
            of(&[gemm()], &[weight(&[4, 1], &four)]),
            "shapes do not fit",
        ),
        (
            "escape",
            of(&[node("\u{1b}[2J", "Odd", &["x"], "y")], &[]),
            "?[2J",
        ),
    ]
}

#[test]
fn hostile_onnx_is_refused_by_name_within_its_memory_and_writes_nothing() {
    let folder = Folder::new();
    let rows = folder.write("rows.csv", b"1,2\n3,4\n");
    let target = folder.path("m.subrosa");
    for (name, bytes, reason) in hostile() {
        let onnx = folder.write("deep.onnx", &bytes);
        // The budget of 256 MiB, the program itself, and a little.
        let limited = format!("ulimit -v {}; exec \"$0\" \"$@\"", 480 << 10);
        let import = [
            "model",
            "import",
            &onnx,
            "--calibrate",
            &rows,
            "-o",
            &target,
        ];
        let output = Command::new("sh")
            .args(["-c", &limited, PROGRAM])
            .args(import)
            .output()
            .unwrap();
        let said = said(&output);
        assert_eq!(output.status.code(), Some(2), "{name}: {said}");
        assert_eq!(said.lines().count(), 1, "{name}: {said}");
        assert!(said.contains(reason), "{name}: {said}");
        assert!(!said.contains('\u{1b}'), "{name} moves the cursor");
        assert_eq!(folder.names(), ["deep.onnx", "rows.csv"], "{name}");
    }
}

/// As much of ONNX's protocol buffers as hostile files need.
mod onnx {
    fn varint(mut x: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        while x >= 128 {
            bytes.push(u8::try_from(x & 127).unwrap() | 128);
            x >>= 7;
        }
        bytes.push(u8::try_from(x).unwrap());
        bytes
    }

    pub(super) fn field(number: u64, bytes: &[u8]) -> Vec<u8> {
        let length = u64::try_from(bytes.len()).unwrap();
        [varint(number << 3 | 2), varint(length), bytes.to_vec()].concat()
    }

    fn number(number: u64, value: u64) -> Vec<u8> {
        [varint(number << 3), varint(value)].concat()
    }

    pub(super) fn entry(key: &str, value: &str) -> Vec<u8> {
        let entry = [field(1, key.as_bytes()), field(2, value.as_bytes())].concat();
        [field(13, &entry), number(14, 1)].concat()
    }

    pub(super) fn tensor(name: &str, dims: &[u64], raw: &[u8], more: &[u8]) -> Vec<u8> {
        let mut bytes: Vec<u8> = dims.iter().flat_map(|&dim| number(1, dim)).collect();
        bytes.extend(number(2, 1));
        bytes.extend(field(8, name.as_bytes()));
        bytes.extend(field(9, raw));
        bytes.extend(more);
        field(5, &bytes)
    }

    pub(super) fn node(name: &str, operator: &str, inputs: &[&str], output: &str) -> Vec<u8> {
        let mut bytes: Vec<u8> = inputs.iter().flat_map(|x| field(1, x.as_bytes())).collect();
        bytes.extend(field(2, output.as_bytes()));
        bytes.extend(field(3, name.as_bytes()));
        bytes.extend(field(4, operator.as_bytes()));
        field(1, &bytes)
    }

    /// A graph from the vector `x` of two numbers to `y`.
    pub(super) fn model(nodes: &[Vec<u8>], tensors: &[Vec<u8>]) -> Vec<u8> {
        let value = |name: &str| {
            let dims = [1, 2].map(|n| field(1, &number(1, n))).concat();
            let tensor = [number(1, 1), field(2, &dims)].concat();
            [field(1, name.as_bytes()), field(2, &field(1, &tensor))].concat()
        };
        let graph = [
            nodes.concat(),
            field(2, b"graph"),
            tensors.concat(),
            field(11, &value("x")),
            field(12, &value("y")),
        ];
        let opset = field(8, &number(2, 17));
        [number(1, 8), field(7, &graph.concat()), opset].concat()
    }
}
