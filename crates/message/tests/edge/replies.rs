//! Reply blocks: one reply each, and none that is not ours.

use std::time::Duration;

use link::Frame;
use rand::seq::SliceRandom;
use sphinx::{Geometry, Surb};
use subrosa_message::{Recipient, SealingKey};
use wire::{AnswerClass, MailboxAddress, Refusal, SURB_LEN};

use crate::network::{World, draft, gateway};

/// A provider that keeps to no rule: it reads requests by docs/spec/message.md itself.
struct Attacker {
    mailbox: MailboxAddress,
    key: SealingKey,
}

impl Attacker {
    fn surbs(&self, items: &[Vec<u8>]) -> Vec<[u8; SURB_LEN]> {
        let mut surbs = Vec::new();
        for item in items {
            let body = self.key.open(&self.mailbox, &item[112..8_175]).unwrap();
            let blocks = body[45..].chunks_exact(SURB_LEN);
            let blocks = blocks.take(usize::from(body[44]));
            surbs.extend(blocks.map(|block| <[u8; SURB_LEN]>::try_from(block).unwrap()));
        }
        surbs
    }
}

#[test]
fn a_thousand_replies_over_200_reply_blocks_change_nothing_but_counts() {
    let mut world = World::new(41, &[1, 0]);
    let mut honest = World::new(41, &[1, 0]);
    let template = world.mailbox(1);
    let template_too = honest.mailbox(1);
    assert!(template == template_too);
    // The attacker's key is opened by nobody: its items are read from the log.
    let key = SealingKey::generate(&mut rand_chacha_rng(5));
    let attacker = Attacker {
        mailbox: template.mailbox,
        key,
    };
    let to = Recipient {
        sealing_key: attacker.key.public().clone(),
        ..template
    };
    let mut surbs = Vec::new();
    for (id, class) in [
        (1, AnswerClass::SixtyFour),
        (2, AnswerClass::SixtyFour),
        (3, AnswerClass::SixtyFour),
        (4, AnswerClass::One),
    ] {
        for world in [&mut world, &mut honest] {
            world.log = Some(Vec::new());
            world.ask(0, &to, &draft(id, class, 100));
            world.run(Duration::from_secs(5));
        }
        let items: Vec<Vec<u8>> = log(&mut world, 1, Frame::MAILBOX_ITEM);
        surbs.extend(attacker.surbs(&items));
    }
    assert!(surbs.len() >= 200);
    surbs.truncate(200);
    let out = world.edges[0].memory().surbs;
    let counted = |world: &World| world.edges[0].ledger().refused.clone();
    let before = counted(&world);

    // 200 replies, and 800 that repeat them, all at once.
    let mut frames: Vec<Vec<u8>> = Vec::new();
    for bytes in &surbs {
        let surb = Surb::from_bytes(bytes).unwrap();
        let packet = surb.reply(Geometry::DEFAULT, &[0; 100]).unwrap();
        frames.push(world.last_leg(packet, gateway(0)));
    }
    for _ in 0..2 {
        frames.extend_from_within(..);
    }
    frames.extend_from_within(..200);
    frames.shuffle(&mut rand_chacha_rng(6));
    assert_eq!(frames.len(), 1_000);
    let now = world.now;
    for frame in &frames {
        world.edges[0].handle_frame(now, &mut rand_chacha_rng(7), frame);
    }
    let edge = &world.edges[0];
    let refused = |refusal| edge.ledger().refused.of(refusal) - before.of(refusal);
    assert_eq!(refused(Refusal::SurbReused), 800);
    // None of the 200 is sealed with a key of its exchange.
    assert_eq!(refused(Refusal::SealInvalid), 200);
    let memory = edge.memory();
    assert_eq!(
        (memory.surbs, memory.partial_bytes, memory.events),
        (out - 200, 0, 0)
    );

    world.run(Duration::from_secs(10));
    honest.run(Duration::from_secs(10));
    assert!(world.ticks[0] == honest.ticks[0], "the clock noticed");
}

