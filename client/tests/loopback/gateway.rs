//! One process that plays authority, gateway and all mixes, for a client and a provider behind
//! real links.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use directory::{
    AuthorityEntry, Consensus, Document, DocumentHash, Identity, Network, NetworkDraft,
    NodeDescriptor, NodeDraft, Parameters, Previous, Role, ServiceDescriptor, sign_document,
};
use link::{Clock, Entropy, Frame, IdentitySeed, Mesh, MeshConfig, MeshEvent, Peer, Services};
use rand::{CryptoRng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use sphinx::{Geometry, Packet, Peeled, SecretKey};
use tokio::sync::mpsc;
use tokio::time::Instant;
use wire::{
    Call, CallRefused, Encode, Epoch, Handle, MailboxAddress, NodeId, NodeName, Reply, Time,
};

const NODES: u8 = 4;

pub(crate) struct Gateway {
    pub(crate) network: Network,
    /// Everything that comes is lost from now on.
    pub(crate) deaf: Arc<AtomicBool>,
}

impl Gateway {
    /// Starts a gateway whose document lists `services`.
    pub(crate) async fn start(listed: Vec<ServiceDescriptor>) -> Self {
        let services = services();
        let seed = IdentitySeed::from([NODES; 32]);
        let frame_len = Geometry::DEFAULT.frame_len();
        let config = MeshConfig::node(frame_len, seed, "127.0.0.1:0".parse().unwrap());
        let now = services.clock.now();
        let (mesh, events) = Mesh::bind(config.with_guests(), services).await.unwrap();
        let network = network(now, &mesh);
        let deaf = Arc::new(AtomicBool::new(false));
        let desk = Desk {
            consensus: consensus(&network, &mesh, listed),
            mesh,
            deaf: Arc::clone(&deaf),
            handles: BTreeMap::new(),
            mailboxes: BTreeMap::new(),
        };
        tokio::spawn(desk.run(events));
        Self { network, deaf }
    }
}

pub(crate) fn id() -> NodeId {
    identity(NODES).node_id()
}

struct Desk {
    mesh: Mesh,
    consensus: Vec<u8>,
    deaf: Arc<AtomicBool>,
    handles: BTreeMap<Handle, Peer>,
    mailboxes: BTreeMap<MailboxAddress, Peer>,
}

impl Desk {
    async fn run(mut self, mut events: mpsc::Receiver<MeshEvent>) {
        while let Some(event) = events.recv().await {
            match event {
                MeshEvent::Call {
                    from,
                    call,
                    responder,
                } => responder.respond(self.reply(from, &call)),
                MeshEvent::Frames { frames, .. } if !self.deaf.load(Ordering::Relaxed) => {
                    for (to, frame) in frames.iter().filter_map(|frame| self.peel(frame)) {
                        let _ = self.mesh.send(to, vec![frame]);
                    }
                }
                _ => {}
            }
        }
    }

    fn reply(&mut self, from: Peer, call: &Call) -> Reply {
        match call {
            Call::NewestDocument | Call::Document(_) => Reply::Document(self.consensus.clone()),
            Call::Register(register) => {
                self.handles.insert(register.handle, from);
                Reply::Done
            }
            Call::Attach(attach) => {
                let mailbox = MailboxAddress::of_key(&attach.key);
                self.mailboxes.insert(mailbox, from);
                Reply::Done
            }
            Call::Clocks => Reply::Refused(CallRefused::NotYet),
            _ => Reply::Done,
        }
    }

    /// Takes a packet through all nodes at once: to whom it goes then, in which frame.
    fn peel(&self, frame: &Frame) -> Option<(Peer, Frame)> {
        let keys: Vec<SecretKey> = (1..=NODES).map(secret).collect();
        let keys: Vec<&SecretKey> = keys.iter().collect();
        let mut packet = Packet::from_bytes(Geometry::DEFAULT, frame.packet()).unwrap();
        loop {
            match packet.open(&keys).unwrap().finish() {
                Peeled::Forward {
                    packet: inner,
                    next,
                    ..
                } => {
                    if let Some(peer) = self.handles.get(&Handle(next.0)) {
                        return Some((*peer, Frame::new(Frame::PACKET, inner.as_bytes())));
                    }
                    packet = inner;
                }
                Peeled::Deliver {
                    address, payload, ..
                } => {
                    let peer = self.mailboxes.get(&MailboxAddress(address.0))?;
                    let mut item = vec![0; 16];
                    item.extend_from_slice(&payload.plaintext().unwrap());
                    item.resize(Geometry::DEFAULT.packet_len(), 0);
                    return Some((*peer, Frame::new(Frame::MAILBOX_ITEM, &item)));
                }
            }
        }
    }
}

fn identity(number: u8) -> Identity {
    Identity::from_seed(&[number; 32])
}

fn secret(number: u8) -> SecretKey {
    SecretKey::from_bytes([number + 100; 32])
}

fn network(now: Time, mesh: &Mesh) -> Network {
    let authority = AuthorityEntry {
        id: identity(50).node_id(),
        name: NodeName::new("authority").unwrap(),
        addresses: vec!["127.0.0.1:1".parse().unwrap()],
    };
    Network::new(NetworkDraft {
        authorities: vec![authority],
        threshold: 1,
        genesis: now.before(Duration::from_secs(5)),
        parameters: Parameters::demo(),
        bootstrap: vec![(id(), mesh.local_addr().unwrap())],
    })
    .unwrap()
}

fn consensus(network: &Network, mesh: &Mesh, services: Vec<ServiceDescriptor>) -> Vec<u8> {
    let node = |number: u8, role: Role| {
        let draft = NodeDraft {
            name: NodeName::new(&format!("node-{number}")).unwrap(),
            role,
            epoch: Epoch(1),
            addresses: vec![mesh.local_addr().unwrap()],
            sphinx_key: secret(number).public(),
            next_sphinx_key: secret(number + 50).public(),
            family: None,
        };
        NodeDescriptor::sign(&identity(number), draft)
    };
    let document = Document {
        network: *network.id(),
        epoch: Epoch(1),
        previous: Previous {
            epoch: Epoch(0),
            hash: DocumentHash(*network.id()),
        },
        parameters: network.parameters().clone(),
        beacon: [2; 32],
        commitments: Vec::new(),
        silent: Vec::new(),
        layers: [1, 2, 3].map(|number| vec![node(number, Role::Mix)]),
        gateways: vec![node(NODES, Role::Gateway)],
        services,
    };
    let authority = identity(50);
    let signature = sign_document(&authority, network, Epoch(1), &document.hash());
    let signatures = vec![(authority.node_id(), signature)];
    Consensus {
        document,
        signatures,
    }
    .to_bytes()
}

pub(crate) fn services() -> Services {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let seed = NEXT.fetch_add(1_000, Ordering::Relaxed);
    Services::new(
        Arc::new(Ticking(Instant::now())),
        Arc::new(Seeds(seed.into())),
    )
}

/// Tokio's clock, from a start that all share closely enough.
struct Ticking(Instant);

impl Clock for Ticking {
    fn now(&self) -> Time {
        Time::ZERO.after(Duration::from_secs(1_000_000) + self.0.elapsed())
    }
}

struct Seeds(AtomicU64);

impl Entropy for Seeds {
    fn rng(&self) -> Box<dyn CryptoRng + Send> {
        let seed = self.0.fetch_add(1, Ordering::Relaxed);
        Box::new(ChaCha20Rng::seed_from_u64(seed))
    }
}
