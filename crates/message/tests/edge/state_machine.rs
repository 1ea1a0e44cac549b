//! Any sequence of calls leaves the account balanced and memory bounded.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bolero::TypeGenerator;
use directory::{Identity, Topology};
use link::Frame;
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use sphinx::Geometry;
use subrosa_message::{
    Contact, Edge, EdgeConfig, EdgeEvent, LetterId, OpenedRequest, Recipient, SealingKey,
    SealingPublicKey, read_profile,
};
use wire::{
    AdmissionTag, AnswerClass, Encode, Letter, Mail, MailboxAddress, RequestId, SURB_LEN, Time,
};

use crate::agents::{door, listen};
use crate::network::{
    ANONYMOUS, LAYER_1, anonymous_topology, draft, fragment, gateway, item, recipient, response,
    surb,
};

#[derive(Debug, TypeGenerator)]
enum Step {
    Wait { millis: u16 },
    Prepare,
    Ask { id: u8, class: u8, input: u16 },
    Abandon { id: u8 },
    Write { length: u16, seconds: u8 },
    AbandonLetter { place: u8 },
    Tags { most: u8 },
    Noise { prefix: u8, byte: u8, length: u16 },
    Echo { place: u8, flip: Option<u16> },
    Item { byte: u8, flip: Option<u16> },
    Knock { id: u8, seconds: u8 },
    Mail { mail: Sent, to: Key, again: bool },
    Full { full: bool },
    Listen,
    HangUp,
    Gateway { number: u8 },
    Answer { output: u16 },
    Turn,
    LinkUp,
    LinkDown,
}

/// A message of one packet that an agent is handed.
#[derive(Debug, Clone, Copy, TypeGenerator)]
enum Sent {
    Knock,
    Letter,
    Noise,
}

/// To which of an agent's keys it is sealed.
#[derive(Debug, Clone, Copy, TypeGenerator)]
enum Key {
    Door,
    Profile,
}

struct Machine {
    now: Time,
    rng: ChaCha20Rng,
    edge: Edge,
    own: Recipient,
    agent: Agent,
    /// No letter is let in.
    full: bool,
    topologies: Vec<Arc<Topology>>,
    sent: Vec<Vec<u8>>,
    requests: Vec<OpenedRequest>,
    /// Letters that have had no end, and every tag that was announced.
    letters: Vec<LetterId>,
    tags: BTreeSet<AdmissionTag>,
    surb: [u8; SURB_LEN],
}

/// An agent's mailbox, and the keys that others seal to.
struct Agent {
    contact: Contact,
    door: SealingPublicKey,
    profile: SealingPublicKey,
    /// Letters that came: each once.
    letters: BTreeSet<Vec<u8>>,
}

impl Agent {
    const NUMBER: u8 = 7;

    fn new(contact: Contact) -> Self {
        let key = Identity::from_seed(&[Self::NUMBER; 32]);
        let seed = key.derive("subrosa 2026-11 agent sealing", 0);
        Self {
            contact,
            door: door(&contact).public().clone(),
            profile: SealingKey::from_bytes(&seed).public().clone(),
            letters: BTreeSet::new(),
        }
    }

    fn mailbox(&self) -> MailboxAddress {
        self.contact.mailbox()
    }
}

