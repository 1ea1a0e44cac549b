//! Requests that come to nothing: each ends in its typed failure, unrun.

use std::time::Duration;

use directory::ModelCard;
use message::{Participant, SEAL_OVERHEAD, SealingPublicKey};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;
use sphinx::{Address, Geometry, Hop, RouteKey, SecretKey, Surb};
use subrosa_provider::Bounds;
use wire::{
    AnswerClass, Encode, Handle, NodeId, Request, RequestFailure, RequestId, SURB_LEN, SurbId,
};

use crate::network::{card, gateway, item, secret};
use crate::world::{World, bytes, cards};

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

#[test]
fn fewer_reply_blocks_than_the_answer_needs() {
    let mut world = World::new(8);
    let large = cards().remove(1);
    let mut rng = ChaCha20Rng::seed_from_u64(80);
    let surbs: Vec<[u8; SURB_LEN]> = (0..3).map(|_| surb(&world, &mut rng)).collect();
    let request = Request {
        id: RequestId([1; 16]),
        model: large.graph_hash,
        class: AnswerClass::Four,
        answer_key: rng.random(),
        input: bytes(&INPUT),
        surbs,
    };
    let frame = sealed_item(&mut rng, &world.to.sealing_key, &world, &request);
    let now = world.now;
    world.provider.handle_frame(now, &mut rng, &frame);
    assert!(world.provider.poll_job().is_none());
    world.run(Duration::from_secs(3));
    // Three blocks carry the failure in the largest class that they fill: one packet.
    assert_eq!(world.provider.counts().failures, 1);
    assert_eq!(world.provider.edge().counts().replies, 1);
    assert!(world.jobs.is_empty());
    assert_eq!(world.provider.answers_kept(), 0);
}

/// A reply block over layers 1 to 3 and a gateway to somebody.
fn surb(world: &World, rng: &mut ChaCha20Rng) -> [u8; SURB_LEN] {
    let home = SecretKey::generate(rng);
    let hop = |address: Address, key| Hop {
        address,
        key: RouteKey::new(key).unwrap(),
        delay: Duration::ZERO,
    };
    let topology = world.provider.edge().topology();
    let mix = |layer: u8| {
        let relay = &topology.layer(layer)[0];
        let number = layer - 1;
        assert_eq!(relay.key.public(), secret(number, 1).public());
        hop(Address::from(relay.id), relay.key.public())
    };
    let gateway: NodeId = gateway(0);
    let route = [
        mix(1),
        mix(2),
        mix(3),
        hop(Address::from(gateway), secret(6, 1).public()),
        hop(Address::from(Handle([9; 32])), home.public()),
    ];
    let id = SurbId(rng.random());
    let (surb, _) = Surb::create(rng, &route, id).unwrap();
    surb.to_bytes()
}

/// The request as one packet of the mailbox, sealed as docs/spec/message.md has it.
fn sealed_item(
    rng: &mut ChaCha20Rng,
    key: &SealingPublicKey,
    world: &World,
    request: &Request,
) -> Vec<u8> {
    let encoded = request.to_bytes();
    let room = Geometry::DEFAULT.mailbox_capacity() - message::ADMISSION_LEN - SEAL_OVERHEAD;
    let mut body = vec![0; 16];
    rng.fill_bytes(&mut body);
    body.extend_from_slice(&u32::try_from(encoded.len()).unwrap().to_be_bytes());
    body.extend_from_slice(&0_u32.to_be_bytes());
    body.extend_from_slice(&encoded);
    body.resize(room, 0);
    let mut plaintext = vec![0; message::ADMISSION_LEN];
    plaintext.extend_from_slice(&key.seal(rng, &world.to.mailbox, &body));
    item(&plaintext)
}
