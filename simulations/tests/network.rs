//! The whole network on a virtual clock.

#![allow(
    clippy::cast_precision_loss,
    clippy::print_stdout,
    reason = "tests: shares of small counts, figures for whoever asks for them"
)]

use std::time::Duration;

use directory::Parameters;
use sphinx::Geometry;
use subrosa_simulations::{
    Counts, Ending, Fault, LinkLaw, Node, NodeReport, Questions, Report, Scenario, run,
};
use traffic::{Rate, Rates};

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn rate(per_second: f64) -> Rate {
    Rate::new(per_second).expect("a rate")
}

/// Everybody of the demo, at small rates and with small packets.
fn town(seed: u64) -> Scenario {
    Scenario {
        seed,
        duration: seconds(150),
        counts: Counts {
            authorities: 4,
            mixes: 9,
            gateways: 4,
            providers: 2,
            clients: 5,
        },
        parameters: Parameters {
            epoch: seconds(600),
            overlap: seconds(120),
            vote_step: seconds(10),
            geometry: Geometry::new(2048).expect("a geometry"),
            classes: vec![rate(1.1), rate(2.2)],
            provider_class: 1,
            rates: Rates {
                payload: rate(1.1),
                // Loops of mixes wait for the gateways' clocks: 9 x 0.13 / 4 a second at each
                // must stay well below its rate, or they come back too late.
                mix_loop: rate(0.13),
                gateway_loop: rate(1.3),
                ..Rates::default()
            },
            local_addresses: true,
            ..Parameters::default()
        },
        class: 0,
        links: LinkLaw {
            latency: Duration::from_millis(5),
            jitter: Duration::from_millis(5),
            loss: 0.0,
        },
        faults: Vec::new(),
        questions: Questions {
            first: seconds(5),
            every: seconds(10),
            deadline: seconds(80),
        },
        sessions: Vec::new(),
        checkpoint: seconds(30),
    }
}

/// An hour with everything that goes wrong.
fn hour(seed: u64) -> Scenario {
    let fault = |node, at, down| Fault {
        node,
        at: seconds(at),
        down: seconds(down),
    };
    Scenario {
        duration: seconds(3_600),
        links: LinkLaw {
            loss: 0.01,
            ..town(seed).links
        },
        faults: vec![
            fault(Node::Mix(0), 130, 20),
            fault(Node::Gateway(1), 300, 30),
            fault(Node::Authority(2), 560, 120),
            fault(Node::Provider(0), 905, 10),
            fault(Node::Mix(4), 1_195, 15),
            fault(Node::Gateway(0), 1_500, 5),
            fault(Node::Provider(1), 1_804, 40),
            fault(Node::Mix(8), 2_390, 60),
            fault(Node::Authority(0), 2_700, 300),
            fault(Node::Client(3), 3_001, 20),
            fault(Node::Gateway(3), 3_200, 90),
        ],
        questions: Questions {
            every: seconds(15),
            ..town(seed).questions
        },
        checkpoint: seconds(60),
        ..town(seed)
    }
}

fn show(report: &Report) {
    let total = report.total();
    let latencies = report.latencies();
    let at = |share: usize| latencies.get(latencies.len() * share / 100);
    println!(
        "frames received {}, packets made {}",
        total.received, total.made
    );
    println!("links {:?}, events {}", report.links, report.events);
    println!("lost in crashes {}, refused:", total.lost);
    for (refusal, count) in total.refused.iter() {
        println!("  {} {count}", refusal.label());
    }
    for node in &report.nodes {
        let refused: Vec<_> = node.ledger.refused.iter().collect();
        if !refused.is_empty() {
            println!("  {:?} {refused:?}", node.node);
        }
    }
    println!(
        "questions {}, exact {}, median {:?}, worst {:?}",
        report.questions.len(),
        report.answered(),
        at(50),
        latencies.last(),
    );
    for question in &report.questions {
        if !matches!(
            question.ending,
            Some(Ending::Answered {
                exact: true,
                attempts: 1,
                ..
            })
        ) {
            println!("  {question:?}");
        }
    }
}

#[test]
fn in_a_calm_network_every_question_is_answered_exactly_and_nothing_is_refused() {
    let report = run(&town(1)).expect("a network");
    show(&report);
    assert_eq!(report.imbalances, []);
    assert!(report.checkpoints >= 4);
    assert_eq!(report.total().refused.total(), 0);
    assert!(!report.questions.is_empty());
    assert_eq!(report.answered(), report.questions.len());
}

#[test]
fn an_hour_with_loss_and_crashes_is_the_same_twice_and_balances_everywhere() {
    let second = std::thread::spawn(|| run(&hour(7)).expect("a network"));
    let report = run(&hour(7)).expect("a network");
    show(&report);
    assert!(second.join().expect("a run") == report, "one seed, one run");

    assert_eq!(report.imbalances, []);
    assert!(report.checkpoints >= 60);
    assert!(report.total().made >= 100_000);
    assert!(report.newest_epoch.0 >= 6);
    let crashed = |node: &&NodeReport| node.crashes > 0;
    assert_eq!(
        report.nodes.iter().filter(crashed).count(),
        hour(7).faults.len()
    );
    assert!(report.links.lost > 1_000 && report.total().lost > 0);

    let deadline = hour(7).questions.deadline;
    assert!(report.questions.len() > 200);
    for question in &report.questions {
        let ended = question.ended_after.expect("every question ends");
        assert!(ended <= deadline, "{question:?}");
        let wrong = matches!(question.ending, Some(Ending::Answered { exact: false, .. }));
        assert!(!wrong, "{question:?}");
    }
    let share = report.answered() as f64 / report.questions.len() as f64;
    assert!(share > 0.9, "{share}");
}

#[test]
fn another_seed_is_another_run() {
    let short = |seed| Scenario {
        duration: seconds(20),
        questions: Questions {
            deadline: seconds(10),
            ..town(seed).questions
        },
        ..town(seed)
    };
    let one = run(&short(1)).expect("a network");
    let other = run(&short(2)).expect("a network");
    assert!(one.digest != other.digest);
}
