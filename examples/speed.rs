//! Prints docs/models.md's figures of speed: a net of 784-1000-200-10 in 8 bits beside onnxruntime's
//! own 8 bits, warm and in fresh instances, what a hundred live instances add to memory, and a
//! hundred trees. Each beside what it should stay under.
//!
//!     cargo run --release --example speed [PYTHON]
//!
//! PYTHON is one that has onnxruntime, onnx and numpy; without it the ratios are left out. Ours and
//! theirs take turns; every time is the median of the rounds, with half of all rounds as far from
//! each other as it says.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "an example speaks to people"
)]

use std::error::Error;
use std::fs;
use std::hint::black_box;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;

use graph::{
    Accumulator, Graph, InputType, Node, Operator, Split, Tree, TreeEnsemble, ValueId, Weights,
};
use link::Clock;
use provider::{Instance, LoadedModel, OwnModules, Sandbox, SandboxLimits};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;
use subrosa::SystemClock;

type Failed = Box<dyn Error>;

fn main() -> Result<(), Failed> {
    let python = std::env::args().nth(1).unwrap_or_else(|| "python3".into());
    let limits = SandboxLimits {
        instances: 2 * LIVE,
        ..SandboxLimits::default()
    };
    let sandbox = Sandbox::new(limits, Arc::new(OwnModules))?;
    let net = network()?;
    let trees = forest()?;
    let peer = Peer::start(&python);
    let times = times(&sandbox, &net, &trees, peer)?;
    let added = live(&sandbox, &net)?;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    println!(
        "{ROUNDS} rounds of {INPUTS} runs, one thread, Linux {}\n",
        kernel.trim()
    );
    println!("| | median | half within | should stay under |\n|---|---|---|---|");
    for line in lines(&times, added) {
        println!("{line}");
    }
    println!("\n| the net, node by node | us | of it |\n|---|---|---|");
    for line in profile(&sandbox, &net)? {
        println!("{line}");
    }
    Ok(())
}

/// Microseconds a run, one a round.
struct Times {
    warm: Vec<f64>,
    fresh: Vec<f64>,
    trees: Vec<f64>,
    /// Of each format that onnxruntime has, by name; or why there are none.
    peer: Result<Vec<(String, Vec<f64>)>, String>,
}

fn times(
    sandbox: &Sandbox,
    net: &Graph,
    trees: &Graph,
    peer: Result<Peer, String>,
) -> Result<Times, Failed> {
    let (loaded, forest) = (load(sandbox, net)?, load(sandbox, trees)?);
    let (inputs, rows) = (inputs(net), inputs(trees));
    let mut warm = loaded.instance()?;
    let mut walked = forest.instance()?;
    let mut times = Times {
        warm: Vec::new(),
        fresh: Vec::new(),
        trees: Vec::new(),
        peer: Ok(Vec::new()),
    };
    let mut peer = match peer {
        Ok(peer) => {
            let formats = peer.formats.iter().map(|name| (name.clone(), Vec::new()));
            times.peer = Ok(formats.collect());
            Some(peer)
        }
        Err(why) => {
            times.peer = Err(why);
            None
        }
    };
    for _ in 0..ROUNDS {
        times.warm.push(ran(&mut warm, &inputs)?);
        times.fresh.push(micros(&inputs, |input| {
            loaded.run(input)?;
            Ok(())
        })?);
        times.trees.push(ran(&mut walked, &rows)?);
        if let (Some(peer), Ok(formats)) = (&mut peer, &mut times.peer) {
            for (name, each) in formats {
                each.push(peer.ask(name)?);
            }
        }
    }
    Ok(times)
}

fn lines(times: &Times, added: Option<f64>) -> Vec<String> {
    let time = |name: &str, each: &[f64], most: &str| {
        let (median, spread) = (median(each), spread(each));
        format!("| {name} | {median:.1} us | {spread:.0} % | {most} |")
    };
    let mut lines = vec![
        time("warm, counting fuel", &times.warm, ""),
        time("fresh instance", &times.fresh, ""),
    ];
    let ratio = |name: &str, a: &[f64], b: &[f64], most: &str| {
        let each: Vec<f64> = a.iter().zip(b).map(|(a, b)| a / b).collect();
        let (median, spread) = (median(&each), spread(&each));
        format!("| {name} | {median:.2} x | {spread:.0} % | {most} |")
    };
    lines.push(ratio("fresh / warm", &times.fresh, &times.warm, "1.60 x"));
    match &times.peer {
        Ok(formats) => {
            for (name, each) in formats {
                lines.push(time(&format!("onnxruntime int8, {name}"), each, ""));
            }
            let quickest = formats
                .iter()
                .min_by(|a, b| median(&a.1).total_cmp(&median(&b.1)));
            if let Some((name, peer)) = quickest {
                let against = |us: &str| format!("{us} / onnxruntime int8, {name}");
                lines.push(ratio(&against("warm"), &times.warm, peer, "2.20 x"));
                lines.push(ratio(&against("fresh"), &times.fresh, peer, "3.00 x"));
            }
        }
        Err(why) => lines.push(format!("| onnxruntime int8 | {why} | | |")),
    }
    lines.push(match added {
        Some(mib) => format!("| {LIVE} live instances add (PSS) | {mib:.2} MiB | | 5 MiB |"),
        None => format!("| {LIVE} live instances add (PSS) | no /proc | | 5 MiB |"),
    });
    let name = format!("{TREES} trees of {LEAVES} leaves, a row");
    lines.push(time(&name, &times.trees, "50 us"));
    lines
}

