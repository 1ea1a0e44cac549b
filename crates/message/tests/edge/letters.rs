//! Letters between agents: delivered once, acknowledged, announced by their tags.

use std::time::Duration;

use link::Frame;
use subrosa_message::{EdgeError, Failure};
use wire::MAX_LETTER_LEN;

use crate::network::{World, gateway};

const DEADLINE: Duration = Duration::from_secs(30);

#[test]
fn a_letter_arrives_and_its_sender_learns_of_it() {
    let mut world = World::new(81, &[1, 0]);
    let to = world.mailbox(1);
    let deadline = world.now.after(DEADLINE);
    let (edge, rng) = (&mut world.edges[0], &mut world.rngs[0]);
    let letter = edge
        .send_letter(world.now, rng, &to, b"good day", deadline)
        .unwrap();
    world.run_until(DEADLINE, |w| !w.delivered.is_empty());
    assert_eq!(world.letters, [(1, b"good day".to_vec())]);
    assert_eq!(world.delivered, [letter]);
    // One packet there, one back.
    assert_eq!(world.edges[0].counts().requests, 1);
    assert_eq!(world.edges[1].counts().replies, 1);
}

#[test]
fn a_letter_to_nobody_ends_in_a_typed_error() {
    let mut world = World::without_loops(82, &[1, 0]);
    let to = world.mailbox(1);
    world.loss = 1.0;
    let deadline = world.now.after(Duration::from_secs(5));
    let (edge, rng) = (&mut world.edges[0], &mut world.rngs[0]);
    let letter = edge
        .send_letter(world.now, rng, &to, b"hello?", deadline)
        .unwrap();
    world.run_until(DEADLINE, |w| !w.undelivered.is_empty());
    assert_eq!(world.undelivered, [(letter, Failure::Timeout)]);
    assert_eq!(world.now, deadline);
}

#[test]
fn a_letter_too_long_or_without_a_way_is_refused_at_once() {
    let mut world = World::new(83, &[1, 0]);
    let mut to = world.mailbox(1);
    let deadline = world.now.after(DEADLINE);
    let (edge, rng) = (&mut world.edges[0], &mut world.rngs[0]);
    let long = vec![0; MAX_LETTER_LEN + 1];
    let refused = edge.send_letter(world.now, rng, &to, &long, deadline);
    assert_eq!(refused.err(), Some(EdgeError::RequestTooLarge));
    to.gateways.clear();
    let refused = edge.send_letter(world.now, rng, &to, b"hello", deadline);
    assert_eq!(refused.err(), Some(EdgeError::UnknownMailboxGateway));
    assert_eq!(edge.memory().waiting, 0);
}

#[test]
fn either_gateway_of_a_mailbox_will_do() {
    let mut world = World::new(84, &[1, 0]);
    let mut to = world.mailbox(1);
    to.gateways = vec![wire::NodeId([7; 32]), gateway(1)];
    let deadline = world.now.after(DEADLINE);
    let (edge, rng) = (&mut world.edges[0], &mut world.rngs[0]);
    edge.send_letter(world.now, rng, &to, b"either", deadline)
        .unwrap();
    world.run_until(DEADLINE, |w| !w.delivered.is_empty());
    assert_eq!(world.letters.len(), 1);
}

#[test]
fn the_owner_can_announce_the_packets_that_follow_and_no_others() {
    let mut world = World::new(85, &[0, 2]);
    let to = world.mailbox(1);
    world.log = Some(Vec::new());
    let deadline = world.now.after(DEADLINE);
    let (edge, rng) = (&mut world.edges[0], &mut world.rngs[0]);
    edge.send_letter(world.now, rng, &to, &[3; 60_000], deadline)
        .unwrap();
    assert!(world.edges[1].tags_to_announce(&to.mailbox, 64).is_empty());
    world.run_until(DEADLINE, |w| w.edges[1].counts().items_in == 2);
    let announced = world.edges[1].tags_to_announce(&to.mailbox, 64);
    assert!((8..=64).contains(&announced.len()));
    assert!(world.edges[1].tags_to_announce(&to.mailbox, 3).len() <= 3);
    let other = wire::MailboxAddress([1; 32]);
    assert!(world.edges[1].tags_to_announce(&other, 64).is_empty());
    let shown = |world: &World| -> Vec<[u8; 16]> {
        let items = world.log.iter().flatten().filter(|d| d.to == 1);
        items
            .filter(|d| d.frame[..2] == Frame::MAILBOX_ITEM.to_be_bytes())
            .map(|d| d.frame[18..34].try_into().unwrap())
            .collect()
    };
    let before = shown(&world);
    world.run_until(DEADLINE, |w| !w.delivered.is_empty());
    let after = &shown(&world)[before.len()..];
    assert!(after.len() >= 7);
    for tag in after {
        assert!(announced.iter().any(|known| known.0 == *tag), "unannounced");
    }
    for tag in &before {
        assert!(
            announced.iter().all(|known| known.0 != *tag),
            "shown before"
        );
    }
}
