//! `subrosa model bench`: what a run of a model file takes here, warm and fresh, beside the
//! interpreter and, where there is one, beside onnxruntime.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use compiler::Model;
use link::Clock;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;
use serde_json::json;

use super::grouped;
use crate::SystemClock;
use crate::cli::ModelBenchArgs;
use crate::exit::Fault;

/// Microseconds a run on one thread, the least of several rounds.
#[derive(Debug, Clone, PartialEq)]
pub struct Times {
    /// In an instance that ran before.
    pub warm: f64,
    /// In an instance of its own, as providers run it.
    pub fresh: f64,
    /// In the reference interpreter.
    pub interpreter: f64,
    /// Of the float model in onnxruntime; or why there is no number.
    pub onnxruntime: Result<f64, String>,
}

/// Whom to ask for onnxruntime's time.
#[derive(Debug, Clone, Copy)]
pub struct Peer<'a> {
    /// A Python that has onnxruntime and numpy.
    pub python: &'a Path,
    /// The model's ONNX file.
    pub onnx: &'a Path,
}

/// `subrosa model bench`
///
/// # Errors
/// [`Fault`]: usage if it is no model file.
pub(super) fn command(args: &ModelBenchArgs) -> Result<(), Fault> {
    let model = super::read(&args.file)?;
    let python = &args.python;
    let peer = args.onnx.as_deref().map(|onnx| Peer { python, onnx });
    let times = measure(&model, peer, args.time)?;
    let mut out = std::io::stdout().lock();
    let beside = times.onnxruntime.as_ref();
    if args.json {
        let said = json!({
            "name": model.name,
            "fuel": model.module.fuel,
            "parameters": model.graph.parameters(),
            "warm_us": times.warm,
            "fresh_us": times.fresh,
            "interpreter_us": times.interpreter,
            "interpreter_over_warm": times.interpreter / times.warm,
            "onnxruntime_us": beside.ok(),
            "warm_over_onnxruntime": beside.ok().map(|beside| times.warm / beside),
        });
        return writeln!(out, "{said}").map_err(Fault::output);
    }
    let fuel = grouped(model.module.fuel);
    let mut lines = vec![
        format!("{}, fuel {fuel} a run, one thread", model.name),
        format!("{:<14} {:>10.2} us", "warm", times.warm),
        format!("{:<14} {:>10.2} us", "fresh", times.fresh),
        format!(
            "{:<14} {:>10.2} us  {:.1} x warm",
            "interpreter",
            times.interpreter,
            times.interpreter / times.warm
        ),
    ];
    lines.push(match beside {
        Ok(beside) => {
            let ratio = times.warm / beside;
            format!(
                "{:<14} {beside:>10.2} us  warm is {ratio:.2} x this",
                "onnxruntime"
            )
        }
        Err(why) => format!("{:<14} {:>10}     {why}", "onnxruntime", "-"),
    });
    for line in lines {
        writeln!(out, "{line}").map_err(Fault::output)?;
    }
    Ok(())
}

/// Times `model`, `each` long a measurement.
///
/// # Errors
/// [`Fault`] if it does not run.
pub fn measure(model: &Model, peer: Option<Peer<'_>>, each: Duration) -> Result<Times, Fault> {
    let loaded = super::load(model)?;
    let inputs = inputs(model);
    let mut instance = loaded.instance().map_err(Fault::failed)?;
    let warm = time(each, &inputs, |input| {
        instance.run(input).map(drop).map_err(Fault::failed)
    })?;
    // Its place in the pool is for the fresh ones.
    drop(instance);
    let fresh = time(each, &inputs, |input| {
        loaded.run(input).map(drop).map_err(Fault::failed)
    })?;
    let interpreter = time(each, &inputs, |input| {
        model.graph.run(input).map(drop).map_err(Fault::failed)
    })?;
    let onnxruntime = match peer {
        Some(peer) => onnxruntime(peer, each),
        None => Err("name the model with --onnx".to_owned()),
    };
    Ok(Times {
        warm,
        fresh,
        interpreter,
        onnxruntime,
    })
}

/// Inputs over the whole interval; the same ones each time.
fn inputs(model: &Model) -> Vec<Vec<i32>> {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let (lo, hi) = (model.input.lo, model.input.hi);
    let mut one = || {
        (0..model.input.elements)
            .map(|_| rng.random_range(lo..=hi))
            .collect()
    };
    (0..INPUTS).map(|_| one()).collect()
}

/// Microseconds a run, the least of several rounds: what else the machine did only adds.
fn time(
    total: Duration,
    inputs: &[Vec<i32>],
    mut run: impl FnMut(&[i32]) -> Result<(), Fault>,
) -> Result<f64, Fault> {
    let clock = SystemClock::new();
    let began = clock.now();
    let mut best = f64::INFINITY;
    loop {
        let round = clock.now();
        for input in inputs {
            run(input)?;
        }
        let micros = clock.now().since(round).as_secs_f64() * 1e6;
        #[allow(clippy::cast_precision_loss, reason = "a few dozen")]
        let each = micros / inputs.len() as f64;
        best = best.min(each);
        if clock.now().since(began) >= total {
            return Ok(best);
        }
    }
}

/// Microseconds a run of onnxruntime on one thread, or why there is no number.
fn onnxruntime(peer: Peer<'_>, each: Duration) -> Result<f64, String> {
    let said = Command::new(peer.python)
        .args(["-c", SCRIPT])
        .arg(peer.onnx)
        .arg(each.as_secs_f64().to_string())
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .map_err(|e| format!("{}: {e}", peer.python.display()))?;
    let text = String::from_utf8_lossy(&said.stdout);
    let number = text.trim().parse().ok().filter(|us: &f64| *us > 0.0);
    number.ok_or_else(|| {
        let python = peer.python.display();
        format!("{python} has no onnxruntime that runs it; see --python")
    })
}

/// One row, one thread, the input bound once; the least of several rounds, as [`time`].
const SCRIPT: &str = "
import sys, time
import numpy as np, onnxruntime as ort
o = ort.SessionOptions()
o.intra_op_num_threads = o.inter_op_num_threads = 1
s = ort.InferenceSession(sys.argv[1], o, providers=['CPUExecutionProvider'])
i = s.get_inputs()[0]
shape = [d if isinstance(d, int) and d > 0 else 1 for d in i.shape]
x = {i.name: np.random.default_rng(1).random(shape, dtype=np.float32)}
want = [s.get_outputs()[-1].name]
best, end = 1e9, time.perf_counter() + float(sys.argv[2])
while time.perf_counter() < end:
    t = time.perf_counter()
    for _ in range(32):
        s.run(want, x)
    best = min(best, (time.perf_counter() - t) / 32)
print(best * 1e6)
";

/// Inputs of a round.
const INPUTS: usize = 32;
