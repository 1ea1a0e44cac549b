//! From question to answer, with and without loss.

use std::collections::BTreeSet;
use std::time::Duration;

use message::Participant;
use subrosa_client::{Asker, Input, ProofStatus, QueryError};
use wire::RequestFailure;

use crate::world::{MAX_QUESTIONS, World, cards, document};

const DEADLINE: Duration = Duration::from_secs(30);

fn digits() -> Input {
    Input::from([1, 2, 3, 4])
}

#[test]
fn a_question_gets_its_models_answer() {
    let mut world = World::new(1);
    let id = world
        .ask(
            "digits",
            &Input::from([1.4_f32, 2.0, -3.6, 250.0]),
            DEADLINE,
        )
        .unwrap();
    world.run(Duration::from_secs(10));
    let (_, answered, result) = world.events.pop().unwrap();
    let answer = result.unwrap();
    assert_eq!(answered, id);
    // 1 + 2 - 4 + 100: rounded, and clamped to the card's range.
    assert_eq!(answer.output, [-99, 99]);
    assert_eq!(answer.label.as_deref(), Some("yes"));
    assert_eq!((answer.attempts, answer.proof), (1, ProofStatus::NotAsked));
    let latency = answer.latency;
    assert_eq!(latency.compute, Duration::from_millis(2));
    let sum = latency.mixing + latency.slots + latency.network + latency.compute;
    assert_eq!(sum, latency.total);
    // Two ways of five links at 5 ms at least, and no more than the providers' slots besides.
    assert!(latency.network >= Duration::from_millis(50), "{latency:?}");
    assert!(latency.network < Duration::from_millis(300), "{latency:?}");
    assert!(world.events.is_empty());
}

#[test]
fn an_answer_of_many_packets_comes_whole() {
    let mut world = World::new(2);
    world.model = |input| vec![input[0]; 4_000];
    world.ask("pages", &digits(), DEADLINE).unwrap();
    world.run(Duration::from_secs(10));
    let answer = world.events.pop().unwrap().2.unwrap();
    assert_eq!(answer.output, vec![1; 4_000]);
}

#[test]
fn under_loss_each_question_has_one_answer_and_runs_once() {
    let mut world = World::without_loops(3);
    world.net.loss = 0.2;
    let ids: BTreeSet<_> = (0..40)
        .map(|_| {
            world
                .ask("digits", &digits(), Duration::from_secs(60))
                .unwrap()
        })
        .collect();
    world.run(Duration::from_secs(70));
    let answered: BTreeSet<_> = world.events.iter().map(|(_, id, _)| *id).collect();
    assert_eq!(world.events.len(), 40, "one event a question");
    assert_eq!(answered, ids);
    assert!(world.events.iter().all(|(_, _, result)| result.is_ok()));
    assert!(
        world.runs.values().all(|runs| *runs == 1),
        "at most one run an id"
    );
    let asked = world.inputs.iter().filter(|input| **input == [1, 2, 3, 4]);
    assert_eq!(asked.count(), 40);
    let counts = world.asker.counts();
    assert!(counts.repeated > 5, "the loss made repeats: {counts:?}");
    assert_eq!((counts.asked, counts.answered, counts.failed), (40, 40, 0));
}

#[test]
fn a_question_into_the_void_ends_at_its_deadline() {
    let mut world = World::new(4);
    world.net.loss = 1.0;
    let deadline = Duration::from_secs(20);
    let id = world.ask("digits", &digits(), deadline).unwrap();
    world.run(Duration::from_secs(60));
    let (at, ended, result) = world.events.pop().unwrap();
    assert_eq!((at, ended), (wire::Time::ZERO.after(deadline), id));
    // Loops do not come back either: nothing real was sent any more, and the error says so.
    assert_eq!(result, Err(QueryError::Withheld { after: deadline }));
    assert!(world.events.is_empty());
    assert_eq!(
        world.asker.counts().sent,
        1,
        "what is lost the edge repeats"
    );
    assert_eq!(world.asker.under_way(), 0);
}

