//! When packets get lost on the way, nothing real leaves; and nobody outside can tell.

use std::time::Duration;

use wire::AnswerClass;

use crate::network::{World, draft};

const AGENT: usize = 0;
const PROVIDER: usize = 1;

/// A world in which half of all packets were lost for long enough.
fn alarmed(seed: u64) -> World {
    let mut world = World::new(seed, &[2, 2]);
    world.loss = 0.5;
    world.run(Duration::from_secs(15));
    assert!(world.edges[AGENT].withholds());
    world
}

#[test]
fn half_of_the_packets_lost_withholds_what_is_real_and_not_one_tick() {
    let mut world = alarmed(1);
    let to = world.mailbox(PROVIDER);
    world.ask(AGENT, &to, &draft(1, AnswerClass::One, 100));
    world.run(Duration::from_secs(10));
    assert_eq!(world.edges[AGENT].counts().requests, 0);
    assert_eq!(world.edges[AGENT].memory().waiting, 1);

    let mut healthy = World::new(1, &[2, 2]);
    healthy.run(Duration::from_secs(25));
    assert!(!healthy.edges[AGENT].withholds());
    assert!(world.ticks[AGENT] == healthy.ticks[AGENT]);
}

#[test]
fn what_was_withheld_leaves_when_loops_are_healthy_again() {
    let mut world = alarmed(2);
    let to = world.mailbox(PROVIDER);
    world.ask(AGENT, &to, &draft(1, AnswerClass::One, 100));
    world.loss = 0.0;
    // The last of the lost loops are given up, sixteen over each node come back.
    world.serve(Duration::from_secs(20), PROVIDER, 100);
    assert!(!world.edges[AGENT].withholds());
    assert_eq!(world.responses.len(), 1);
}

#[test]
fn answers_are_withheld_too() {
    let mut world = World::new(3, &[2, 2]);
    let to = world.mailbox(PROVIDER);
    world.ask(AGENT, &to, &draft(1, AnswerClass::One, 100));
    world.run_until(Duration::from_secs(5), |world| !world.requests.is_empty());
    let request = world.requests.pop().unwrap();
    world.loss = 0.5;
    world.run(Duration::from_secs(15));
    assert!(world.edges[PROVIDER].withholds());
    world.answer(PROVIDER, request, 100);
    world.run(Duration::from_secs(5));
    assert_eq!(world.edges[PROVIDER].counts().replies, 0);
}

#[test]
fn an_hour_without_a_link_is_no_loss() {
    let mut world = World::new(4, &[2, 2]);
    world.run(Duration::from_secs(5));
    for edge in &mut world.edges {
        edge.link_down();
    }
    world.run(Duration::from_secs(3_600));
    for edge in &mut world.edges {
        edge.link_up();
    }
    world.run(Duration::from_secs(5));
    assert!(world.edges.iter().all(|edge| edge.loops().lost == 0));
}
