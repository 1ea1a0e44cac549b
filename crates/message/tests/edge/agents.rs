//! Agents' mailboxes: a door that takes knocks alone, and letters to the key of a profile.

use std::sync::Arc;
use std::time::Duration;

use directory::Identity;
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use subrosa_message::{
    ADMISSION_LEN, AnonymousMailbox, Contact, Edge, Recipient, SealingKey, read_profile,
};
use traffic::Rate;
use wire::{
    AnswerClass, Encode, GraphHash, Letter, Mail, MailboxAddress, NodeId, Refusal, Request,
    RequestId, Time,
};

use crate::network::{LAYER_1, World, fragment, gateway, item, surb};

const LISTENER: usize = 1;
const KNOCK: RequestId = RequestId([5; 16]);
const DEADLINE: Duration = Duration::from_secs(30);

/// Has an edge listen at the mailbox of a key that this number gives.
pub(crate) fn listen(now: Time, edge: &mut Edge, rng: &mut ChaCha20Rng, number: u8) -> Contact {
    let mailbox = AnonymousMailbox {
        key: Arc::new(Identity::from_seed(&[number; 32])),
        strangers: Rate::new(5.0).unwrap(),
    };
    edge.listen(now, rng, mailbox).unwrap()
}

/// The key of a contact's door, as whoever has its line makes it (docs/spec/message.md, 14).
pub(crate) fn door(contact: &Contact) -> SealingKey {
    let line = contact.to_string();
    let letters = line.strip_prefix("sr1").unwrap().bytes();
    let bits = letters.flat_map(|letter| {
        let value = match letter {
            b'a'..=b'z' => letter - b'a',
            _ => letter - b'2' + 26,
        };
        (0..5).rev().map(move |bit| value >> bit & 1)
    });
    let bits: Vec<u8> = bits.collect();
    let bytes = bits.chunks_exact(8);
    let bytes: Vec<u8> = bytes
        .map(|b| b.iter().fold(0, |a, bit| a << 1 | bit))
        .collect();
    let material = [&bytes[..32], &bytes[44..60]].concat();
    SealingKey::from_bytes(&blake3::derive_key("subrosa 2026-11 door", &material))
}

/// An agent that is handed items by itself.
struct Agent {
    edge: Edge,
    contact: Contact,
    rng: ChaCha20Rng,
}

impl Agent {
    fn new(seed: u64) -> Self {
        let mut world = World::anonymous(seed, &[0, 1]);
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let mut edge = world.edges.remove(LISTENER);
        let contact = listen(Time::ZERO, &mut edge, &mut rng, 7);
        Self { edge, contact, rng }
    }

    /// The key of its profile.
    fn ordinary(&self) -> SealingKey {
        let seed = Identity::from_seed(&[7; 32]).derive("subrosa 2026-11 agent sealing", 0);
        SealingKey::from_bytes(&seed)
    }

    /// Hands it one part of a message of so many bytes; why it was refused, if it was.
    fn part(
        &mut self,
        (to, key): (MailboxAddress, &SealingKey),
        secret: u8,
        (length, index): (usize, u32),
        symbol: &[u8],
    ) -> Option<Refusal> {
        let surbs = [surb(&mut self.rng, LAYER_1)];
        let body = fragment(secret, (length as u32, index), &surbs, symbol);
        let mut plaintext = vec![0; ADMISSION_LEN];
        plaintext.extend(key.public().seal(&mut self.rng, &to, &body));
        let before = self.edge.ledger().refused.clone();
        self.edge
            .handle_frame(Time::ZERO, &mut self.rng, &item(&plaintext));
        assert!(self.edge.ledger().balances(self.edge.held()));
        let refused = &self.edge.ledger().refused;
        let more = |refusal: &Refusal| refused.of(*refusal) > before.of(*refusal);
        Refusal::ALL.into_iter().find(more)
    }

    /// The same of a whole message, in as many parts as it has.
    fn mail(&mut self, key: &SealingKey, secret: u8, message: &[u8]) -> Option<Refusal> {
        let mailbox = self.contact.mailbox();
        let mut refused = None;
        for (index, symbol) in (0..).zip(message.chunks(SYMBOL)) {
            assert_eq!(refused, None, "before it was whole");
            let place = (message.len(), index);
            refused = self.part((mailbox, key), secret, place, symbol);
        }
        refused
    }

