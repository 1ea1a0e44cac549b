//! A testnet of processes whose datagrams take bad paths: what loses, doubles, disorders and cuts
//! below the packets never reaches who asks.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use link::{Chance, FaultCounts, FaultProxy, Faults};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use serde_json::Value;

use crate::testnet::{PROGRAM, Testnet};

#[test]
fn questions_are_answered_once_on_every_bad_path() {
    let paths = Paths::new();
    let mut proxies = Vec::new();
    let net = Testnet::behind(|node| {
        let proxy = paths.before(node, proxies.len() as u64);
        let address = proxy.address();
        proxies.push(proxy);
        address
    });
    let mut asker = Asker::of(&net);
    assert_eq!(asker.ask("warm-up", 2), 2);
    for (name, faults) in faults() {
        let before = total(&proxies);
        proxies.iter().for_each(|proxy| proxy.set(faults));
        let answered = asker.ask(name, QUESTIONS);
        let after = total(&proxies);
        eprintln!("{name}: {answered} of {QUESTIONS} answered; {after:?}");
        assert_eq!(answered, QUESTIONS, "{name}");
        let came = after.came - before.came;
        assert!(came > 1_000, "{name}: the paths were used");
        let lost = (after.lost - before.lost) as f64 / came as f64;
        let wanted = faults.loss.get();
        assert!((lost - wanted).abs() < 0.05, "{name}: {lost} was lost");
        assert_eq!(after.late > before.late, faults.reordering.get() > 0.0);
        assert_eq!(
            after.doubled > before.doubled,
            faults.duplication.get() > 0.0
        );
    }
    proxies.iter().for_each(|proxy| proxy.set(Faults::NONE));
    outlives_a_cut(&mut asker, &proxies);
    outlives_new_addresses(&mut asker, &proxies);
    asker.end();
}

/// Rows 21 to 23 of the catalogue of faults.
fn faults() -> Vec<(&'static str, Faults)> {
    let losing = |percent| Faults::losing(chance(percent));
    vec![
        ("loss-5", losing(5)),
        ("loss-10", losing(10)),
        ("loss-20", losing(20)),
        ("loss-30", losing(30)),
        (
            "disorder",
            Faults {
                reordering: chance(50),
                duplication: chance(20),
                ..Faults::NONE
            },
        ),
        (
            "mtu-1200",
            Faults {
                mtu: 1200,
                ..Faults::NONE
            },
        ),
    ]
}

/// No mix can be reached for a while; what was asked then is answered after it, or ends in its
/// typed error.
fn outlives_a_cut(asker: &mut Asker, proxies: &[FaultProxy]) {
    let mixes = &proxies[AUTHORITIES..AUTHORITIES + MIXES];
    mixes.iter().for_each(FaultProxy::cut);
    asker.put("cut", 2);
    std::thread::sleep(CUT);
    assert!(total(mixes).cut > 100, "the paths were cut");
    mixes.iter().for_each(FaultProxy::mend);
    asker.take("cut", 2);
    assert_eq!(asker.ask("mended", 2), 2);
}

/// Every client and node is seen under a new address by whoever it has dialled.
fn outlives_new_addresses(asker: &mut Asker, proxies: &[FaultProxy]) {
    proxies.iter().for_each(FaultProxy::readdress);
    asker.ask("moving", 2);
    assert_eq!(asker.ask("moved", 2), 2);
}

/// `subrosa ask --json -`: one client that stays.
struct Asker {
    process: Child,
    input: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    numbers: Vec<f32>,
    label: &'static str,
}

impl Asker {
    fn of(net: &Testnet) -> Self {
        let arguments = ["ask", "--network", &net.network(), "--class", "1"];
        let mut process = Command::new(PROGRAM)
            .args(arguments)
            .args(["--json", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let tumour = compiler::shipped().iter().find(|m| m.name == "tumour");
        let tumour = tumour.unwrap();
        let sample = tumour.samples().into_iter().next().unwrap();
        Self {
            input: process.stdin.take().unwrap(),
            answers: BufReader::new(process.stdout.take().unwrap()).lines(),
            process,
            label: tumour.labels[sample.class],
            numbers: sample.input,
        }
    }

    /// Asks `count` questions at once; how many of them are answered.
    fn ask(&mut self, name: &str, count: usize) -> usize {
        self.put(name, count);
        self.take(name, count)
    }

    fn put(&mut self, name: &str, count: usize) {
        for number in 0..count {
            let numbers = &self.numbers;
            writeln!(
                self.input,
                "{{\"model\":\"tumour\",\"input\":{numbers:?},\"id\":\"{name} {number}\",\"deadline_s\":40}}"
            )
            .unwrap();
        }
    }

    /// Each ends once: in its right answer, or in a typed error.
    fn take(&mut self, name: &str, count: usize) -> usize {
        let mut open: BTreeSet<String> = (0..count).map(|n| format!("{name} {n}")).collect();
        let mut answered = 0;
        for _ in 0..count {
            let answer = self.answers.next().unwrap().unwrap();
            let answer: Value = serde_json::from_str(&answer).unwrap();
            let id = answer["id"].as_str().unwrap();
            assert!(open.remove(id), "a second answer: {answer}");
            match answer["error"]["kind"].as_str() {
                None => {
                    assert_eq!(answer["label"], self.label, "{answer}");
                    answered += 1;
                }
                Some(kind) => assert!(TYPED.contains(&kind), "{answer}"),
            }
        }
        answered
    }

    /// Nothing is left over when it ends.
    fn end(mut self) {
        drop(self.input);
        assert!(self.answers.next().is_none());
        assert!(self.process.wait().unwrap().success());
    }
}

/// Proxies need a runtime for as long as they stand.
struct Paths(tokio::runtime::Runtime);

impl Paths {
    fn new() -> Self {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        Self(runtime.worker_threads(1).enable_all().build().unwrap())
    }

    fn before(&self, node: std::net::SocketAddr, seed: u64) -> FaultProxy {
        let _inside = self.0.enter();
        let rng = Box::new(ChaCha20Rng::seed_from_u64(seed));
        FaultProxy::start(node, Faults::NONE, rng).unwrap()
    }
}

fn total(proxies: &[FaultProxy]) -> FaultCounts {
    let counts = proxies.iter().map(FaultProxy::counts);
    counts.fold(FaultCounts::default(), FaultCounts::and)
}

fn chance(percent: u32) -> Chance {
    Chance::new(f64::from(percent) / 100.0).unwrap()
}

const QUESTIONS: usize = 6;
const TYPED: [&str; 4] = [
    "timeout",
    "not_connected",
    "stale_directory",
    "provider_failed",
];
const CUT: Duration = Duration::from_secs(3);

/// The plan's order: authorities, then mixes, then gateways.
const AUTHORITIES: usize = 4;
const MIXES: usize = 9;
