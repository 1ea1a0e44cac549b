//! One layer cut off, and one node of each kind killed while questions are under way.

#![allow(
    clippy::print_stdout,
    reason = "tests: figures for whoever asks for them"
)]

use std::collections::BTreeMap;
use std::time::Duration;

use client::QueryError;
use directory::Parameters;
use provider::Reach;
use sphinx::Geometry;
use subrosa_simulations::{
    Counts, Cut, Ending, Fault, Harm, LinkLaw, Node, Observer, Questions, Report, Scenario,
    Sighting, WrongClock, run_observed,
};
use traffic::{Rate, Rates};

const DEADLINE: Duration = seconds(40);

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn rate(per_second: f64) -> Rate {
    Rate::new(per_second).expect("a rate")
}

/// A question every three seconds; one mix a layer.
fn town(seed: u64, loss: f64, lasts: u64) -> Scenario {
    Scenario {
        seed,
        duration: seconds(lasts),
        counts: Counts {
            authorities: 4,
            mixes: 3,
            gateways: 2,
            providers: 2,
            clients: 3,
        },
        parameters: Parameters {
            epoch: seconds(600),
            overlap: seconds(120),
            vote_step: seconds(10),
            geometry: Geometry::new(2048).expect("a geometry"),
            classes: vec![rate(2.2), rate(4.4)],
            provider_class: 1,
            rates: Rates {
                payload: rate(1.1),
                mix_loop: rate(0.1),
                gateway_loop: rate(2.6),
                ..Rates::default()
            },
            local_addresses: true,
            ..Parameters::default()
        },
        reach: Reach::Attached,
        class: 0,
        links: LinkLaw {
            latency: Duration::from_millis(5),
            jitter: Duration::from_millis(5),
            loss,
        },
        faults: Vec::new(),
        harm: Harm::default(),
        questions: Questions {
            first: seconds(5),
            every: seconds(3),
            deadline: DEADLINE,
        },
        sessions: Vec::new(),
        checkpoint: seconds(30),
    }
}

/// When each client put a frame on its link.
#[derive(Default, PartialEq)]
struct Slots(BTreeMap<Node, Vec<Duration>>);

impl Observer for Slots {
    fn sees(&mut self, sighting: Sighting) {
        if matches!(sighting.from, Node::Client(_)) {
            self.0.entry(sighting.from).or_default().push(sighting.at);
        }
    }
}

fn observe(scenario: &Scenario) -> (Report, Slots) {
    let mut slots = Slots::default();
    let report = run_observed(scenario, &mut slots).expect("a network");
    (report, slots)
}

/// Each question has its right answer, or one of these errors, by its deadline.
fn each_has_its_end(report: &Report) {
    assert_eq!(report.imbalances, []);
    for question in &report.questions {
        let ended = question.ended_after.expect("every question ends");
        assert!(ended <= DEADLINE, "{question:?}");
        assert!(
            matches!(
                &question.ending,
                Some(
                    Ending::Answered { exact: true, .. }
                        | Ending::Failed(
                            QueryError::Timeout { .. }
                                | QueryError::Withheld { .. }
                                | QueryError::SurbsExhausted
                                | QueryError::NotConnected
                                | QueryError::ProviderFailed(_)
                        )
                )
            ),
            "{question:?}"
        );
    }
}

#[test]
fn a_minute_without_one_layer_moves_not_one_slot_of_a_client() {
    for (seed, loss) in [(21, 0.0), (22, 0.01)] {
        let calm = town(seed, loss, 230);
        let cut = Cut {
            nodes: vec![Node::Mix(1)],
            at: seconds(40),
            lasts: seconds(60),
        };
        let parted = Scenario {
            harm: Harm {
                cuts: vec![cut],
                ..Harm::default()
            },
            ..calm.clone()
        };
        let (healthy, undisturbed) = observe(&calm);
        let (report, slots) = observe(&parted);
        each_has_its_end(&healthy);
        each_has_its_end(&report);
        assert!(report.links.cut > 200, "{}", report.links.cut);
        let sent: usize = slots.0.values().map(Vec::len).sum();
        assert!(sent > 1_300 && slots.0.len() == 3, "{sent}");
        assert!(slots == undisturbed, "a slot moved");
        // None of those asked in the middle is answered, all of those asked after the alarms are.
        let mut late = 0;
        for question in &report.questions {
            let answered = matches!(question.ending, Some(Ending::Answered { .. }));
            let due = question.at + DEADLINE;
            assert!(!answered || question.at < seconds(40) || due > seconds(100));
            if question.at > seconds(172) {
                assert!(answered, "{question:?}");
                late += 1;
            }
        }
        assert!(late >= 4);
        println!(
            "{loss} of the frames lost: {} of {} answered, {} without the partition",
            report.answered(),
            report.questions.len(),
            healthy.answered()
        );
    }
}