#[test]
fn a_second_reply_over_one_reply_block_is_refused() {
    let mut world = World::new(42, &[1, 2]);
    let to = world.mailbox(1);
    world.log = Some(Vec::new());
    world.ask(0, &to, &draft(1, AnswerClass::Four, 100));
    world.serve(Duration::from_secs(10), 1, 50);
    assert_eq!(world.responses.len(), 1);
    let frames = log(&mut world, 0, Frame::PACKET);
    let before = world.edges[0].ledger().clone();
    assert_eq!(before.refused.total(), 0);
    for packet in &frames {
        let frame = Frame::new(Frame::PACKET, packet);
        world.edges[0].handle_frame(world.now, &mut rand_chacha_rng(1), frame.as_bytes());
    }
    let refused = &world.edges[0].ledger().refused;
    assert_eq!(refused.of(Refusal::SurbReused), frames.len() as u64);
    assert_eq!(world.edges[0].ledger().consumed, before.consumed);
}

#[test]
fn a_replayed_item_does_not_bring_its_request_twice() {
    let mut world = World::new(43, &[1, 2]);
    let to = world.mailbox(1);
    world.log = Some(Vec::new());
    world.ask(0, &to, &draft(1, AnswerClass::One, 100));
    world.run(Duration::from_secs(5));
    assert_eq!(world.requests.len(), 1);
    let items = log(&mut world, 1, Frame::MAILBOX_ITEM);
    for item in &items {
        let frame = Frame::new(Frame::MAILBOX_ITEM, item);
        world.edges[1].handle_frame(world.now, &mut rand_chacha_rng(1), frame.as_bytes());
    }
    world.run(Duration::from_secs(1));
    assert_eq!(world.requests.len(), 1);
    let refused = &world.edges[1].ledger().refused;
    assert_eq!(refused.of(Refusal::FragmentInvalid), items.len() as u64);
}

#[test]
fn replies_of_a_request_that_was_given_up_are_surplus_for_a_minute() {
    let mut world = World::new(44, &[0, 0]);
    let to = world.mailbox(1);
    let draft = draft(1, AnswerClass::One, 100);
    world.ask(0, &to, &draft);
    world.run_until(Duration::from_secs(5), |w| !w.requests.is_empty());
    world.edges[0].abandon(world.now, &draft.id);
    world.serve(Duration::from_secs(20), 1, 5);
    let request = world.requests.pop();
    assert!(request.is_none() && world.responses.is_empty());
    assert_eq!(world.edges[0].counts().replies_in, 1);
    assert_eq!(world.edges[0].ledger().refused.total(), 0);
    world.run(Duration::from_secs(62));
    assert_eq!(world.edges[0].memory().surbs, 0);
}

fn rand_chacha_rng(seed: u64) -> rand_chacha::ChaCha20Rng {
    rand::SeedableRng::seed_from_u64(seed)
}

/// What was handed to a participant with this prefix.
fn log(world: &mut World, to: usize, prefix: u16) -> Vec<Vec<u8>> {
    let log = world.log.take().unwrap_or_default();
    log.into_iter()
        .filter(|d| d.to == to && d.frame[..2] == prefix.to_be_bytes())
        .map(|d| d.frame[2..].to_vec())
        .collect()
}

#[test]
fn nothing_is_expected_before_it_can_be_there() {
    let mut world = World::new(45, &[0, 2]);
    let to = world.mailbox(1);
    let (small, large) = (
        draft(1, AnswerClass::One, 10),
        draft(2, AnswerClass::SixtyFour, 200_000),
    );
    for draft in [&small, &large] {
        let flight = world.ask(0, &to, draft);
        let expected = |world: &World| world.edges[0].expected_by(&draft.id);
        assert_eq!(expected(&world), None, "its packets wait");
        let sent = world.edges[0].counts().requests + u64::from(flight.packets);
        world.run_until(Duration::from_secs(60), |w| {
            w.edges[0].counts().requests == sent
        });
        // Its delays, a leg of others, two ticks of the provider.
        let expected = expected(&world).expect("all have left");
        assert!(expected > world.now.after(Duration::from_secs(1)));
        assert!(expected < world.now.after(Duration::from_secs(60)));
        world.edges[0].abandon(world.now, &draft.id);
    }
}
