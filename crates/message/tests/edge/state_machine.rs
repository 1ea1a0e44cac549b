//! Any sequence of calls leaves the account balanced and memory bounded.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bolero::TypeGenerator;
use directory::Topology;
use link::Frame;
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use sphinx::Geometry;
use subrosa_message::{Edge, EdgeConfig, EdgeEvent, LetterId, OpenedRequest, Recipient};
use wire::{AdmissionTag, AnswerClass, RequestId, SURB_LEN, Time};

use crate::network::{
    LAYER_1, draft, fragment, gateway, item, recipient, response, surb, topology,
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
    Answer { output: u16 },
    Turn,
    LinkUp,
    LinkDown,
}

struct Machine {
    now: Time,
    rng: ChaCha20Rng,
    edge: Edge,
    own: Recipient,
    topologies: Vec<Arc<Topology>>,
    sent: Vec<Vec<u8>>,
    requests: Vec<OpenedRequest>,
    /// Letters that have had no end, and every tag that was announced.
    letters: Vec<LetterId>,
    tags: BTreeSet<AdmissionTag>,
    surb: [u8; SURB_LEN],
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
        let surb = surb(&mut rng, LAYER_1);
        Self {
            now: Time::ZERO,
            rng,
            edge,
            own,
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
            Step::Write { length, seconds } => {
                let deadline = now.after(Duration::from_secs((*seconds).into()));
                let body = vec![7; (*length).into()];
                let letter = edge.send_letter(now, rng, &self.own, &body, deadline);
                self.letters.extend(letter);
            }
            Step::AbandonLetter { place } => {
                if !self.letters.is_empty() {
                    let place = usize::from(*place) % self.letters.len();
                    edge.abandon_letter(now, self.letters.swap_remove(place));
                }
            }
            Step::Tags { most } => {
                let tags = edge.tags_to_announce(&self.own.mailbox, (*most).into());
                assert!(tags.len() <= usize::from(*most));
                self.tags.extend(tags);
            }
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
            Step::LinkUp => edge.link_up(),
            Step::LinkDown => edge.link_down(),
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
    let topologies: Vec<_> = (1..=4).map(topology).collect();
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