#[test]
fn whoever_is_killed_while_questions_are_under_way_each_has_its_end() {
    let nodes = [
        Node::Authority(0),
        Node::Mix(0),
        Node::Mix(1),
        Node::Mix(2),
        Node::Gateway(0),
        Node::Gateway(1),
        Node::Provider(0),
    ];
    let begins = |place: usize| seconds(20 + 20 * place as u64);
    let faults = nodes.into_iter().enumerate().map(|(place, node)| Fault {
        node,
        at: begins(place),
        down: seconds(2),
    });
    let scenario = Scenario {
        faults: faults.collect(),
        questions: Questions {
            every: seconds(1),
            ..town(23, 0.0, 210).questions
        },
        ..town(23, 0.0, 210)
    };
    let (report, _) = observe(&scenario);
    each_has_its_end(&report);
    let crashes: u64 = report.nodes.iter().map(|node| node.crashes).sum();
    assert_eq!(crashes, nodes.len() as u64);
    for (place, node) in nodes.iter().enumerate() {
        let under_way = report.questions.iter().filter(|question| {
            let ended = question.at + question.ended_after.unwrap_or_default();
            question.at < begins(place) && ended > begins(place)
        });
        assert!(under_way.count() > 0, "nothing was under way at {node:?}");
    }
    let share = report.answered() as f64 / report.questions.len() as f64;
    println!("{} of {}", report.answered(), report.questions.len());
    assert!(share > 0.85, "{share}");
}

/// Two epochs; as in real networks a step of a vote is longer than what clocks may be off.
fn two_epochs(seed: u64, clocks: Vec<(Node, WrongClock)>) -> Scenario {
    let town = town(seed, 0.0, 380);
    Scenario {
        parameters: Parameters {
            epoch: seconds(320),
            vote_step: seconds(32),
            ..town.parameters.clone()
        },
        questions: Questions {
            // By a clock that is behind the network begins later.
            first: seconds(20),
            every: seconds(10),
            ..town.questions
        },
        harm: Harm {
            clocks,
            ..Harm::default()
        },
        ..town
    }
}

#[test]
fn clocks_ten_seconds_off_lose_no_question() {
    let (behind, ahead) = (
        WrongClock::Behind(seconds(10)),
        WrongClock::Ahead(seconds(10)),
    );
    let clocks = vec![
        (Node::Authority(0), behind),
        (Node::Authority(1), ahead),
        (Node::Mix(0), behind),
        (Node::Mix(1), ahead),
        (Node::Gateway(0), behind),
        (Node::Provider(0), ahead),
        (Node::Client(0), behind),
        (Node::Client(1), ahead),
    ];
    let (report, _) = observe(&two_epochs(24, clocks));
    each_has_its_end(&report);
    println!("{} of {}", report.answered(), report.questions.len());
    assert!(report.newest_epoch.0 >= 2);
    assert_eq!(report.answered(), report.questions.len());
}

#[test]
fn a_client_and_a_provider_ten_minutes_off_stay_out_and_disturb_nobody() {
    let (behind, ahead) = (
        WrongClock::Behind(seconds(600)),
        WrongClock::Ahead(seconds(600)),
    );
    let clocks = vec![
        (Node::Authority(3), behind),
        (Node::Provider(1), ahead),
        (Node::Client(0), behind),
        (Node::Client(1), ahead),
    ];
    let (report, slots) = observe(&two_epochs(25, clocks));
    assert_eq!(report.imbalances, []);
    assert!(report.newest_epoch.0 >= 2);
    assert!(!slots.0.contains_key(&Node::Client(0)), "it sends nothing");
    assert!(!slots.0.contains_key(&Node::Client(1)), "nor does it");
    // Clients ask in turn: every third question is that of the one whose clock is right.
    for (number, question) in report.questions.iter().enumerate() {
        let answered = matches!(question.ending, Some(Ending::Answered { exact: true, .. }));
        assert_eq!(answered, number % 3 == 2, "{question:?}");
    }
}
