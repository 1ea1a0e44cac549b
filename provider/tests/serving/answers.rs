//! At most one run an id; answers on the tick, in the sizes of their classes.

use std::collections::BTreeSet;
use std::time::Duration;

use directory::ModelCard;
use message::Participant;
use rand::RngExt;
use subrosa_provider::SandboxFault;
use wire::{AnswerClass, Outcome, RequestFailure, RequestId};

use crate::network::topology;
use crate::world::{TICK, World, cards};

const INPUT: [i32; 3] = [1, -2, 3];

fn small() -> ModelCard {
    cards().remove(0)
}

fn large() -> ModelCard {
    cards().remove(1)
}

#[test]
fn a_question_becomes_a_job_and_its_output_the_answer() {
    let mut world = World::new(1);
    world.ask(1, &small(), &INPUT);
    world.run(Duration::from_secs(3));
    let job = world.jobs.pop().unwrap();
    assert_eq!(
        (job.id, job.model),
        (RequestId([1; 16]), small().graph_hash)
    );
    assert_eq!(*job.input, INPUT);
    world.done(&job, vec![7, -9]);
    world.run(Duration::from_secs(3));
    let response = world.responses.pop().unwrap();
    assert!(response.outcome == Outcome::Output(vec![7, 0, 0, 0, 0xf7, 0xff, 0xff, 0xff]));
    assert_eq!(response.compute, Duration::from_millis(3));
    assert!(
        response.held > Duration::from_secs(1),
        "held from arrival to release"
    );
}

#[test]
fn a_repeat_runs_nothing_and_is_answered_over_the_new_way_back() {
    let mut world = World::new(2);
    world.ask(1, &small(), &INPUT);
    world.run(Duration::from_secs(3));
    world.ask(1, &small(), &INPUT);
    world.run(Duration::from_secs(3));
    assert_eq!(world.jobs.len(), 1, "a repeat while the job runs");
    let job = world.jobs.pop().unwrap();
    world.done(&job, vec![1, 2]);
    world.run(Duration::from_secs(3));
    assert_eq!(world.responses.len(), 1);
    assert_eq!(world.provider.counts().released, 1);

    world.ask(1, &small(), &INPUT);
    world.run(Duration::from_secs(3));
    assert!(world.jobs.is_empty(), "a repeat after the answer");
    assert_eq!(world.responses.len(), 2);
    assert!(world.responses[0].outcome == world.responses[1].outcome);
    assert_eq!(world.provider.counts().repeats, 2);
}

#[test]
fn sixty_four_repeats_at_once_run_once() {
    let mut world = World::new(12);
    for _ in 0..64 {
        world.ask(1, &small(), &INPUT);
    }
    world.run(Duration::from_secs(5));
    assert_eq!(world.jobs.len(), 1);
    let job = world.jobs.pop().unwrap();
    world.done(&job, vec![1, 2]);
    world.run(Duration::from_secs(5));
    for _ in 0..64 {
        world.ask(1, &small(), &INPUT);
    }
    world.run(Duration::from_secs(5));
    assert!(world.jobs.is_empty());
    assert_eq!(world.provider.counts().jobs, 1);
    assert_eq!(world.responses.len(), 2, "one for each time it was asked");
}

#[test]
fn under_loss_no_id_runs_twice() {
    let mut world = World::new(3);
    world.net.loss = 0.3;
    let mut jobs = Vec::new();
    for _ in 0..6 {
        for id in 0..12 {
            world.ask(id, &small(), &INPUT);
        }
        world.run(Duration::from_secs(2));
        for job in std::mem::take(&mut world.jobs) {
            world.done(&job, vec![1, 2]);
            jobs.push(job.id);
        }
    }
    let ids: BTreeSet<RequestId> = jobs.iter().copied().collect();
    assert_eq!(ids.len(), jobs.len());
    assert_eq!(ids.len(), 12);
    assert!(world.provider.counts().repeats > 0, "the loss made repeats");
}

