//! Every operator of ONNX that is read, in small files as exporters write them: the float model
//! says what onnxruntime says, and the integers stay near it. `vectors/make.py` makes the cases.

#![allow(clippy::unwrap_used, reason = "a test's helpers")]

use subrosa_compiler::{ImportOptions, Imported, InputScale, import_onnx};

struct Case {
    name: &'static str,
    onnx: Vec<u8>,
    samples: Vec<(Vec<f32>, Vec<f32>)>,
}

fn numbers(text: &str) -> Vec<f32> {
    text.split(',').map(|x| x.parse().unwrap()).collect()
}

fn cases() -> Vec<Case> {
    let lines = include_str!("vectors/operators.txt").lines();
    let case = |line: &'static str| {
        let fields: Vec<&str> = line.split('\t').collect();
        let pairs = (0..fields[1].len()).step_by(2);
        let byte = |at: usize| u8::from_str_radix(&fields[1][at..at + 2], 16).unwrap();
        let samples = fields[2..].chunks(2);
        Case {
            name: fields[0],
            onnx: pairs.map(byte).collect(),
            samples: samples.map(|s| (numbers(s[0]), numbers(s[1]))).collect(),
        }
    };
    lines.map(case).collect()
}

fn import(case: &Case, bits: u8) -> Imported {
    let options = ImportOptions {
        input_scale: InputScale::Shared,
        input_bits: bits,
        activation_bits: bits,
        weight_bits: bits,
        agreement_permille: 0,
        ..ImportOptions::default()
    };
    let inputs: Vec<Vec<f32>> = case.samples.iter().map(|(x, _)| x.clone()).collect();
    match import_onnx(&case.onnx, &inputs, &options) {
        Ok(imported) => imported,
        Err(error) => panic!("{}: {error}", case.name),
    }
}

fn reach(case: &Case) -> f64 {
    let all = case.samples.iter().flat_map(|(_, y)| y);
    all.fold(0.0, |reach, &y| reach.max(f64::from(y).abs()))
}

#[test]
fn the_float_model_says_what_onnxruntime_says() {
    let cases = cases();
    assert_eq!(cases.len(), 82);
    for case in cases {
        let imported = import(&case, 12);
        for (x, y) in &case.samples {
            let said = imported.float(x).unwrap();
            assert_eq!(said.len(), y.len(), "{}", case.name);
            for (said, meant) in said.iter().zip(y) {
                let error = (said - f64::from(*meant)).abs();
                // The vectors have five digits; integers of a file are rounded there, not here.
                let rounding = if case.name.starts_with('q') {
                    0.05
                } else {
                    5e-5
                };
                assert!(
                    error <= rounding * reach(&case).max(1e-3),
                    "{}: {said} is not {meant}",
                    case.name
                );
            }
        }
    }
}

#[test]
fn the_integers_stay_near_onnxruntime() {
    for (bits, share) in [(8, 0.06_f64), (12, 0.005)] {
        for case in cases() {
            let imported = import(&case, bits);
            let mut worst = 0.0_f64;
            for (x, y) in &case.samples {
                let input = imported.input.quantise(x).unwrap();
                let said = imported.graph.run(&input).unwrap();
                for (said, meant) in said.iter().zip(y) {
                    let said = f64::from(*said) * f64::from(imported.output.scale);
                    worst = worst.max((said - f64::from(*meant)).abs());
                }
            }
            let allowed = match case.name {
                // A step in the function: one side of it is as right as the other.
                "mask" => 1.0,
                // The place of the largest.
                "arg_max" => 4.0 / reach(&case).max(1.0),
                name if name.starts_with('q') => share.max(0.06),
                _ => share,
            };
            assert!(
                worst <= allowed * reach(&case).max(1e-3),
                "{} at {bits} bits: {worst} of {}",
                case.name,
                reach(&case)
            );
        }
    }
}

#[test]
fn every_case_compiles() {
    for case in cases() {
        let imported = import(&case, 8);
        assert!(
            subrosa_compiler::compile(&imported.graph).is_ok(),
            "{}",
            case.name
        );
    }
}
