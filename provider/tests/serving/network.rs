//! Six mixes and two gateways in memory that peel by the shipped packet code; a virtual clock.
//! Participants are outside: they get frames and give packets.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use directory::{
    Document, DocumentHash, Encoding, Finite, Identity, InputSchema, Line, ModelCard, ModelName,
    NodeDescriptor, NodeDraft, OutputSchema, Parameters, Previous, Role, ServiceDescriptor,
    Topology,
};
use link::Frame;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;
use sphinx::{Address, Geometry, Packet, Peeled, SecretKey};
use wire::{AnswerClass, Epoch, GraphHash, Handle, MailboxAddress, NodeId, NodeName, Time};

const MIXES: u8 = 6;
const GATEWAYS: u8 = 2;
const LINK: Duration = Duration::from_millis(5);

fn identity(number: u8) -> Identity {
    Identity::from_seed(&[number + 1; 32])
}

/// The gateway of this number.
pub(crate) fn gateway(number: u8) -> NodeId {
    identity(MIXES + number).node_id()
}

/// The Sphinx key of a mix or gateway; gateways come after the mixes.
pub(crate) fn secret(number: u8, epoch: u64) -> SecretKey {
    let mut bytes = [number + 100; 32];
    bytes[0] = u8::try_from(epoch).unwrap();
    SecretKey::from_bytes(bytes)
}

/// The document of an epoch with these services in its catalogue.
pub(crate) fn topology(epoch: u64, services: Vec<ServiceDescriptor>) -> Arc<Topology> {
    let descriptor = |number: u8| {
        let mix = number < MIXES;
        NodeDescriptor::sign(
            &identity(number),
            NodeDraft {
                name: NodeName::new(&format!("node-{number}")).unwrap(),
                role: if mix { Role::Mix } else { Role::Gateway },
                epoch: Epoch(epoch),
                addresses: vec!["127.0.0.1:9000".parse().unwrap()],
                sphinx_key: secret(number, epoch).public(),
                next_sphinx_key: secret(number, epoch + 1).public(),
                family: None,
            },
        )
    };
    let mut layers: [Vec<NodeDescriptor>; 3] = Default::default();
    for number in 0..MIXES {
        layers[usize::from(number) % 3].push(descriptor(number));
    }
    let document = Document {
        network: [1; 32],
        epoch: Epoch(epoch),
        previous: Previous {
            epoch: Epoch(epoch - 1),
            hash: DocumentHash([0; 32]),
        },
        parameters: Parameters::demo(),
        beacon: [2; 32],
        commitments: Vec::new(),
        silent: Vec::new(),
        layers,
        gateways: (MIXES..MIXES + GATEWAYS).map(descriptor).collect(),
        services,
    };
    Topology::new(Arc::new(document), Epoch(epoch)).unwrap()
}

/// A model that takes `inputs` numbers in -100..=100, one a unit, and gives `outputs`.
pub(crate) fn card(name: &str, inputs: u32, outputs: u32, class: AnswerClass) -> ModelCard {
    let one = Finite::new(1.0).unwrap();
    let mut graph = [0; 32];
    graph[..name.len()].copy_from_slice(name.as_bytes());
    ModelCard {
        name: ModelName::new(name).unwrap(),
        description: Line::new("for tests").unwrap(),
        graph_hash: GraphHash(graph),
        module_hash: [0; 32],
        class,
        input: InputSchema {
            elements: inputs,
            encoding: Encoding::Scaled,
            missing: vec![],
            scale: vec![one],
            zero: vec![Finite::new(0.0).unwrap()],
            lo: -100,
            hi: 100,
        },
        output: OutputSchema {
            elements: outputs,
            scale: one,
            labels: vec![Line::new("no").unwrap(), Line::new("yes").unwrap()],
        },
        fuel: 1,
    }
}

/// Something on its way.
enum Travelling {
    Packet { to: NodeId, packet: Packet },
    Frame { to: usize, frame: Vec<u8> },
}