/// What each node takes: a net that ends with it, less the one that ends before it.
fn profile(sandbox: &Sandbox, net: &Graph) -> Result<Vec<String>, Failed> {
    let mut nets = Vec::new();
    for end in 1..=net.nodes().len() {
        let cut = Graph::new(net.input(), net.nodes()[..end].to_vec())?;
        nets.push(load(sandbox, &cut)?.instance()?);
    }
    let inputs = inputs(net);
    let mut all = vec![Vec::new(); nets.len()];
    for _ in 0..ROUNDS {
        for (instance, times) in nets.iter_mut().zip(&mut all) {
            times.push(ran(instance, &inputs)?);
        }
    }
    let whole = all.last().map_or(f64::NAN, |times| median(times));
    let mut lines = Vec::new();
    let mut before = vec![0.0; ROUNDS];
    for (node, times) in net.nodes().iter().zip(all) {
        let own: Vec<f64> = times.iter().zip(&before).map(|(a, b)| a - b).collect();
        let (name, own) = (name(&node.operator), median(&own));
        lines.push(format!(
            "| {name} | {own:.1} | {:.0} % |",
            100.0 * own / whole
        ));
        before = times;
    }
    Ok(lines)
}

fn name(operator: &Operator) -> String {
    match operator {
        Operator::Dense { bias, .. } => format!("Dense, {} rows", bias.len()),
        Operator::Requantise { multipliers, .. } => format!("Requantise, {}", multipliers.len()),
        _ => "other".to_owned(),
    }
}

/// MiB of memory, shared pages by their share, that instances add which have each run once.
fn live(sandbox: &Sandbox, net: &Graph) -> Result<Option<f64>, Failed> {
    let loaded = load(sandbox, net)?;
    let input = &inputs(net)[0];
    // What the first run of all maps is the model's, not an instance's.
    loaded.run(input)?;
    let before = proportional();
    let mut instances = Vec::new();
    for _ in 0..LIVE {
        let mut instance = loaded.instance()?;
        instance.run(input)?;
        instances.push(instance);
    }
    let after = proportional();
    Ok(before.zip(after).map(|(before, after)| after - before))
}

/// This process's proportional set size in MiB.
fn proportional() -> Option<f64> {
    let text = fs::read_to_string("/proc/self/smaps_rollup").ok()?;
    let line = text.lines().find(|line| line.starts_with("Pss:"))?;
    let kib: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024.0)
}

fn load(sandbox: &Sandbox, graph: &Graph) -> Result<LoadedModel, Failed> {
    let module = compiler::compile(graph)?;
    Ok(sandbox.load(&module.bytes, module.fuel)?)
}

fn ran(instance: &mut Instance, inputs: &[Vec<i32>]) -> Result<f64, Failed> {
    micros(inputs, |input| {
        black_box(instance.run(input)?);
        Ok(())
    })
}

/// Microseconds a run over a round of inputs.
fn micros(
    inputs: &[Vec<i32>],
    mut run: impl FnMut(&[i32]) -> Result<(), Failed>,
) -> Result<f64, Failed> {
    for input in inputs.iter().take(WARMING) {
        run(input)?;
    }
    let clock = SystemClock::new();
    let began = clock.now();
    for input in inputs {
        run(input)?;
    }
    let micros = clock.now().since(began).as_secs_f64() * 1e6;
    Ok(micros / inputs.len() as f64)
}

fn median(times: &[f64]) -> f64 {
    quantile(times, 2)
}

/// Per cent of the median between a quarter and three quarters of the rounds.
fn spread(times: &[f64]) -> f64 {
    100.0 * (quantile(times, 3) - quantile(times, 1)) / median(times)
}

fn quantile(times: &[f64], quarter: usize) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = sorted.len() * quarter / 4;
    sorted.get(place).copied().unwrap_or(f64::NAN)
}

