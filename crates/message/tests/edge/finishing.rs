//! Whatever the network does, a message has one end by its deadline: it is there, whole and
//! once, or a typed error says that it is not.

use std::time::Duration;

use subrosa_message::Failure;
use wire::AnswerClass;

use crate::network::{World, draft};

const AGENT: usize = 0;
const PROVIDER: usize = 1;
const DEADLINE: Duration = Duration::from_secs(60);

/// A letter of this length and a question of as much, under this share of loss.
fn carry(seed: u64, length: usize, loss: f64, class: AnswerClass) -> World {
    let mut world = World::without_loops(seed, &[1, 1]);
    let mut idle = World::without_loops(seed, &[1, 1]);
    (world.loss, world.doubled) = (loss, loss / 2.0);
    idle.loss = 1.0;
    let to = world.mailbox(PROVIDER);
    idle.mailbox(PROVIDER);
    let body: Vec<u8> = (0..length).map(|place| (place * 7 % 253) as u8).collect();
    let deadline = world.now.after(DEADLINE);
    let (edge, rng) = (&mut world.edges[AGENT], &mut world.rngs[AGENT]);
    let letter = edge
        .send_letter(world.now, rng, &to, &body, deadline)
        .unwrap();
    let draft = draft(1, class, length);
    edge.send_request(world.now, rng, &to, &draft, deadline)
        .unwrap();
    let ends = |w: &World| {
        let letters = w.delivered.len() + w.undelivered.len();
        (letters, w.responses.len() + w.unanswered.len())
    };
    let mut asked = 0;
    while ends(&world) != (1, 1) && world.now < deadline.after(Duration::from_millis(1)) {
        world.run(Duration::from_millis(100));
        for request in std::mem::take(&mut world.requests) {
            assert!(*request.input == draft.input, "another question");
            asked += 1;
            world.answer(PROVIDER, request, length.min(20_000));
        }
        for edge in &world.edges {
            let memory = edge.memory();
            assert!(memory.waiting <= 4_096 && memory.surbs <= 8_192);
            assert!(memory.held_surbs <= 192 && memory.partial_bytes <= 4 << 20);
        }
    }
    assert_eq!(ends(&world), (1, 1), "{length} B at {loss}: no end, or two");
    // What comes late changes nothing.
    let over = world.now.after(Duration::from_secs(3));
    world.run(over.since(world.now));
    assert_eq!(ends(&world), (1, 1));
    assert!(asked <= 1, "asked twice");
    assert!(world.letters.len() <= 1, "a letter came twice");
    assert!(
        world
            .letters
            .iter()
            .all(|(to, text)| *to == PROVIDER && *text == body)
    );
    if world.delivered == [letter] {
        assert_eq!(world.letters.len(), 1);
    }
    idle.run(over.since(idle.now));
    assert!(world.ticks == idle.ticks, "the clock noticed");
    world
}

#[test]
fn messages_of_all_sizes_finish_under_any_loss() {
    let classes = AnswerClass::ALL.iter().cycle();
    let cases = [
        (1, 0.3),
        (6_000, 0.1),
        (6_486, 0.3),
        (20_000, 0.3),
        (100_000, 0.1),
        (300_000, 0.2),
    ];
    for ((seed, (length, loss)), class) in (70..).zip(cases).zip(classes) {
        let world = carry(seed, length, loss, *class);
        let letter = (world.delivered.len(), world.undelivered.first());
        assert_eq!(letter, (1, None), "{length} B at {loss}");
        let failure = world.unanswered.first();
        assert_eq!((world.responses.len(), failure), (1, None), "{length} B");
    }
}

#[test]
fn a_mebibyte_takes_little_more_than_its_slots() {
    let mut world = World::without_loops(76, &[2, 2]);
    world.loss = 0.01;
    let to = world.mailbox(PROVIDER);
    let body = vec![7; 1 << 20];
    let (edge, rng) = (&mut world.edges[AGENT], &mut world.rngs[AGENT]);
    let deadline = world.now.after(DEADLINE);
    edge.send_letter(world.now, rng, &to, &body, deadline)
        .unwrap();
    world.run_until(DEADLINE, |w| !w.delivered.is_empty());
    assert_eq!(world.delivered.len(), 1);
    let slots = (1_u32 << 20).div_ceil(6_486);
    let bound = Duration::from_secs_f64(f64::from(slots) / 120.0 * 1.3 + 1.5);
    let took = world.now.since(wire::Time::ZERO);
    assert!(took < bound, "{took:?} against {bound:?}");
    world.run(Duration::from_secs(2));
    assert_eq!(world.edges[AGENT].ledger().refused.total(), 0);
    assert_eq!(world.edges[PROVIDER].ledger().refused.total(), 0);
}

#[test]
fn any_message_under_any_loss_has_one_end() {
    bolero::check!()
        .with_type::<(u16, u16, u8, u8)>()
        .with_iterations(6)
        .for_each(|(seed, length, loss, class)| {
            let class = AnswerClass::ALL[usize::from(class % 4)];
            let loss = f64::from(loss % 31) / 100.0;
            let length = usize::from(*length) % 30_000 + 1;
            carry(u64::from(*seed) + 1_000, length, loss, class);
        });
}

#[test]
fn what_nobody_answers_ends_at_its_deadline_and_not_later() {
    let mut world = World::without_loops(77, &[1, 1]);
    let to = world.mailbox(PROVIDER);
    let draft = draft(1, AnswerClass::One, 10);
    let deadline = world.now.after(Duration::from_secs(8));
    let (edge, rng) = (&mut world.edges[AGENT], &mut world.rngs[AGENT]);
    edge.send_request(world.now, rng, &to, &draft, deadline)
        .unwrap();
    world.run_until(DEADLINE, |w| !w.unanswered.is_empty());
    assert_eq!(world.now, deadline);
    assert_eq!(world.unanswered, [(draft.id, Failure::Timeout)]);
    assert!(world.edges[AGENT].counts().requests > 1, "it was repeated");
    assert_eq!(world.requests.len(), 1, "and asked once");
    // An answer that comes now is consumed, and counted.
    let request = world.requests.remove(0);
    world.answer(PROVIDER, request, 5);
    world.run(Duration::from_secs(5));
    assert!(world.responses.is_empty());
    assert!(world.edges[AGENT].counts().late > 0);
    assert_eq!(world.edges[AGENT].ledger().refused.total(), 0);
}

#[test]
fn out_of_reply_blocks_is_an_end_of_its_own() {
    let mut world = World::without_loops(78, &[2, 2]);
    let to = world.mailbox(PROVIDER);
    let deadline = world.now.after(Duration::from_secs(20));
    for id in 0..120 {
        let draft = draft(id, AnswerClass::SixtyFour, 10);
        let (edge, rng) = (&mut world.edges[AGENT], &mut world.rngs[AGENT]);
        edge.send_request(world.now, rng, &to, &draft, deadline)
            .unwrap();
    }
    // Nobody answers: all that may be out are out, and what is left waits by itself.
    world.run_until(DEADLINE, |w| w.unanswered.len() == 120);
    assert_eq!(world.now, deadline);
    assert!(world.edges[AGENT].memory().surbs <= 8_192);
    let exhausted = (world.unanswered.iter()).filter(|(_, why)| *why == Failure::SurbsExhausted);
    assert!(exhausted.count() >= 18);
}
