//! The turn of an epoch: what is under way arrives within the overlap, what is older does not.

use std::time::Duration;

use directory::Parameters;
use sphinx::Geometry;
use subrosa_message::{Edge, EdgeConfig, EdgeError};
use wire::{AnswerClass, Epoch, NodeId, Refusal, Time};

use crate::network::{World, draft, gateway, response, topology, topology_with};

fn turn(world: &mut World) {
    let next = topology(world.topology.epoch().0 + 1);
    for (edge, rng) in world.edges.iter_mut().zip(&mut world.rngs) {
        edge.set_topology(world.now, rng, next.clone()).unwrap();
    }
    world.topology = next;
    world.register();
}

#[test]
fn a_new_epoch_has_a_new_handle_and_one_epoch_keeps_it() {
    let mut world = World::new(51, &[0, 0]);
    let before = world.edges[0].register();
    turn(&mut world);
    let after = world.edges[0].register();
    assert!(before.handle != after.handle);
    assert_eq!((before.epoch, after.epoch), (Epoch(1), Epoch(2)));
    let rng = &mut world.rngs[0];
    let again = topology(2);
    world.edges[0].set_topology(world.now, rng, again).unwrap();
    assert_eq!(world.edges[0].register(), after);
}

#[test]
fn questions_are_asked_and_answered_in_every_epoch() {
    let mut world = World::new(52, &[0, 0]);
    let to = world.mailbox(1);
    for id in 1..=3 {
        world.ask(0, &to, &draft(id, AnswerClass::One, 100));
        world.serve(Duration::from_secs(200), 1, 10);
        assert_eq!(world.responses.len(), usize::from(id));
        turn(&mut world);
    }
}

#[test]
fn cover_made_for_the_last_epoch_is_not_sent() {
    let mut world = World::new(53, &[0, 0]);
    while world.edges[0].prepare(&mut world.rngs[0]) {}
    let held = world.edges[0].held();
    assert!(held > 0);
    turn(&mut world);
    let refused = &world.edges[0].ledger().refused;
    assert_eq!(refused.of(Refusal::WrongEpoch), held);
    world.run(Duration::from_secs(5));
    assert!(world.edges[0].loops().returned > 5);
}

#[test]
fn an_answer_after_the_overlap_has_no_way_back() {
    let mut world = World::new(54, &[0, 0]);
    let to = world.mailbox(1);
    let overlap = Parameters::demo().overlap;
    for (id, wait, open) in [
        (1, Duration::from_secs(1), true),
        (2, overlap + Duration::from_secs(1), false),
    ] {
        world.ask(0, &to, &draft(id, AnswerClass::One, 100));
        world.run(Duration::from_secs(5));
        let request = world.requests.pop().unwrap();
        // Who still asks sends new ways back.
        world.edges[0].abandon(world.now, &request.id);
        turn(&mut world);
        world.run(wait);
        let response = response(&request, 10);
        let now = world.now;
        let sent = world.edges[1].send_response(now, &mut world.rngs[1], request.reply, &response);
        let expected = if open {
            Ok(())
        } else {
            Err(EdgeError::SurbInvalid)
        };
        assert_eq!(sent, expected);
        world.run(overlap + Duration::from_secs(2));
        assert_eq!(world.edges[0].memory().surbs, 0, "expired with their epoch");
    }
}

#[test]
fn an_older_document_or_one_without_a_place_is_refused() {
    let mut world = World::new(55, &[1, 2]);
    turn(&mut world);
    let (edge, rng) = (&mut world.edges[0], &mut world.rngs[0]);
    let register = edge.register();
    assert_eq!(
        edge.set_topology(world.now, rng, topology(1)),
        Err(EdgeError::Rollback)
    );
    let one_class = Parameters {
        classes: Parameters::demo().classes[..1].to_vec(),
        provider_class: 0,
        ..Parameters::demo()
    };
    assert_eq!(
        edge.set_topology(world.now, rng, topology_with(3, one_class)),
        Err(EdgeError::UnknownClass)
    );
    assert_eq!(edge.register(), register);

    let stranger = EdgeConfig {
        gateway: NodeId([77; 32]),
        class: 0,
    };
    let refused = Edge::new(Time::ZERO, rng, stranger, topology(1)).err();
    assert_eq!(refused, Some(EdgeError::UnknownGateway));
    let small = Parameters {
        geometry: Geometry::new(1_024).unwrap(),
        ..Parameters::demo()
    };
    let config = EdgeConfig {
        gateway: gateway(0),
        class: 0,
    };
    let refused = Edge::new(Time::ZERO, rng, config, topology_with(1, small)).err();
    assert_eq!(refused, Some(EdgeError::SmallGeometry));
}
