//! What peers send on purpose: fragments, reply blocks and items that are not as they should be.

use std::time::Duration;

use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use sphinx::{Geometry, Hop, RouteKey, SecretKey, Surb};
use subrosa_message::{ADMISSION_LEN, Recipient};
use wire::{
    AnswerClass, Encode, GraphHash, Outcome, Refusal, Request, RequestFailure, RequestId, SURB_LEN,
    SurbId,
};

use crate::network::{World, item, node, response, secret};

const SYMBOL: usize = 6_903;

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
        let mut body = vec![message; 16];
        body.extend(length.to_be_bytes());
        body.extend(index.to_be_bytes());
        body.resize(24 + SYMBOL, 0);
        self.send_body(&body)
    }

    /// Sends a request of one packet with these reply blocks.
    fn request(&mut self, class: AnswerClass, surbs: Vec<[u8; SURB_LEN]>) -> Option<Refusal> {
        let id = self.world.edges[1].counts().items_in as u8 + 1;
        let request = Request {
            id: RequestId([id; 16]),
            model: GraphHash([0; 32]),
            class,
            answer_key: [id; 32],
            input: vec![1; 8],
            surbs,
        };
        let message = request.to_bytes();
        let mut body = vec![id; 16];
        body.extend((message.len() as u32).to_be_bytes());
        body.extend(0u32.to_be_bytes());
        body.extend(&message);
        body.resize(24 + SYMBOL, 0);
        self.send_body(&body)
    }

    /// A reply block over this first hop.
    fn surb(&mut self, first: u8) -> [u8; SURB_LEN] {
        let hop = |number: u8| Hop {
            address: node(number).into(),
            key: RouteKey::new(secret(number, 1).public()).unwrap(),
            delay: Duration::ZERO,
        };
        let home = SecretKey::generate(&mut self.rng);
        let last = Hop {
            address: wire::Handle([9; 32]).into(),
            key: RouteKey::new(home.public()).unwrap(),
            delay: Duration::ZERO,
        };
        let route = [hop(first), hop(0), hop(1), hop(6), last];
        let (surb, _) = Surb::create(&mut self.rng, &route, SurbId([3; 16])).unwrap();
        surb.to_bytes()
    }
}

/// A mix of layer 1 in the first epoch.
const LAYER_1: u8 = 2;

#[test]
fn fragments_that_contradict_repeat_or_overreach_are_refused_and_cost_nothing() {
    let mut peer = Peer::new(61);
    let invalid = Some(Refusal::FragmentInvalid);
    assert_eq!(peer.fragment(1, 100_000, 3), None);
    assert_eq!(peer.fragment(1, 100_000, 3), invalid, "repeated");
    assert_eq!(peer.fragment(1, 100_001, 4), invalid, "another length");
    assert_eq!(peer.fragment(1, 100_000, 17), invalid, "beyond its repair");
    assert_eq!(
        peer.fragment(1, 100_000, u32::MAX),
        invalid,
        "oversized index"
    );
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
    for number in 0..4_200u32 {
        let mut body = vec![0; 24 + SYMBOL];
        body[..4].copy_from_slice(&number.to_be_bytes());
        body[16..20].copy_from_slice(&most.to_be_bytes());
        body[20..24].copy_from_slice(&1u32.to_be_bytes());
        assert_eq!(peer.send_body(&body), None);
        assert!(peer.world.edges[1].memory().partial_bytes <= 64 << 20);
    }
    assert!(peer.world.edges[1].counts().abandoned >= 104);
}

#[test]
fn reply_blocks_that_cannot_be_used_are_refused() {
    let mut peer = Peer::new(63);
    let invalid = Some(Refusal::SurbInvalid);
    let good = peer.surb(LAYER_1);
    let elsewhere = peer.surb(0);
    assert_eq!(peer.request(AnswerClass::One, vec![good]), None);
    assert_eq!(
        peer.request(AnswerClass::One, vec![elsewhere]),
        invalid,
        "no way there"
    );
    assert_eq!(
        peer.request(AnswerClass::One, vec![[0; SURB_LEN]]),
        invalid,
        "zero"
    );
    assert_eq!(
        peer.request(AnswerClass::One, vec![[0xff; SURB_LEN]]),
        invalid
    );
    assert_eq!(peer.request(AnswerClass::One, Vec::new()), invalid, "none");
    peer.world.pump(1);
    assert_eq!(peer.world.requests.len(), 1);
}

#[test]
fn too_few_reply_blocks_bring_a_typed_failure_in_the_size_that_they_allow() {
    for (blocks, packets) in [(1, 1), (3, 1), (5, 4)] {
        let mut peer = Peer::new(64);
        let surbs: Vec<_> = (0..blocks).map(|_| peer.surb(LAYER_1)).collect();
        assert_eq!(peer.request(AnswerClass::Sixteen, surbs), None);
        peer.world.pump(1);
        let request = peer.world.requests.pop().unwrap();
        assert!(!request.reply.suffices());
        peer.world.answer(1, request, 10);
        assert_eq!(peer.world.edges[1].memory().waiting, packets);
    }
    let failed = Outcome::Failed(RequestFailure::InsufficientSurbs);
    assert!(failed != Outcome::Output(Vec::new()));
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
    let mut body = vec![1; 16];
    body.extend(5u32.to_be_bytes());
    body.extend(0u32.to_be_bytes());
    body.resize(24 + SYMBOL, 0xee);
    assert_eq!(
        peer.send_body(&body),
        Some(Refusal::Malformed),
        "no request"
    );
    assert_eq!(response_is_small(&mut peer), None);
}

fn response_is_small(peer: &mut Peer) -> Option<Refusal> {
    let surb = peer.surb(LAYER_1);
    let refused = peer.request(AnswerClass::One, vec![surb]);
    peer.world.pump(1);
    let request = peer.world.requests.pop().unwrap();
    assert!(response(&request, 1).id == request.id);
    refused
}
