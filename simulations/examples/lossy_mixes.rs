//! Five hundred questions through mixes that drop packets after having accounted for them, at
//! the rates that clients and providers have. `cargo run --release -p subrosa-simulations
//! --example lossy_mixes [-- PERCENT [SEED]]`: 2 % in every mix unless told otherwise.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "an example speaks to people and may fail where it stands"
)]

use std::collections::BTreeMap;
use std::time::Duration;

use directory::Parameters;
use provider::Reach;
use sphinx::Geometry;
use subrosa_simulations::{Counts, Ending, Harm, LinkLaw, Questions, Scenario, run};
use traffic::Rate;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let percent = arguments.next().map_or(2.0, |p| p.parse::<f64>().unwrap());
    let seed = arguments.next().map_or(1, |seed| seed.parse().unwrap());
    println!(
        "{percent} % dropped in every mix, seed {seed}; clients 30 slots a second, providers 120"
    );
    let report = run(&scenario(percent / 100.0, seed)).unwrap();
    let mut took: Vec<Duration> = Vec::new();
    let mut errors: BTreeMap<String, usize> = BTreeMap::new();
    for question in &report.questions {
        match &question.ending {
            Some(Ending::Answered {
                latency,
                exact: true,
                ..
            }) => took.push(*latency),
            Some(Ending::Failed(why)) => {
                let name = format!("{why:?}");
                let name = name.split([' ', '{', '(']).next().unwrap().to_owned();
                *errors.entry(name).or_default() += 1;
            }
            other => *errors.entry(format!("{other:?}")).or_default() += 1,
        }
    }
    took.sort();
    let at = |share: usize| took.get(took.len() * share / 100).unwrap().as_secs_f64();
    println!(
        "{} questions, {} answered exactly, {} ended otherwise {errors:?}",
        report.questions.len(),
        took.len(),
        report.questions.len() - took.len(),
    );
    println!(
        "median {:.2} s, 99 % within {:.2} s, worst {:.2} s",
        at(50),
        at(99),
        took.last().unwrap().as_secs_f64()
    );
    println!(
        "{} packets dropped by mixes; imbalances {}",
        report.links.dropped_by_mixes,
        report.imbalances.len()
    );
}

fn scenario(mix_loss: f64, seed: u64) -> Scenario {
    let rate = |per_second| Rate::new(per_second).unwrap();
    let parameters = Parameters::demo();
    Scenario {
        seed,
        duration: Duration::from_secs(260),
        counts: Counts {
            authorities: 4,
            mixes: 9,
            gateways: 4,
            providers: 2,
            clients: 5,
        },
        parameters: Parameters {
            first_epoch: Some(Duration::from_secs(20)),
            // Shorter packets, so that it takes minutes: what is dropped does not depend on it.
            geometry: Geometry::new(2048).unwrap(),
            classes: vec![rate(30.0), rate(120.0)],
            provider_class: 1,
            ..parameters
        },
        reach: Reach::Anonymous,
        class: 0,
        links: LinkLaw {
            latency: Duration::from_millis(5),
            jitter: Duration::from_millis(5),
            loss: 0.0,
        },
        faults: Vec::new(),
        harm: Harm {
            mix_loss,
            ..Harm::default()
        },
        questions: Questions {
            first: Duration::from_secs(30),
            every: Duration::from_millis(400),
            deadline: DEADLINE,
        },
        sessions: Vec::new(),
        checkpoint: Duration::from_secs(60),
    }
}

/// As `subrosa ask` gives a question.
const DEADLINE: Duration = Duration::from_secs(30);
