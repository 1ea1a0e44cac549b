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

/// Microseconds a run.
struct Times {
    warm: f64,
    fresh: f64,
    interpreter: f64,
    onnxruntime: Result<f64, String>,
}

/// `subrosa model bench`
///
/// # Errors
/// [`Fault`]: usage if it is no model file.
pub(super) fn command(args: &ModelBenchArgs) -> Result<(), Fault> {
    let model = super::read(&args.file)?;
    let times = measure(&model, args)?;
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

fn measure(model: &Model, args: &ModelBenchArgs) -> Result<Times, Fault> {
    let loaded = super::load(model)?;
    let inputs = inputs(model);
    let mut instance = loaded.instance().map_err(Fault::failed)?;
    let warm = time(args.time, &inputs, |input| {
        instance.run(input).map(drop).map_err(Fault::failed)
    })?;
    // Its place in the pool is for the fresh ones.
    drop(instance);
    let fresh = time(args.time, &inputs, |input| {
        loaded.run(input).map(drop).map_err(Fault::failed)
    })?;
    let interpreter = time(args.time, &inputs, |input| {
        model.graph.run(input).map(drop).map_err(Fault::failed)
    })?;
    let onnxruntime = match &args.onnx {
        Some(onnx) => onnxruntime(args, onnx),
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
fn onnxruntime(args: &ModelBenchArgs, onnx: &Path) -> Result<f64, String> {
    let said = Command::new(&args.python)
        .args(["-c", SCRIPT])
        .arg(onnx)
        .arg(args.time.as_secs_f64().to_string())
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .map_err(|e| format!("{}: {e}", args.python.display()))?;
    let text = String::from_utf8_lossy(&said.stdout);
    let number = text.trim().parse().ok().filter(|us: &f64| *us > 0.0);
    number.ok_or_else(|| {
        let python = args.python.display();
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