#[test]
fn a_forgotten_question_has_no_event() {
    let mut world = World::new(5);
    let id = world.ask("digits", &digits(), DEADLINE).unwrap();
    world.run(Duration::from_millis(300));
    let now = world.now;
    world.asker.forget(now, id);
    world.run(Duration::from_secs(40));
    assert!(world.events.is_empty());
}

#[test]
fn packets_of_a_question_that_is_over_are_not_sent() {
    let mut world = World::new(12);
    let over = Duration::from_millis(1);
    for _ in 0..20 {
        world.ask("digits", &digits(), over).unwrap();
    }
    world.run(Duration::from_secs(5));
    assert_eq!(world.events.len(), 20);
    assert_eq!(world.asker.counts().sent, 0);
    assert!(!world.inputs.contains(&vec![1, 2, 3, 4]));
}

#[test]
fn an_answer_that_does_not_fit_the_model_is_not_passed_on() {
    let mut served = cards();
    served[0].output.elements = 3;
    let mut world = World::with_served(6, &served);
    world.model = |_| vec![1, 2, 3];
    world.ask("digits", &digits(), DEADLINE).unwrap();
    world.run(Duration::from_secs(10));
    let model = "digits".to_owned();
    assert_eq!(
        world.events.pop().unwrap().2,
        Err(QueryError::BadAnswer { model })
    );
}

#[test]
fn a_providers_failure_is_told_as_it_is() {
    let mut world = World::new(6);
    world.model = |_| vec![1, 2, 3];
    world.ask("digits", &digits(), DEADLINE).unwrap();
    world.run(Duration::from_secs(10));
    let failed = Err(QueryError::ProviderFailed(RequestFailure::ModelFault));
    assert_eq!(world.events.pop().unwrap().2, failed);
}

#[test]
fn the_turn_of_an_epoch_loses_no_question() {
    let mut world = World::new(7);
    for _ in 0..10 {
        world
            .ask("digits", &digits(), Duration::from_secs(60))
            .unwrap();
    }
    world.run(Duration::from_millis(400));
    world.turn(&document(2));
    world.run(Duration::from_secs(65));
    assert_eq!(world.events.len(), 10);
    assert!(world.events.iter().all(|(_, _, result)| result.is_ok()));
    assert!(world.runs.values().all(|runs| *runs == 1));
}

#[test]
fn no_more_questions_than_the_bound() {
    let mut world = World::new(8);
    for _ in 0..MAX_QUESTIONS {
        world.ask("digits", &digits(), DEADLINE).unwrap();
    }
    let refused = world.ask("digits", &digits(), DEADLINE);
    assert_eq!(refused, Err(QueryError::Overload));
}

#[test]
fn no_deadline_beyond_what_providers_remember() {
    let mut world = World::new(9);
    let asked = Asker::MAX_DEADLINE + Duration::from_secs(1);
    let bound = Asker::MAX_DEADLINE;
    let refused = world.ask("digits", &digits(), asked);
    assert_eq!(refused, Err(QueryError::DeadlineTooLong { asked, bound }));
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = || {
        let mut world = World::new(10);
        world.net.loss = 0.1;
        for _ in 0..5 {
            world
                .ask("tumour", &Input::from([1; 30]), DEADLINE)
                .unwrap();
        }
        world.run(DEADLINE);
        (world.events, world.asker.ledger().clone())
    };
    assert!(run() == run());
}

#[test]
fn no_link_no_packet() {
    let mut world = World::new(11);
    world.asker.link_down();
    let sent = world.asker.ledger().sent;
    world
        .ask("digits", &digits(), Duration::from_secs(5))
        .unwrap();
    world.run(Duration::from_secs(10));
    assert_eq!(world.asker.ledger().sent, sent);
    assert!(matches!(world.events[0].2, Err(QueryError::Timeout { .. })));
}