#[test]
fn the_next_epoch_still_knows_the_answer() {
    let mut world = World::new(4);
    world.ask(1, &small(), &INPUT);
    world.run(Duration::from_secs(3));
    let job = world.jobs.pop().unwrap();
    world.done(&job, vec![1, 2]);
    world.run(Duration::from_secs(3));
    let next = topology(2, vec![world.provider.descriptor(wire::Epoch(2))]);
    let now = world.now;
    world
        .provider
        .set_topology(now, &mut world.rng, next.clone())
        .unwrap();
    world
        .edge
        .set_topology(now, &mut world.rng, next.clone())
        .unwrap();
    world.net.register(0, world.edge.register().handle);
    world.net.register(1, world.provider.register().handle);
    world.net.set_topology(next);
    world.ask(1, &small(), &INPUT);
    world.run(Duration::from_secs(3));
    assert!(world.jobs.is_empty());
    assert_eq!(world.responses.len(), 2);
}

#[test]
fn answers_are_released_on_the_tick_whenever_their_jobs_end() {
    let mut world = World::new(5);
    for id in 0..40 {
        world.ask(id, &small(), &INPUT);
        let wait = world.rng.random_range(1..400);
        world.run(Duration::from_millis(wait));
        for job in std::mem::take(&mut world.jobs) {
            world.done(&job, vec![1, 2]);
        }
    }
    world.run(Duration::from_secs(3));
    assert!(world.releases.len() > 30);
    for at in &world.releases {
        assert_eq!(u128::from(at.as_nanos()) % TICK.as_nanos(), 0);
    }
}

#[test]
fn every_outcome_has_exactly_the_packets_of_its_class() {
    let faults = [
        SandboxFault::BadInput,
        SandboxFault::ModelTimeout,
        SandboxFault::ModelMemory,
        SandboxFault::StackOverflow,
        SandboxFault::GuestAbi,
        SandboxFault::Trap,
        SandboxFault::Busy,
    ];
    let outcomes = faults
        .map(Err)
        .into_iter()
        .chain([Ok(vec![5; 4_000]), Ok(vec![5; 3])]);
    let mut world = World::new(6);
    for (id, result) in (0..).zip(outcomes) {
        let before = world.provider.edge().counts().replies;
        let expected = match &result {
            Ok(output) if output.len() == 4_000 => None,
            Ok(_) | Err(SandboxFault::GuestAbi | SandboxFault::Trap) => {
                Some(RequestFailure::ModelFault)
            }
            Err(SandboxFault::BadInput) => Some(RequestFailure::BadInput),
            Err(SandboxFault::ModelTimeout) => Some(RequestFailure::ModelTimeout),
            Err(SandboxFault::Busy) => Some(RequestFailure::Overload),
            Err(_) => Some(RequestFailure::ModelMemory),
        };
        world.ask(id, &large(), &INPUT);
        // Sooner than its asker thinks that it is lost.
        world.run(Duration::from_secs(1));
        let job = world.jobs.pop().unwrap();
        let now = world.now;
        world
            .provider
            .job_done(now, job.number, result, Duration::ZERO);
        world.run(Duration::from_secs(3));
        assert_eq!(world.failure(), expected);
        let packets = world.provider.edge().counts().replies - before;
        assert_eq!(packets, AnswerClass::Four.packets() as u64);
    }
}

#[test]
fn a_job_for_which_no_instance_was_free_may_be_asked_again() {
    let mut world = World::new(8);
    world.ask(1, &small(), &INPUT);
    world.run(Duration::from_secs(3));
    let job = world.jobs.pop().unwrap();
    let now = world.now;
    let busy = Err(SandboxFault::Busy);
    world
        .provider
        .job_done(now, job.number, busy, Duration::ZERO);
    world.run(Duration::from_secs(3));
    assert_eq!(world.failure(), Some(RequestFailure::Overload));
    world.ask(1, &small(), &INPUT);
    world.run(Duration::from_secs(3));
    assert_eq!(world.jobs.len(), 1);
}

#[test]
fn a_job_that_takes_too_long_is_answered_without_its_result() {
    let mut world = World::new(7);
    world.ask(1, &small(), &INPUT);
    world.run(Duration::from_secs(3));
    let job = world.jobs.pop().unwrap();
    world.run(Duration::from_secs(5));
    assert_eq!(world.failure(), Some(RequestFailure::ModelTimeout));
    world.done(&job, vec![1, 2]);
    world.ask(1, &small(), &INPUT);
    world.run(Duration::from_secs(3));
    assert_eq!(world.failure(), Some(RequestFailure::ModelTimeout));
    assert!(world.jobs.is_empty());
}
