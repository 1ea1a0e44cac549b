//! Questions and answers through the network, with and without loss.

use std::time::Duration;

use sphinx::Geometry;
use subrosa_message::{answer_capacity, mail_capacity};
use wire::{AnswerClass, Outcome, Refusal, RequestFailure, Response};

use crate::network::{World, draft};

const AGENT: usize = 0;
const PROVIDER: usize = 1;

fn output(response: &Response) -> usize {
    match &response.outcome {
        Outcome::Output(bytes) => bytes.len(),
        _ => panic!("failed"),
    }
}

#[test]
fn one_packet_there_and_one_back() {
    let mut world = World::new(1, &[1, 2]);
    let to = world.mailbox(PROVIDER);
    let draft = draft(9, AnswerClass::One, 120);
    let flight = world.ask(AGENT, &to, &draft);
    assert_eq!((flight.attempt, flight.packets), (1, 1));
    world.run_until(Duration::from_secs(30), |w| !w.requests.is_empty());
    let request = world.requests.pop().unwrap();
    assert!(request.id == draft.id && request.model == draft.model);
    assert_eq!(*request.input, draft.input);
    let expected_by = world.edges[AGENT].expected_by(&draft.id).unwrap();
    world.answer(PROVIDER, request, 40);
    world.run_until(Duration::from_secs(30), |w| !w.responses.is_empty());

    let (response, timing) = world.responses.pop().unwrap();
    assert!(response.id == draft.id && output(&response) == 40);
    assert_eq!(timing.total, world.now.since(wire::Time::ZERO));
    assert!(world.now < expected_by, "expected too early");
    assert!(timing.mixing_out > Duration::ZERO && timing.mixing_back > Duration::ZERO);
    assert_eq!(timing.repeats, 0);
    assert_eq!(
        timing.queued + timing.mixing_out + timing.mixing_back + timing.rest(),
        timing.total
    );
    // Nine links of 5 ms there and back, and the provider's own slots.
    assert!(timing.rest() >= Duration::from_millis(50));
    assert!(timing.rest() < Duration::from_millis(200));
}

#[test]
fn every_answer_class_comes_back_in_exactly_its_packets() {
    for (id, class) in (1..).zip(AnswerClass::ALL) {
        let mut world = World::new(u64::from(id), &[2, 2]);
        let to = world.mailbox(PROVIDER);
        world.ask(AGENT, &to, &draft(id, class, 30_000));
        let largest = answer_capacity(Geometry::DEFAULT, class) - 29;
        world.serve(Duration::from_secs(10), PROVIDER, largest);
        let (response, _) = world.responses.pop().expect("answered");
        assert_eq!(output(&response), largest);
        assert_eq!(
            world.edges[PROVIDER].counts().replies,
            class.packets() as u64
        );
        assert_eq!(
            world.edges[AGENT].counts().replies_in,
            class.packets() as u64
        );
        assert_eq!(world.edges[AGENT].ledger().refused.total(), 0);
        assert_eq!(world.edges[PROVIDER].ledger().refused.total(), 0);
    }
}

#[test]
fn an_answer_too_large_for_its_class_is_a_typed_failure_of_the_same_size() {
    let mut world = World::new(6, &[2, 2]);
    let to = world.mailbox(PROVIDER);
    world.ask(AGENT, &to, &draft(1, AnswerClass::Four, 10));
    let over = answer_capacity(Geometry::DEFAULT, AnswerClass::Four) - 28;
    world.serve(Duration::from_secs(10), PROVIDER, over);
    let (response, _) = world.responses.pop().expect("answered");
    assert!(response.outcome == Outcome::Failed(RequestFailure::AnswerTooLarge));
    assert_eq!(world.edges[PROVIDER].counts().replies, 4);
}

