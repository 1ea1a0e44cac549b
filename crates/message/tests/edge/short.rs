//! Answers for which too few reply blocks came, and the link that lets one packet through.

use std::cell::Cell;
use std::time::Duration;

use subrosa_message::{Edge, Failure};
use wire::{AnswerClass, Time};

use crate::network::{World, draft};

const AGENT: usize = 0;
const PROVIDER: usize = 1;

/// A question of the class of 64 packets of which one packet came through, answered; the next
/// ones are lost. Its deadline is in a minute.
fn answered_in_part(seed: u64) -> World {
    let mut world = World::without_loops(seed, &[1, 1]);
    let to = world.mailbox(PROVIDER);
    let draft = draft(1, AnswerClass::SixtyFour, 100);
    let deadline = world.now.after(Duration::from_secs(60));
    let (edge, rng) = (&mut world.edges[AGENT], &mut world.rngs[AGENT]);
    edge.send_request(world.now, rng, &to, &draft, deadline)
        .unwrap();
    let second = Duration::from_secs(1);
    world.run_until(second, |w| w.edges[AGENT].counts().requests == 1);
    world.loss = 1.0;
    world.run_until(second, |w| !w.requests.is_empty());
    let request = world.requests.remove(0);
    world.loss = 0.0;
    world.answer(PROVIDER, request, 20_000);
    world
}

#[test]
fn an_answer_short_of_reply_blocks_goes_as_far_as_they_do_and_on_with_more() {
    let mut world = answered_in_part(31);
    let one = world.edges[PROVIDER].memory().waiting;
    assert!(
        (1..=16).contains(&one),
        "{one}: as many as one packet brings"
    );
    // The asker sees how many its provider has left, and sends what the answer needs.
    world.run_until(Duration::from_secs(30), |w| !w.responses.is_empty());
    assert_eq!(world.responses.len(), 1);
    assert!(world.edges[PROVIDER].counts().replies > one as u64);
    assert!(world.requests.is_empty(), "it came once");
    assert!(world.unanswered.is_empty());
}

#[test]
fn an_answer_that_stays_short_ends_by_name_and_frees_what_it_held() {
    let mut world = answered_in_part(32);
    let one = world.edges[PROVIDER].memory().waiting;
    world.run_until(Duration::from_secs(5), |w| {
        w.edges[PROVIDER].memory().waiting == 0
    });
    world.loss = 1.0;
    world.run_until(Duration::from_secs(90), |w| !w.unanswered.is_empty());
    assert_eq!(world.now, Time::ZERO.after(Duration::from_secs(60)));
    let (_, why) = world.unanswered[0];
    assert!(matches!(why, Failure::Timeout | Failure::SurbsExhausted));
    assert!(world.responses.is_empty());
    // Nothing comes any more, and time frees what is kept.
    world.edges.iter_mut().for_each(Edge::link_down);
    world.run(Duration::from_secs(302));
    let memory = world.edges[PROVIDER].memory();
    assert_eq!((memory.held_surbs, memory.partial_bytes), (0, 0));
    assert!(world.edges[PROVIDER].counts().replies >= one as u64);
    assert_eq!(world.edges[AGENT].memory().surbs, 0);
}

#[test]
fn a_link_that_drops_all_but_one_packet_is_noticed_at_the_seventh_loop() {
    for seed in [41, 42] {
        let mut world = World::new(seed, &[0, 0]);
        let mut healthy = World::new(seed, &[0, 0]);
        let to = world.mailbox(PROVIDER);
        healthy.mailbox(PROVIDER);
        world.run(Duration::from_secs(5));
        assert_eq!(world.edges[AGENT].loops().lost, 0);
        // The target: the packet that leaves next. Of all others not one arrives.
        world.ask(AGENT, &to, &draft(1, AnswerClass::One, 100));
        let second = Duration::from_secs(1);
        world.run_until(second, |w| w.edges[AGENT].counts().requests == 1);
        world.loss = 1.0;
        // Every loop passes the own gateway: six may be lost without an alarm, not seven.
        let unnoticed = Cell::new(0);
        world.run_until(Duration::from_secs(60), |w| {
            let edge = &w.edges[AGENT];
            if !edge.withholds() {
                unnoticed.set(edge.loops().lost);
            }
            edge.withholds()
        });
        assert!(world.edges[AGENT].withholds());
        assert!(unnoticed.get() < 7, "{} unnoticed", unnoticed.get());
        // Nothing real leaves from now on, and not one tick of the clock is another.
        let left = world.edges[AGENT].counts().requests;
        world.ask(AGENT, &to, &draft(2, AnswerClass::One, 100));
        world.run(Duration::from_secs(5));
        assert_eq!(world.edges[AGENT].counts().requests, left);
        assert!(world.edges[AGENT].memory().waiting > 0);
        healthy.run(world.now.since(Time::ZERO));
        assert!(world.ticks == healthy.ticks);
    }
}
