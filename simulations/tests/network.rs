//! The whole network on a virtual clock.

#![allow(
    clippy::cast_precision_loss,
    clippy::print_stdout,
    reason = "tests: shares of small counts, figures for whoever asks for them"
)]

use std::collections::BTreeMap;
use std::time::Duration;

use directory::Parameters;
use provider::Reach;
use sphinx::Geometry;
use subrosa_simulations::{
    Counts, Cut, Ending, Fault, Harm, LinkLaw, Node, NodeReport, Observer, Questions, Report,
    Scenario, Session, Sighting, run, run_observed,
};
use traffic::{Rate, Rates};
use wire::Refusal;

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
        duration: seconds(360),
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
            first_epoch: Some(seconds(120)),
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
        reach: Reach::Anonymous,
        class: 0,
        links: LinkLaw {
            latency: Duration::from_millis(5),
            jitter: Duration::from_millis(5),
            loss: 0.0,
        },
        faults: Vec::new(),
        harm: Harm::default(),
        questions: Questions {
            // The second document is the first that lists anonymous providers.
            first: seconds(130),
            every: seconds(10),
            // At two slots a second what is lost is missed after half a minute.
            deadline: seconds(160),
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
    // At the turn of the first epoch everybody at the edge throws away what it had made.
    for node in &report.nodes {
        let edge = matches!(node.node, Node::Client(_) | Node::Provider(_));
        for (refusal, count) in node.ledger.refused.iter() {
            let useless = matches!(refusal, Refusal::WrongEpoch | Refusal::BadFirstHop);
            // A frame that a registration overtakes is sent to a mix by the wrong document.
            let misled = refusal == Refusal::BadMac && count <= 2;
            assert!(
                (edge && useless) || misled,
                "{:?}: {count} {}",
                node.node,
                refusal.label()
            );
        }
    }
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

/// A question every other second, for a hundred seconds.
fn busy(seed: u64, harm: Harm) -> Scenario {
    Scenario {
        class: 1,
        harm,
        questions: Questions {
            every: seconds(2),
            ..town(seed).questions
        },
        ..town(seed)
    }
}

fn all_end_in_time_and_none_wrongly(report: &Report, deadline: Duration) {
    assert_eq!(report.imbalances, []);
    for question in &report.questions {
        let ended = question.ended_after.expect("every question ends");
        assert!(ended <= deadline, "{question:?}");
        match &question.ending {
            Some(Ending::Answered { exact: true, .. } | Ending::Failed(_)) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn questions_outlast_mixes_that_drop_packets() {
    // At 5 % in every one of the mixes on a loop's way alarms sound now and then: what is asked
    // meanwhile is withheld, and says so. Of eight towns 71 to 97 % were answered.
    for (seed, percent, least) in [(11, 2, 1.0), (12, 5, 0.5)] {
        let mix_loss = f64::from(percent) / 100.0;
        let harm = Harm {
            mix_loss,
            ..Harm::default()
        };
        let scenario = busy(seed, harm);
        let report = run(&scenario).expect("a network");
        println!("{percent} % dropped by each mix");
        show(&report);
        all_end_in_time_and_none_wrongly(&report, scenario.questions.deadline);
        let by_mixes = |node: &&NodeReport| matches!(node.node, Node::Mix(_));
        let sent: u64 = report
            .nodes
            .iter()
            .filter(by_mixes)
            .map(|n| n.ledger.sent)
            .sum();
        let dropped = report.links.dropped_by_mixes as f64 / sent as f64;
        assert!((dropped - mix_loss).abs() < 0.01, "{dropped}");
        assert!(report.questions.len() > 30);
        let answered = report.answered() as f64 / report.questions.len() as f64;
        assert!(answered >= least, "{answered}");
    }
}

/// When each client put frames on its link.
#[derive(Default)]
struct Slots(Vec<Duration>);

impl Observer for Slots {
    fn sees(&mut self, sighting: Sighting) {
        if matches!(sighting.from, Node::Client(_)) {
            self.0.push(sighting.at);
        }
    }
}

impl Slots {
    fn within(&self, from: u64, to: u64) -> f64 {
        let span = seconds(from)..seconds(to);
        self.0.iter().filter(|at| span.contains(*at)).count() as f64
    }
}

#[test]
fn a_minutes_partition_ends_questions_by_name_and_changes_no_clock() {
    let cut = Cut {
        nodes: (0..9).map(Node::Mix).collect(),
        at: seconds(50),
        lasts: seconds(60),
    };
    let harm = Harm {
        cuts: vec![cut],
        ..Harm::default()
    };
    let scenario = Scenario {
        duration: seconds(280),
        questions: Questions {
            deadline: seconds(30),
            ..busy(13, Harm::default()).questions
        },
        ..busy(13, harm)
    };
    let mut slots = Slots::default();
    let report = run_observed(&scenario, &mut slots).expect("a network");
    show(&report);
    all_end_in_time_and_none_wrongly(&report, seconds(30));
    assert!(report.links.cut > 500);
    // Asked while it lasts and due before it ends; then clients withhold what is real until
    // enough of their loops are back.
    for question in &report.questions {
        let answered = matches!(question.ending, Some(Ending::Answered { .. }));
        let (at, due) = (question.at, question.at + seconds(30));
        if at > seconds(50) && due < seconds(110) {
            assert!(!answered, "{question:?}");
        }
        if at > seconds(180) {
            assert!(answered, "{question:?}");
        }
    }
    // Five clients at 2.2 slots a second: a minute holds 660, with a deviation of 26.
    for (from, to) in [(50, 110), (115, 175)] {
        let sent = slots.within(from, to);
        assert!((sent - 660.0).abs() < 4.0 * 26.0, "{sent} from {from} s");
    }
}

/// By which gateways each client and provider enters, and since when.
#[derive(Default)]
struct Entries(BTreeMap<Node, Vec<(Duration, Node)>>);

impl Observer for Entries {
    fn sees(&mut self, sighting: Sighting) {
        let Sighting { at, from, to } = sighting;
        if matches!(from, Node::Client(_) | Node::Provider(_)) {
            let entries = self.0.entry(from).or_default();
            if entries.last().is_none_or(|(_, last)| *last != to) {
                entries.push((at, to));
            }
        }
    }
}

#[test]
fn who_entered_by_a_gateway_that_dies_takes_another_and_its_mailbox_is_fed_anew() {
    for seed in [14, 15] {
        let calm = Scenario {
            duration: seconds(30),
            ..town(seed)
        };
        let mut before = Entries::default();
        run_observed(&calm, &mut before).expect("a network");
        let (_, dies) = before.0[&Node::Provider(0)][0];
        let enters = |node: &Node| before.0[node][0].1 == dies;
        let client = (0..5).find(|number| enters(&Node::Client(*number)));
        let client = client.expect("five clients at four gateways");

        let scenario = Scenario {
            faults: vec![Fault {
                node: dies,
                at: seconds(180),
                down: seconds(1_000),
            }],
            questions: Questions {
                deadline: seconds(100),
                ..town(seed).questions
            },
            sessions: vec![Session {
                client,
                provider: 0,
                at: (0..6).map(|n| seconds(215 + 5 * n)).collect(),
            }],
            ..town(seed)
        };
        let mut entries = Entries::default();
        let report = run_observed(&scenario, &mut entries).expect("a network");
        println!("{dies:?} dies");
        show(&report);
        all_end_in_time_and_none_wrongly(&report, seconds(100));
        // Ten seconds without it, then a registration and a slot of the new link.
        for (node, entries) in &entries.0 {
            match entries.as_slice() {
                [_] => assert!(!enters(node), "{node:?} waits"),
                [_, (at, to)] => {
                    assert!(enters(node) && *to != dies, "{node:?} left {to:?}");
                    let span = seconds(190)..seconds(205);
                    assert!(span.contains(at), "{node:?} moved at {at:?}");
                }
                _ => panic!("{node:?} moved twice"),
            }
        }
        let moved = entries.0.values().filter(|e| e.len() == 2).count();
        assert!(moved >= 2, "{moved}");
        // Asked of the provider that moved, by a client that did, and of everybody else.
        let late = report.questions.iter().filter(|q| q.at >= seconds(215));
        let late: Vec<_> = late.collect();
        assert!(late.len() > 8);
        for question in late {
            let answered = matches!(question.ending, Some(Ending::Answered { .. }));
            assert!(answered, "{question:?}");
        }
    }
}
