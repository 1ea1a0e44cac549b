//! Vectors made from the specification by code that shares nothing with this crate
//! (`vectors/make.py`): encodings, shapes, outputs, and refusals.

#![allow(clippy::unwrap_used, reason = "a test's helpers")]

use std::fs;
use std::path::{Path, PathBuf};

use subrosa_graph::Graph;

struct Vector {
    name: String,
    lines: Vec<(String, String)>,
}

impl Vector {
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap();
        let split = |line: &str| {
            let (key, value) = line.split_once(' ').unwrap();
            (key.to_owned(), value.to_owned())
        };
        Self {
            name: path.file_stem().unwrap().to_str().unwrap().to_owned(),
            lines: text.lines().map(split).collect(),
        }
    }

    fn all(&self, key: &str) -> impl Iterator<Item = &str> {
        let lines = self.lines.iter().filter(move |(other, _)| other == key);
        lines.map(|(_, value)| value.as_str())
    }

    fn bytes(&self, key: &str) -> Vec<u8> {
        let hex = self.all(key).next().unwrap();
        let pairs = (0..hex.len()).step_by(2);
        pairs
            .map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap())
            .collect()
    }
}

fn vectors(bad: bool) -> Vec<Vector> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let files: Vec<PathBuf> = entries
        .filter(|p| p.extension().is_some_and(|e| e == "vector"))
        .collect();
    let vectors = files.iter().map(|path| Vector::read(path));
    vectors
        .filter(|v| v.name.starts_with("bad_") == bad)
        .collect()
}

fn numbers(text: &str) -> Vec<i32> {
    text.split(',')
        .map(|number| number.parse().unwrap())
        .collect()
}

#[test]
fn graphs_and_shapes_encode_as_specified() {
    let vectors = vectors(false);
    assert_eq!(vectors.len(), 10);
    for vector in vectors {
        let bytes = vector.bytes("graph");
        let graph = Graph::decode(&bytes).unwrap();
        assert_eq!(graph.encode(), bytes, "{}", vector.name);
        assert_eq!(
            graph.encode_shape(),
            vector.bytes("shape"),
            "{}",
            vector.name
        );
    }
}

#[test]
fn the_interpreter_says_what_big_integers_say() {
    for vector in vectors(false) {
        let graph = Graph::decode(&vector.bytes("graph")).unwrap();
        for run in vector.all("run") {
            let (input, output) = run.split_once(' ').unwrap();
            assert_eq!(
                graph.run(&numbers(input)),
                Ok(numbers(output)),
                "{}",
                vector.name
            );
        }
    }
}

#[test]
fn bad_encodings_are_refused_by_name() {
    let vectors = vectors(true);
    assert_eq!(vectors.len(), 31);
    for vector in vectors {
        let error = Graph::decode(&vector.bytes("graph")).unwrap_err();
        assert_eq!(
            format!("{error:?}"),
            vector.all("error").next().unwrap(),
            "{}",
            vector.name
        );
    }
}
