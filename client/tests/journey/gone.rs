//! A provider that the newest document does not list any more.

use std::time::Duration;

use subrosa_client::{Input, QueryError};
use wire::Epoch;

use crate::network::{gateway, topology};
use crate::world::{World, cards, service};

const DEADLINE: Duration = Duration::from_secs(60);

#[test]
fn questions_to_a_provider_that_is_gone_end_at_once_and_others_go_on() {
    let mut world = World::new(31);
    for _ in 0..12 {
        world.ask("digits", &Input::from([1; 4]), DEADLINE).unwrap();
    }
    world.run(Duration::from_millis(300));
    let ended = world.events.len();
    let asked_at = world.now;
    // The second provider alone is listed for epoch 2.
    let listed = service("clinic", 1, cards())
        .0
        .descriptor(Epoch(2), vec![gateway(1)]);
    world.turn(&topology(2, vec![listed]));
    world.collect();
    let gone: Vec<_> = world.events.drain(ended..).collect();
    assert!(!gone.is_empty() && gone.len() < 12, "{} of 12", gone.len());
    for (at, _, result) in &gone {
        assert_eq!(*at, asked_at);
        let model = "digits".to_owned();
        assert_eq!(*result, Err(QueryError::ProviderGone { model }));
    }
    world.run(DEADLINE);
    assert_eq!(world.events.len() + gone.len(), 12);
    assert!(world.events.iter().all(|(_, _, result)| result.is_ok()));
    // Late answers of the one that is gone are consumed.
    assert_eq!(world.asker.ledger().refused.total(), 0);
}

#[test]
fn where_nobody_is_listed_any_more_every_question_ends_by_name() {
    let mut world = World::new(32);
    for _ in 0..4 {
        world.ask("digits", &Input::from([1; 4]), DEADLINE).unwrap();
    }
    world.turn(&topology(2, Vec::new()));
    world.collect();
    assert_eq!(world.events.len(), 4);
    let gone = |result: &Result<_, _>| matches!(result, Err(QueryError::ProviderGone { .. }));
    assert!(world.events.iter().all(|(_, _, result)| gone(result)));
}