impl Machine {
    fn new(topologies: &[Arc<Topology>]) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let config = EdgeConfig {
            gateway: gateway(0),
            class: 1,
        };
        let mut topologies = topologies.to_vec();
        let first = topologies.remove(0);
        let mut edge = Edge::new(Time::ZERO, &mut rng, config, first).unwrap();
        let own = recipient(&mut edge, &mut rng, gateway(0));
        let contact = listen(Time::ZERO, &mut edge, &mut rng, Agent::NUMBER);
        let surb = surb(&mut rng, LAYER_1);
        Self {
            now: Time::ZERO,
            rng,
            edge,
            own,
            agent: Agent::new(contact),
            full: false,
            topologies,
            sent: Vec::new(),
            requests: Vec::new(),
            letters: Vec::new(),
            tags: BTreeSet::new(),
            surb,
        }
    }

    fn step(&mut self, step: &Step) {
        let (now, rng, edge) = (self.now, &mut self.rng, &mut self.edge);
        match step {
            Step::Wait { millis } => {
                self.now = now.after(Duration::from_millis((*millis).into()));
                edge.handle_timeout(self.now, rng);
            }
            Step::Prepare => {
                edge.prepare(rng);
            }
            Step::Ask { id, class, input } => {
                let class = AnswerClass::ALL[usize::from(class % 3)];
                let draft = draft(id % 4, class, (*input).into());
                let deadline = now.after(Duration::from_secs(u64::from(*id)));
                let _ = edge.send_request(now, rng, &self.own, &draft, deadline);
            }
            Step::Abandon { id } => edge.abandon(now, &RequestId([id % 4; 16])),
            Step::Noise {
                prefix,
                byte,
                length,
            } => {
                let full = Geometry::DEFAULT.packet_len();
                let length = if *length > 100 {
                    full
                } else {
                    (*length).into()
                };
                let frame = Frame::new((prefix % 4).into(), &vec![*byte; length]);
                edge.handle_frame(now, rng, frame.as_bytes());
            }
            Step::Echo { place, flip } => {
                let Some(packet) = self.sent.get(usize::from(*place)) else {
                    return;
                };
                let mut frame = Frame::new(Frame::PACKET, packet).as_bytes().to_vec();
                change(&mut frame, *flip);
                edge.handle_frame(now, rng, &frame);
            }
            Step::Item { byte, flip } => {
                let place = (0x4000, u32::from(byte % 5));
                let body = fragment(byte % 4, place, &[self.surb], &[*byte; 64]);
                let to = &self.own;
                let mut plaintext = vec![0; 96];
                plaintext.extend(to.sealing_key.seal(rng, &to.mailbox, &body));
                let mut frame = item(&plaintext);
                change(&mut frame, *flip);
                edge.handle_frame(now, rng, &frame);
            }
            Step::Answer { output } => {
                if let Some(request) = self.requests.pop() {
                    let response = response(&request, (*output).into());
                    let _ = edge.send_response(now, rng, request.reply, &response);
                }
            }
            Step::Turn => {
                if !self.topologies.is_empty() {
                    let next = self.topologies.remove(0);
                    edge.set_topology(now, rng, next).unwrap();
                }
            }
            Step::Gateway { number } => {
                edge.set_gateway(now, rng, gateway(number % ANONYMOUS))
                    .unwrap();
            }
            Step::LinkUp => edge.link_up(),
            Step::LinkDown => edge.link_down(),
            of_letters => self.step_of_letters(of_letters),
        }
    }

    fn step_of_letters(&mut self, step: &Step) {
        let (now, rng, edge) = (self.now, &mut self.rng, &mut self.edge);
        match step {
            Step::Write { length, seconds } => {
                let deadline = now.after(Duration::from_secs((*seconds).into()));
                let body = vec![7; (*length).into()];
                let letter = edge.send_letter(now, rng, &self.own, &body, deadline);
                self.letters.extend(letter);
            }
            Step::AbandonLetter { place } if !self.letters.is_empty() => {
                let place = usize::from(*place) % self.letters.len();
                edge.abandon_letter(now, self.letters.swap_remove(place));
            }
            Step::Tags { most } => {
                let tags = edge.tags_to_announce(&self.own.mailbox, (*most).into());
                assert!(tags.len() <= usize::from(*most));
                self.tags.extend(tags);
            }
            Step::Knock { id, seconds } => {
                let deadline = now.after(Duration::from_secs((*seconds).into()));
                let id = RequestId([0x80 | (id % 4); 16]);
                let _ = edge.knock(now, rng, &self.agent.contact, id, deadline);
            }
            Step::Mail { mail, to, again } => {
                // Few secrets, so that they come again.
                let secret = u8::from(*again);
                let message = match mail {
                    Sent::Knock => Mail::Knock(RequestId([secret; 16])).to_bytes(),
                    Sent::Letter => {
                        let body = vec![secret; 9];
                        Mail::Letter(Letter { body }).to_bytes()
                    }
                    Sent::Noise => vec![secret; 17],
                };
                let place = (message.len() as u32, 0);
                let body = fragment(secret, place, &[self.surb], &message);
                let key = match to {
                    Key::Door => &self.agent.door,
                    Key::Profile => &self.agent.profile,
                };
                let mut plaintext = vec![0; 96];
                plaintext.extend(key.seal(rng, &self.agent.mailbox(), &body));
                edge.handle_frame(now, rng, &item(&plaintext));
            }
            Step::Full { full } => {
                self.full = *full;
                edge.set_full(*full);
            }
            Step::Listen => {
                let contact = listen(now, edge, rng, Agent::NUMBER);
                assert_eq!(contact.mailbox(), self.agent.mailbox());
                self.agent.contact = contact;
            }
            Step::HangUp => edge.close_mailbox(&self.agent.mailbox()),
            _ => {}
        }
    }

    fn check(&mut self) {
        assert!(self.edge.ledger().balances(self.edge.held()));
        while let Some((first, packet)) = self.edge.poll_transmit(self.now) {
            assert!(first < 2, "layer 1 has two mixes");
            self.sent.push(packet.into_bytes().into_vec());
        }
        while let Some(event) = self.edge.poll_event() {
            match event {
                EdgeEvent::Request(request) => self.requests.push(request),
                EdgeEvent::Letter(letter) => {
                    assert!(!self.full, "a letter above the bound");
                    assert_eq!(letter.mailbox, self.agent.mailbox());
                    let new = self.agent.letters.insert(letter.body.to_vec());
                    assert!(new, "a letter that came twice");
                }
                EdgeEvent::Response { response, .. } => {
                    let _ = read_profile(&self.agent.mailbox(), &response);
                }
                EdgeEvent::Delivered { letter } | EdgeEvent::Undelivered { letter, .. } => {
                    let place = self.letters.iter().position(|open| *open == letter);
                    self.letters
                        .swap_remove(place.expect("each letter has one end"));
                }
                _ => {}
            }
        }
        assert!(self.edge.ledger().balances(self.edge.held()));
        let memory = self.edge.memory();
        assert!(memory.waiting <= 4_096 && memory.surbs <= 8_192 && memory.events <= 1_024);
    }
}

fn change(frame: &mut [u8], flip: Option<u16>) {
    if let Some(place) = flip {
        let place = usize::from(place) % frame.len();
        frame[place] ^= 1;
    }
}

#[test]
fn any_sequence_of_calls_keeps_the_account_balanced() {
    let topologies: Vec<_> = (1..=4).map(anonymous_topology).collect();
    bolero::check!()
        .with_type::<Vec<Step>>()
        .with_iterations(150)
        .for_each(|steps| {
            let mut machine = Machine::new(&topologies);
            for step in steps.iter().take(60) {
                machine.step(step);
                machine.check();
            }
        });
}