#[test]
fn the_largest_request_arrives_whole() {
    let mut world = World::new(7, &[2, 2]);
    let to = world.mailbox(PROVIDER);
    let draft = draft(1, AnswerClass::SixtyFour, wire::MAX_INPUT_LEN);
    assert!(wire::MAX_INPUT_LEN + 100 < mail_capacity(Geometry::DEFAULT));
    let flight = world.ask(AGENT, &to, &draft);
    assert!(flight.packets > 150);
    world.run_until(Duration::from_secs(60), |w| !w.requests.is_empty());
    assert!(*world.requests[0].input == draft.input);
    // Its repair comes after it and is surplus, not refused.
    world.run(Duration::from_secs(5));
    assert_eq!(world.edges[PROVIDER].ledger().refused.total(), 0);
    assert_eq!(world.edges[PROVIDER].memory().partial_bytes, 0);
}

#[test]
fn a_tenth_of_all_packets_lost_is_made_good_by_repair_and_repeats() {
    let mut world = World::without_loops(8, &[2, 2]);
    world.loss = 0.1;
    let to = world.mailbox(PROVIDER);
    let questions: Vec<_> = (1..=20)
        .map(|id| {
            let class = AnswerClass::ALL[usize::from(id) % 3];
            draft(id, class, 20_000 * usize::from(id % 2) + 100)
        })
        .collect();
    for draft in &questions {
        world.ask(AGENT, &to, draft);
    }
    world.serve(Duration::from_secs(60), PROVIDER, 60);
    let repeats: u32 = world.responses.iter().map(|(_, t)| t.repeats).sum();
    assert_eq!(world.responses.len(), questions.len(), "each answered once");
    assert!(repeats > 0, "nothing was lost");
    assert!(world.responses.iter().all(|(r, _)| output(r) == 60));
}

#[test]
fn a_repeat_is_another_attempt_and_one_answer_ends_them_all() {
    let mut world = World::new(9, &[1, 2]);
    let to = world.mailbox(PROVIDER);
    let draft = draft(1, AnswerClass::One, 10);
    assert_eq!(world.ask(AGENT, &to, &draft).attempt, 1);
    assert_eq!(world.ask(AGENT, &to, &draft).attempt, 2);
    world.run(Duration::from_secs(5));
    assert_eq!(world.requests.len(), 2);
    world.serve(Duration::from_secs(5), PROVIDER, 1);
    assert!(world.requests.is_empty());
    for _ in 0..2 {
        world.serve(Duration::from_secs(5), PROVIDER, 1);
    }
    assert_eq!(world.responses.len(), 1);
    assert_eq!(world.edges[AGENT].counts().replies_in, 2);
    assert_eq!(world.edges[AGENT].ledger().refused.total(), 0);
    assert_eq!(world.ask(AGENT, &to, &draft).attempt, 1);
}

#[test]
fn a_question_given_up_takes_its_waiting_packets_with_it() {
    let mut world = World::new(10, &[0, 0]);
    let to = world.mailbox(PROVIDER);
    let big = draft(1, AnswerClass::One, 100_000);
    world.ask(AGENT, &to, &big);
    assert!(world.edges[AGENT].memory().waiting > 15);
    world.edges[AGENT].abandon(world.now, &big.id);
    assert_eq!(world.edges[AGENT].memory().waiting, 0);
    world.run(Duration::from_secs(70));
    assert_eq!(world.edges[AGENT].memory().surbs, 0);
    assert!(world.requests.is_empty());
}

#[test]
fn loops_come_back_and_drop_packets_do_not() {
    let mut world = World::new(11, &[1, 1]);
    world.run(Duration::from_secs(60));
    let counts = world.edges[AGENT].counts();
    let loops = world.edges[AGENT].loops();
    assert!(counts.loops > 700 && counts.drops > 700);
    assert_eq!(loops.sent, counts.loops);
    assert!(loops.returned > loops.sent - 60 && loops.lost == 0);
    assert!(world.dropped > 1_400);
    assert_eq!(
        world.edges[AGENT].ledger().refused.of(Refusal::SurbReused),
        0
    );
}