/// Layers of [`WIDTHS`] with weights at random, as the importer writes them.
fn network() -> Result<Graph, Failed> {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let mut nodes = Vec::new();
    for pair in WIDTHS.windows(2) {
        let weights = (0..pair[0] * pair[1]).map(|_| rng.random_range(-127..=127_i8));
        let dense = Operator::Dense {
            weights: Weights::Narrow(weights.collect()),
            bias: (0..pair[1]).map(|_| rng.random_range(-999..=999)).collect(),
            accumulator: Accumulator::Narrow,
        };
        nodes.push(Node::unary(dense, ValueId(nodes.len().try_into()?)));
        if pair[1] != WIDTHS[3] {
            let requantise = Operator::Requantise {
                multipliers: (0..pair[1]).map(|_| rng.random_range(400..=900)).collect(),
                shift: 20,
                lo: 0,
                hi: 127,
            };
            nodes.push(Node::unary(requantise, ValueId(nodes.len().try_into()?)));
        }
    }
    let input = InputType {
        elements: WIDTHS[0].try_into()?,
        lo: -127,
        hi: 127,
    };
    Ok(Graph::new(input, nodes)?)
}

/// Trees that grow at a leaf drawn by lot, over 64 features and for ten classes.
fn forest() -> Result<Graph, Failed> {
    let mut rng = ChaCha20Rng::seed_from_u64(2);
    let ensemble = TreeEnsemble {
        trees: (0..TREES).map(|_| tree(&mut rng)).collect(),
        width: CLASSES,
        bias: vec![0; CLASSES as usize],
        accumulator: Accumulator::Narrow,
    };
    let input = InputType {
        elements: FEATURES,
        lo: -1_000_000,
        hi: 1_000_000,
    };
    let node = Node::unary(Operator::TreeEnsemble(ensemble), ValueId(0));
    Ok(Graph::new(input, vec![node])?)
}

fn tree(rng: &mut ChaCha20Rng) -> Tree {
    let splits = LEAVES - 1;
    // Where a leaf hangs: the split above it, and on which of its sides.
    let mut open: Vec<Option<(usize, bool)>> = vec![None];
    let mut grown: Vec<Split> = Vec::new();
    for place in 0..splits {
        let leaf = open.swap_remove(rng.random_range(0..open.len()));
        hang(&mut grown, leaf, place);
        grown.push(Split {
            feature: rng.random_range(0..FEATURES),
            threshold: rng.random_range(-900_000..=900_000),
            missing: false,
            yes: 0,
            no: 0,
        });
        open.extend([Some((place as usize, true)), Some((place as usize, false))]);
    }
    for (leaf, place) in open.into_iter().zip(splits..) {
        hang(&mut grown, leaf, place);
    }
    let leaves = (0..LEAVES * CLASSES).map(|_| rng.random_range(0..=100_000));
    Tree {
        first: 0,
        leaves: leaves.collect(),
        splits: grown,
    }
}

fn hang(splits: &mut [Split], leaf: Option<(usize, bool)>, place: u32) {
    match leaf {
        Some((above, true)) => splits[above].yes = place,
        Some((above, false)) => splits[above].no = place,
        None => {}
    }
}

fn inputs(graph: &Graph) -> Vec<Vec<i32>> {
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    let InputType { elements, lo, hi } = graph.input();
    let mut one = || (0..elements).map(|_| rng.random_range(lo..=hi)).collect();
    (0..INPUTS).map(|_| one()).collect()
}

/// A Python that times onnxruntime whenever it is asked to.
struct Peer {
    process: Child,
    asks: ChildStdin,
    says: BufReader<ChildStdout>,
    formats: Vec<String>,
}

impl Peer {
    fn start(python: &str) -> Result<Self, String> {
        let mut process = Command::new(python)
            .args(["-c", include_str!("speed.py")])
            .args(WIDTHS.map(|width| width.to_string()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| format!("{python}: {e}"))?;
        let pipes = process.stdin.take().zip(process.stdout.take());
        let (asks, says) = pipes.ok_or("no pipes")?;
        let mut peer = Self {
            process,
            asks,
            says: BufReader::new(says),
            formats: Vec::new(),
        };
        let mut said = String::new();
        let heard = peer.says.read_line(&mut said);
        let mut words = said.split_whitespace();
        match (heard, words.next()) {
            (Ok(_), Some(version)) => eprintln!("onnxruntime {version}"),
            _ => return Err(format!("{python} lacks onnxruntime, onnx or numpy")),
        }
        peer.formats = words.map(str::to_owned).collect();
        Ok(peer)
    }

    fn ask(&mut self, format: &str) -> Result<f64, Failed> {
        writeln!(self.asks, "{format}")?;
        let mut said = String::new();
        self.says.read_line(&mut said)?;
        Ok(said.trim().parse()?)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

const WIDTHS: [usize; 4] = [784, 1000, 200, 10];
const ROUNDS: usize = 301;
/// Runs of a round: about a millisecond, so that few rounds are interrupted.
const INPUTS: usize = 20;
/// Runs before a round that are not timed: whoever ran before left the caches to itself.
const WARMING: usize = 3;
/// Instances that live at a time.
const LIVE: u32 = 100;
const TREES: u32 = 100;
const LEAVES: u32 = 256;
const FEATURES: u32 = 64;
const CLASSES: u32 = 10;
