//! Requests that come to nothing: each ends in its typed failure, unrun.

use std::time::Duration;

use directory::ModelCard;
use message::Participant;
use subrosa_provider::Bounds;
use wire::{AnswerClass, RequestFailure, RequestId};

use crate::network::card;
use crate::world::{World, cards};

const INPUT: [i32; 3] = [1, -2, 3];

fn small() -> ModelCard {
    cards().remove(0)
}

/// What comes of one request, none of which may run.
fn refused(world: &mut World, ask: impl FnOnce(&mut World)) -> Option<RequestFailure> {
    let jobs = world.jobs.len();
    ask(world);
    world.run(Duration::from_secs(3));
    assert_eq!(world.jobs.len(), jobs, "nothing runs");
    world.failure()
}

#[test]
fn a_model_that_is_not_served() {
    let mut world = World::new(1);
    let unknown = card("other", 3, 2, AnswerClass::One);
    let why = refused(&mut world, |w| w.ask(1, &unknown, &INPUT));
    assert_eq!(why, Some(RequestFailure::UnknownModel));
}

#[test]
fn an_input_of_another_length_or_range() {
    let mut world = World::new(2);
    for (id, input) in [&[1, 2][..], &[1, 2, 3, 4], &[], &[1, 2, 101], &[-101, 0, 0]]
        .into_iter()
        .enumerate()
    {
        let id = u8::try_from(id).unwrap();
        let why = refused(&mut world, |w| w.ask(id, &small(), input));
        assert_eq!(why, Some(RequestFailure::BadInput), "{input:?}");
    }
}

#[test]
fn an_output_larger_than_the_class_asked_for() {
    let mut world = World::new(3);
    let large = cards().remove(1);
    let before = world.provider.edge().counts().replies;
    let why = refused(&mut world, |w| {
        w.ask_for(1, &large, AnswerClass::One, &INPUT)
    });
    assert_eq!(why, Some(RequestFailure::AnswerTooLarge));
    assert_eq!(world.provider.edge().counts().replies - before, 1);
}

#[test]
fn an_id_seen_with_another_question() {
    let mut world = World::new(4);
    world.ask(1, &small(), &INPUT);
    world.run(Duration::from_secs(3));
    let job = world.jobs.pop().unwrap();
    world.done(&job, vec![1, 2]);
    world.run(Duration::from_secs(3));
    assert_eq!(world.failure(), None);
    let why = refused(&mut world, |w| w.ask(1, &small(), &[9, 9, 9]));
    assert_eq!(why, Some(RequestFailure::BadInput));
}

#[test]
fn more_jobs_than_the_bound() {
    let bounds = Bounds {
        jobs: 1,
        ..Bounds::default()
    };
    let mut world = World::bounded(5, bounds);
    world.ask(1, &small(), &INPUT);
    world.run(Duration::from_secs(1));
    let why = refused(&mut world, |w| w.ask(2, &small(), &INPUT));
    assert_eq!(why, Some(RequestFailure::Overload));
    // It was not run, so that it may be asked again.
    let job = world.jobs.pop().unwrap();
    world.done(&job, vec![1, 2]);
    world.ask(2, &small(), &INPUT);
    world.run(Duration::from_secs(3));
    assert_eq!(world.jobs.len(), 1);
}

#[test]
fn more_answers_than_are_kept() {
    for bounds in [
        Bounds {
            answers: 1,
            ..Bounds::default()
        },
        Bounds {
            answer_bytes: 15,
            ..Bounds::default()
        },
    ] {
        let mut world = World::bounded(6, bounds);
        world.ask(1, &small(), &INPUT);
        world.run(Duration::from_secs(1));
        let job = world.jobs.pop().unwrap();
        world.done(&job, vec![1, 2]);
        world.run(Duration::from_secs(3));
        assert_eq!(world.failure(), None);
        let why = refused(&mut world, |w| w.ask(2, &small(), &INPUT));
        assert_eq!(why, Some(RequestFailure::Overload));
    }
}

#[test]
fn an_id_that_ran_before_a_restart() {
    let mut world = World::new(7);
    assert!(world.provider.remember(RequestId([1; 16])));
    let why = refused(&mut world, |w| w.ask(1, &small(), &INPUT));
    assert_eq!(why, Some(RequestFailure::ModelFault));
}
