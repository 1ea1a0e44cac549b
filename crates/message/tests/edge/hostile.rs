//! What peers send on purpose: fragments, reply blocks and items that are not as they should be.

use std::time::Duration;

use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use sphinx::Geometry;
use subrosa_message::{ADMISSION_LEN, Recipient};
use wire::{AnswerClass, Encode, GraphHash, Mail, Refusal, Request, RequestId, SURB_LEN};

use crate::network::{LAYER_1, World, fragment, item, response, surb};

const SYMBOL: usize = 6_486;

struct Peer {
    world: World,
    to: Recipient,
    rng: ChaCha20Rng,
}

impl Peer {
    fn new(seed: u64) -> Self {
        let mut world = World::new(seed, &[0, 0]);
        let to = world.mailbox(1);
        Self {
            world,
            to,
            rng: ChaCha20Rng::seed_from_u64(seed),
        }
    }

    /// Seals `body` to the provider and hands it the item; why it was refused, if it was.
    fn send_body(&mut self, body: &[u8]) -> Option<Refusal> {
        let mut plaintext = vec![0; ADMISSION_LEN];
        let sealed = self
            .to
            .sealing_key
            .seal(&mut self.rng, &self.to.mailbox, body);
        plaintext.extend(sealed);
        self.send_frame(&item(&plaintext))
    }

    fn send_frame(&mut self, frame: &[u8]) -> Option<Refusal> {
        let before = self.world.edges[1].ledger().refused.clone();
        let now = self.world.now;
        self.world.edges[1].handle_frame(now, &mut self.rng, frame);
        let edge = &self.world.edges[1];
        assert!(edge.ledger().balances(edge.held()));
        Refusal::ALL
            .into_iter()
            .find(|r| edge.ledger().refused.of(*r) > before.of(*r))
    }

    fn fragment(&mut self, message: u8, length: u32, index: u32) -> Option<Refusal> {
        let surb = surb(&mut self.rng, LAYER_1);
        self.send_body(&fragment(message, (length, index), &[surb], &[]))
    }

    /// Sends a request of one packet with these reply blocks.
    fn request(&mut self, class: AnswerClass, surbs: &[[u8; SURB_LEN]]) -> Option<Refusal> {
        let id = self.world.edges[1].counts().items_in as u8 + 1;
        let mail = Mail::Request(Request {
            id: RequestId([id; 16]),
            model: GraphHash([0; 32]),
            class,
            input: vec![1; 8],
        });
        let message = mail.to_bytes();
        let length = message.len() as u32;
        self.send_body(&fragment(id, (length, 0), surbs, &message))
    }
}

#[test]
fn fragments_that_contradict_repeat_or_overreach_are_refused_and_cost_nothing() {
    let mut peer = Peer::new(61);
    let invalid = Some(Refusal::FragmentInvalid);
    assert_eq!(peer.fragment(1, 100_000, 3), None);
    assert_eq!(peer.fragment(1, 100_000, 3), invalid, "repeated");
    assert_eq!(peer.fragment(1, 100_001, 4), invalid, "another length");
    assert_eq!(peer.fragment(1, 100_000, 1_024), invalid, "index");
    assert_eq!(peer.fragment(1, 100_000, u32::MAX), invalid, "index");
    assert_eq!(peer.fragment(2, u32::MAX, 0), invalid, "oversized total");
    assert_eq!(peer.fragment(3, 0, 0), invalid, "empty");
    assert_eq!(peer.world.edges[1].memory().partial_bytes, SYMBOL);
    // Time frees what never completes.
    peer.world.run(Duration::from_secs(122));
    assert_eq!(peer.world.edges[1].memory().partial_bytes, 0);
    assert_eq!(peer.world.edges[1].counts().abandoned, 1);
}

#[test]
fn messages_that_never_complete_stay_within_their_bound() {
    let mut peer = Peer::new(62);
    // The second fragment of ever new messages, each of which claims the most.
    let most = 256 * SYMBOL as u32;
    let surb = surb(&mut peer.rng, LAYER_1);
    for number in 0..4_200u32 {
        let mut body = fragment(0, (most, 1), &[surb], &[]);
        body[..4].copy_from_slice(&number.to_be_bytes());
        assert_eq!(peer.send_body(&body), None);
        assert!(peer.world.edges[1].memory().partial_bytes <= 64 << 20);
    }
    assert!(peer.world.edges[1].counts().abandoned >= 104);
    assert!(peer.world.edges[1].memory().held_surbs <= 4_096);
}