    /// Has no news, nothing to send for what came, and no tags to announce.
    fn is_untouched(&mut self) -> bool {
        let memory = self.edge.memory();
        let tags = self.edge.tags_to_announce(&self.contact.mailbox(), 64);
        let kept = (memory.partial_bytes, memory.held_surbs, memory.waiting);
        kept == (0, 0, 0) && tags.is_empty() && self.edge.poll_event().is_none()
    }
}

/// Bytes of a message in one packet that brings one reply block.
const SYMBOL: usize = 6_486;

fn letter(length: usize) -> Vec<u8> {
    let body = vec![3; length];
    Mail::Letter(Letter { body }).to_bytes()
}

fn request() -> Vec<u8> {
    let request = Request {
        id: KNOCK,
        model: GraphHash([3; 32]),
        class: AnswerClass::One,
        input: vec![1; 8],
    };
    Mail::Request(request).to_bytes()
}

#[test]
fn the_door_takes_knocks_alone_and_keeps_nothing_of_what_it_refuses() {
    let mut agent = Agent::new(91);
    let door = door(&agent.contact);
    let malformed = Some(Refusal::Malformed);
    assert_eq!(agent.mail(&door, 1, &letter(20)), malformed, "a letter");
    assert_eq!(agent.mail(&door, 2, &request()), malformed, "a question");
    assert_eq!(agent.mail(&door, 3, &[3; 17]), malformed, "no mail");
    let short = &Mail::Knock(KNOCK).to_bytes()[..16];
    assert_eq!(agent.mail(&door, 4, short), malformed, "a short knock");
    assert!(agent.is_untouched());
    assert_eq!(agent.edge.counts().items_in, 4);
    // The door is still there.
    let knock = Mail::Knock(KNOCK).to_bytes();
    assert_eq!(agent.mail(&door, 5, &knock), None);
    assert_eq!(agent.edge.memory().waiting, 1, "the profile");
}

#[test]
fn a_letter_of_several_packets_is_refused_at_the_door_once_it_is_whole() {
    let mut agent = Agent::new(92);
    let door = door(&agent.contact);
    let long = letter(SYMBOL * 2 - 5);
    // Whole means enough symbols: of two, both.
    assert_eq!(agent.mail(&door, 1, &long), Some(Refusal::Malformed));
    assert!(agent.is_untouched());
    // Half by the door and half to the key is not one message.
    let (ordinary, mailbox) = (agent.ordinary(), agent.contact.mailbox());
    let (first, second) = long.split_at(SYMBOL);
    let whole = (long.len(), 0);
    assert_eq!(agent.part((mailbox, &ordinary), 2, whole, first), None);
    let rest = (long.len(), 1);
    assert_eq!(agent.part((mailbox, &door), 2, rest, second), None);
    assert!(agent.edge.poll_event().is_none());
    assert_eq!(agent.edge.memory().waiting, 0);
}

#[test]
fn a_knock_to_the_key_of_the_profile_is_refused() {
    let mut agent = Agent::new(93);
    let (ordinary, door) = (agent.ordinary(), door(&agent.contact));
    let knock = Mail::Knock(KNOCK).to_bytes();
    assert_eq!(agent.mail(&ordinary, 1, &knock), Some(Refusal::Malformed));
    assert!(agent.is_untouched());
    assert_eq!(agent.mail(&ordinary, 2, &letter(20)), None);
    assert_eq!(agent.mail(&door, 3, &knock), None);
}

#[test]
fn who_listens_nowhere_answers_no_knock() {
    let mut agent = Agent::new(94);
    let mailbox = Identity::from_seed(&[8; 32]).mailbox();
    let key = SealingKey::generate(&mut agent.rng);
    let again = SealingKey::from_bytes(&key.to_bytes());
    agent.edge.open_mailbox(mailbox, again).unwrap();
    let knock = Mail::Knock(KNOCK).to_bytes();
    let refused = agent.part((mailbox, &key), 1, (knock.len(), 0), &knock);
    assert_eq!(refused, Some(Refusal::Malformed));
    assert!(agent.is_untouched());
    agent.edge.close_mailbox(&agent.contact.mailbox());
    let door = door(&agent.contact);
    assert_eq!(agent.mail(&door, 2, &knock), Some(Refusal::SealInvalid));
}