/// The network. Participants have numbers.
pub(crate) struct Net {
    /// Share of packets that the first link loses.
    pub(crate) loss: f64,
    topology: Arc<Topology>,
    nodes: BTreeMap<NodeId, u8>,
    handles: BTreeMap<Handle, usize>,
    mailboxes: BTreeMap<MailboxAddress, usize>,
    travelling: BTreeMap<(Time, u64), Travelling>,
    sent: u64,
    rng: ChaCha20Rng,
}

impl Net {
    pub(crate) fn new(seed: u64, topology: Arc<Topology>) -> Self {
        let numbers = 0..MIXES + GATEWAYS;
        Self {
            loss: 0.0,
            topology,
            nodes: numbers.map(|n| (identity(n).node_id(), n)).collect(),
            handles: BTreeMap::new(),
            mailboxes: BTreeMap::new(),
            travelling: BTreeMap::new(),
            sent: 0,
            rng: ChaCha20Rng::seed_from_u64(seed),
        }
    }

    /// What a participant's driver tells its gateway.
    pub(crate) fn register(&mut self, number: usize, handle: Handle) {
        self.handles.insert(handle, number);
    }

    pub(crate) fn attach(&mut self, number: usize, mailbox: MailboxAddress) {
        self.mailboxes.insert(mailbox, number);
    }

    pub(crate) fn set_topology(&mut self, topology: Arc<Topology>) {
        self.topology = topology;
    }

    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        self.travelling.keys().next().map(|(time, _)| *time)
    }

    /// Takes a packet from a participant.
    pub(crate) fn send(&mut self, now: Time, first: u16, packet: Packet) {
        assert_eq!(packet.as_bytes().len(), Geometry::DEFAULT.packet_len());
        let to = self.topology.layer(1)[usize::from(first)].id;
        if self.rng.random_range(0.0..1.0) >= self.loss {
            self.travel(now.after(LINK), Travelling::Packet { to, packet });
        }
    }

    /// A frame that has reached its participant by `now`.
    pub(crate) fn deliver(&mut self, now: Time) -> Option<(usize, Vec<u8>)> {
        while let Some(entry) = self.travelling.first_entry()
            && entry.key().0 <= now
        {
            let at = entry.key().0;
            match entry.remove() {
                Travelling::Frame { to, frame } => return Some((to, frame)),
                Travelling::Packet { to, packet } => self.peel(at, to, packet),
            }
        }
        None
    }

    fn travel(&mut self, at: Time, travelling: Travelling) {
        self.sent += 1;
        self.travelling.insert((at, self.sent), travelling);
    }

    fn peel(&mut self, now: Time, at: NodeId, packet: Packet) {
        let epoch = self.topology.epoch().0;
        let number = self.nodes[&at];
        let (newer, older) = (secret(number, epoch), secret(number, epoch - 1));
        let Ok(opened) = packet.open(&[&newer, &older]) else {
            return;
        };
        match opened.finish() {
            Peeled::Forward {
                packet,
                next,
                delay,
            } => {
                let arrives = now.after(delay + LINK);
                if let Some(to) = self.handles.get(&Handle(next.0)) {
                    let frame = Frame::new(Frame::PACKET, packet.as_bytes());
                    let frame = frame.as_bytes().to_vec();
                    let to = *to;
                    self.travel(arrives, Travelling::Frame { to, frame });
                } else if self.nodes.contains_key(&NodeId(next.0)) {
                    let to = NodeId(next.0);
                    self.travel(arrives, Travelling::Packet { to, packet });
                }
            }
            Peeled::Deliver {
                address, payload, ..
            } => {
                if address == Address::DROP {
                    return;
                }
                let to = self.mailboxes[&MailboxAddress(address.0)];
                let frame = item(&payload.plaintext().unwrap());
                self.travel(now.after(LINK), Travelling::Frame { to, frame });
            }
        }
    }
}

/// The frame in which a gateway forwards a packet of a mailbox.
pub(crate) fn item(plaintext: &[u8]) -> Vec<u8> {
    let mut item = vec![0; 16];
    item.extend_from_slice(plaintext);
    item.resize(Geometry::DEFAULT.packet_len(), 0);
    Frame::new(Frame::MAILBOX_ITEM, &item).as_bytes().to_vec()
}