#[test]
fn reply_blocks_of_one_peer_and_of_all_are_bounded() {
    let mut peer = Peer::new(66);
    let surbs = vec![surb(&mut peer.rng, LAYER_1); 16];
    // One message that brings ever more ways back, and then many that do.
    for index in 0..20 {
        let body = fragment(1, (8_000, index), &surbs, &[index as u8; 546]);
        let _ = peer.send_body(&body);
        assert!(peer.world.edges[1].memory().held_surbs <= 96);
    }
    for number in 0..2_100u32 {
        let mut body = fragment(0, (8_000, 1), &surbs, &[]);
        body[..4].copy_from_slice(&number.to_be_bytes());
        assert_eq!(peer.send_body(&body), None);
        assert!(peer.world.edges[1].memory().held_surbs <= 32_768);
    }
    peer.world.run(Duration::from_secs(302));
    let memory = peer.world.edges[1].memory();
    assert_eq!((memory.held_surbs, memory.partial_bytes), (0, 0));
}

#[test]
fn reply_blocks_that_cannot_be_used_are_refused() {
    let mut peer = Peer::new(63);
    let invalid = Some(Refusal::SurbInvalid);
    let good = surb(&mut peer.rng, LAYER_1);
    let elsewhere = surb(&mut peer.rng, 0);
    let one = AnswerClass::One;
    assert_eq!(peer.request(one, &[good]), None);
    assert_eq!(peer.request(one, &[elsewhere]), invalid, "no way there");
    assert_eq!(peer.request(one, &[[0; SURB_LEN]]), invalid, "zero");
    assert_eq!(peer.request(one, &[[0xff; SURB_LEN]]), invalid);
    let none = peer.request(one, &[]);
    assert_eq!(none, Some(Refusal::Malformed), "none");
    // One that can be used among others is enough.
    assert_eq!(peer.request(one, &[elsewhere, good]), None);
    peer.world.pump(1);
    assert_eq!(peer.world.requests.len(), 2);
}

#[test]
fn an_answer_has_as_many_packets_as_there_are_ways_back_and_no_more_than_its_class() {
    for (blocks, packets) in [(1, 1), (3, 3), (4, 4), (5, 4)] {
        let mut peer = Peer::new(64);
        let surbs: Vec<_> = (0..blocks).map(|_| surb(&mut peer.rng, LAYER_1)).collect();
        assert_eq!(peer.request(AnswerClass::Four, &surbs), None);
        peer.world.pump(1);
        let request = peer.world.requests.pop().unwrap();
        peer.world.answer(1, request, 10);
        assert_eq!(peer.world.edges[1].memory().waiting, packets);
    }
}

#[test]
fn items_and_frames_that_are_none_are_refused_by_name() {
    let mut peer = Peer::new(65);
    assert_eq!(peer.send_frame(&[]), Some(Refusal::BadLength));
    assert_eq!(peer.send_frame(&[0, 1, 2]), Some(Refusal::BadLength));
    let frame = |prefix: u16| {
        let mut frame = prefix.to_be_bytes().to_vec();
        frame.resize(Geometry::DEFAULT.frame_len(), 0x11);
        frame
    };
    assert_eq!(peer.send_frame(&frame(0)), None, "a dummy");
    assert_eq!(peer.send_frame(&frame(1)), Some(Refusal::BadMac));
    assert_eq!(peer.send_frame(&frame(2)), Some(Refusal::SealInvalid));
    assert_eq!(peer.send_frame(&frame(3)), Some(Refusal::Malformed));
    let way_back = surb(&mut peer.rng, LAYER_1);
    let body = fragment(1, (5, 0), &[way_back], &[0xee; 5]);
    assert_eq!(peer.send_body(&body), Some(Refusal::Malformed), "no mail");
    assert_eq!(response_is_small(&mut peer), None);
}

fn response_is_small(peer: &mut Peer) -> Option<Refusal> {
    let surb = surb(&mut peer.rng, LAYER_1);
    let refused = peer.request(AnswerClass::One, &[surb]);
    peer.world.pump(1);
    let request = peer.world.requests.pop().unwrap();
    assert!(response(&request, 1).id == request.id);
    refused
}