#[test]
fn a_message_to_two_mailboxes_does_not_show_that_they_have_one_owner() {
    let mut agent = Agent::new(95);
    let other = listen(Time::ZERO, &mut agent.edge, &mut agent.rng, 8);
    let seed = Identity::from_seed(&[8; 32]).derive("subrosa 2026-11 agent sealing", 0);
    let keys = [
        (agent.contact.mailbox(), agent.ordinary()),
        (other.mailbox(), SealingKey::from_bytes(&seed)),
    ];
    let long = letter(SYMBOL * 2 - 5);
    let (first, second) = long.split_at(SYMBOL);
    let mut part = |to: usize, index: u32, symbol: &[u8]| {
        let (mailbox, key) = &keys[to];
        let refused = agent.part((*mailbox, key), 1, (long.len(), index), symbol);
        let letters = std::iter::from_fn(|| agent.edge.poll_event()).count();
        (refused, letters)
    };
    // Each owner alone would do the same: there is no letter until all of it came to one.
    assert_eq!(part(0, 0, first), (None, 0));
    assert_eq!(part(1, 1, second), (None, 0));
    assert_eq!(part(1, 0, first), (None, 1));
    assert_eq!(part(0, 1, second), (None, 1));
}

#[test]
fn who_was_given_a_contact_knocks_and_writes() {
    let mut world = World::anonymous(96, &[1, 1]);
    let (edge, rng) = (&mut world.edges[LISTENER], &mut world.rngs[LISTENER]);
    let contact = listen(world.now, edge, rng, 7);
    let mailbox = contact.mailbox();
    world.run_until(DEADLINE, |w| w.keepers.fed(&mailbox).len() == 2);
    let kept: Vec<NodeId> = world.keepers.fed(&mailbox);
    assert!(!kept.contains(&gateway(1)), "its own entry gateway");

    let deadline = world.now.after(DEADLINE);
    let (edge, rng) = (&mut world.edges[0], &mut world.rngs[0]);
    edge.knock(world.now, rng, &contact, KNOCK, deadline)
        .unwrap();
    world.run_until(DEADLINE, |w| !w.responses.is_empty());
    let (response, _) = world.responses.pop().unwrap();
    assert_eq!(response.id, KNOCK);
    let to: Recipient = read_profile(&mailbox, &response).unwrap();
    let mut said = to.gateways.clone();
    said.sort();
    assert_eq!(said, kept);

    let deadline = world.now.after(DEADLINE);
    let (edge, rng) = (&mut world.edges[0], &mut world.rngs[0]);
    let sent = edge
        .send_letter(world.now, rng, &to, b"good day", deadline)
        .unwrap();
    world.run_until(DEADLINE, |w| !w.delivered.is_empty());
    assert_eq!(world.delivered, [sent]);
    assert_eq!(world.letters, [(LISTENER, b"good day".to_vec())]);
}

#[test]
fn a_full_inbox_refuses_by_name_and_what_was_refused_comes_once_there_is_room() {
    let mut world = World::anonymous(97, &[1, 1]);
    world.inbox = 64;
    let (edge, rng) = (&mut world.edges[LISTENER], &mut world.rngs[LISTENER]);
    let mailbox = listen(world.now, edge, rng, 7).mailbox();
    let seed = Identity::from_seed(&[7; 32]).derive("subrosa 2026-11 agent sealing", 0);
    let to = Recipient {
        gateways: world.edges[LISTENER].mailbox_gateways(&mailbox),
        mailbox,
        sealing_key: SealingKey::from_bytes(&seed).public().clone(),
    };
    world.run_until(DEADLINE, |w| w.keepers.fed(&mailbox).len() == 2);

    let deadline = world.now.after(DEADLINE * 6);
    for number in 0..=64 {
        let (edge, rng) = (&mut world.edges[0], &mut world.rngs[0]);
        edge.send_letter(world.now, rng, &to, &[number], deadline)
            .unwrap();
    }
    let refused = |w: &World| w.edges[LISTENER].ledger().refused.of(Refusal::Overload);
    world.run_until(DEADLINE * 3, |w| w.delivered.len() == 64 && refused(w) >= 3);
    assert!(refused(&world) >= 3, "it is sent again");
    assert_eq!((world.letters.len(), world.delivered.len()), (64, 64));

    // Its owner reads one: there is room for the one that waits.
    let (_, read) = world.letters.remove(0);
    world.edges[LISTENER].set_full(false);
    world.run_until(DEADLINE, |w| w.delivered.len() == 65);
    assert_eq!((world.letters.len(), world.delivered.len()), (64, 65));
    world.edges[LISTENER].set_full(false);
    world.run(DEADLINE);
    assert!(world.undelivered.is_empty());
    let others = world.letters.iter().map(|(_, body)| body.clone());
    let mut all: Vec<_> = others.chain([read]).collect();
    all.sort();
    let each_once: Vec<_> = (0..=64).map(|number| vec![number]).collect();
    assert_eq!(all, each_once);
}
