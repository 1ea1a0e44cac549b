//! One process that plays authority, gateway and all mixes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use directory::{
    AuthorityEntry, ClockReading, Consensus, Document, DocumentHash, Identity, Network,
    NetworkDraft, NodeDescriptor, NodeDraft, Parameters, Previous, Role, sign_document,
};
use link::{Clock, Entropy, Frame, IdentitySeed, Mesh, MeshConfig, MeshEvent, Peer, Services};
use rand::CryptoRng;
use sphinx::{Geometry, Packet, Peeled, SecretKey};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use wire::{Call, Encode, Epoch, NodeId, NodeName, Register, Reply, Time};

const NODES: u8 = 4;

pub(crate) struct Gateway {
    pub(crate) network: Arc<Network>,
    mesh: Mesh,
    registered: mpsc::Receiver<Register>,
    attached: mpsc::Receiver<()>,
    guest: watch::Receiver<Option<Peer>>,
}

impl Gateway {
    pub(crate) async fn start() -> Self {
        Self::whose_authority_is_ahead(Duration::ZERO).await
    }

    /// One that hands on what an authority shows whose clock is so far ahead.
    pub(crate) async fn whose_authority_is_ahead(by: Duration) -> Self {
        let services = services();
        let shown = Arc::clone(&services.clock);
        let network = Arc::new(network(services.clock.now()));
        let frame_len = Geometry::DEFAULT.frame_len();
        let seed = IdentitySeed::from([NODES; 32]);
        let config = MeshConfig::node(frame_len, seed, "127.0.0.1:0".parse().unwrap());
        let (mesh, events) = Mesh::bind(config.with_guests(), services).await.unwrap();
        let consensus = consensus(&network, mesh.local_addr().unwrap());
        let (registers, registered) = mpsc::channel(16);
        let (attaches, attached) = mpsc::channel(16);
        let (guests, guest) = watch::channel(None);
        let desk = Desk {
            mesh: mesh.clone(),
            consensus,
            authority: (Arc::clone(&network), by),
            clock: shown,
            registers,
            attaches,
            guests,
        };
        tokio::spawn(desk.run(events));
        Self {
            network,
            mesh,
            registered,
            attached,
            guest,
        }
    }

    pub(crate) fn id(&self) -> NodeId {
        identity(NODES).node_id()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.mesh.local_addr().unwrap()
    }

    pub(crate) async fn registered(&mut self) -> Register {
        self.registered.recv().await.unwrap()
    }

    pub(crate) async fn attached(&mut self) {
        self.attached.recv().await.unwrap();
    }

    /// Closes the link to whoever came last.
    pub(crate) fn turn_away(&self) {
        let guest = self.guest.borrow().unwrap();
        self.mesh.disconnect(guest);
    }
}

struct Desk {
    mesh: Mesh,
    consensus: Vec<u8>,
    authority: (Arc<Network>, Duration),
    clock: Arc<dyn Clock>,
    registers: mpsc::Sender<Register>,
    attaches: mpsc::Sender<()>,
    guests: watch::Sender<Option<Peer>>,
}

impl Desk {
    async fn run(self, mut events: mpsc::Receiver<MeshEvent>) {
        while let Some(event) = events.recv().await {
            match event {
                MeshEvent::Call {
                    call, responder, ..
                } => responder.respond(self.reply(call).await),
                MeshEvent::Frames { from, frames, .. } => {
                    let frames = frames.iter().filter_map(peel).collect();
                    let _ = self.mesh.send(from, frames);
                }
                MeshEvent::Up(peer) => {
                    self.guests.send_replace(Some(peer));
                }
                MeshEvent::Down(_) => {}
            }
        }
    }

    async fn reply(&self, call: Call) -> Reply {
        match call {
            Call::NewestDocument | Call::Document(_) => Reply::Document(self.consensus.clone()),
            Call::Register(register) => {
                self.registers.send(register).await.unwrap();
                Reply::Done
            }
            Call::Attach(_) => {
                self.attaches.send(()).await.unwrap();
                Reply::Done
            }
            Call::Clocks => {
                let (network, ahead) = &self.authority;
                let shows = self.clock.now().after(*ahead);
                let reading = ClockReading::sign(&identity(50), network, shows);
                Reply::Clocks(reading.alone())
            }
            _ => panic!("not expected here"),
        }
    }
}

/// Takes a packet through all nodes at once; the frame for its client, if it comes back.
fn peel(frame: &Frame) -> Option<Frame> {
    let keys: Vec<SecretKey> = (1..=NODES).map(secret).collect();
    let keys: Vec<&SecretKey> = keys.iter().collect();
    let mut packet = Packet::from_bytes(Geometry::DEFAULT, frame.packet()).unwrap();
    for _ in 1..=NODES {
        match packet.open(&keys).unwrap().finish() {
            Peeled::Forward { packet: inner, .. } => packet = inner,
            Peeled::Deliver { .. } => return None,
        }
    }
    Some(Frame::new(Frame::PACKET, packet.as_bytes()))
}

fn identity(number: u8) -> Identity {
    Identity::from_seed(&[number; 32])
}

fn secret(number: u8) -> SecretKey {
    SecretKey::from_bytes([number + 100; 32])
}

fn network(now: Time) -> Network {
    Network::new(NetworkDraft {
        authorities: vec![AuthorityEntry {
            id: identity(50).node_id(),
            name: NodeName::new("authority").unwrap(),
            addresses: vec!["127.0.0.1:1".parse().unwrap()],
        }],
        threshold: 1,
        genesis: now.before(Duration::from_secs(5)),
        parameters: Parameters::demo(),
        bootstrap: Vec::new(),
    })
    .unwrap()
}

fn consensus(network: &Network, address: SocketAddr) -> Vec<u8> {
    let node = |number: u8, role: Role| {
        NodeDescriptor::sign(
            &identity(number),
            NodeDraft {
                name: NodeName::new(&format!("node-{number}")).unwrap(),
                role,
                epoch: Epoch(1),
                addresses: vec![address],
                sphinx_key: secret(number).public(),
                next_sphinx_key: secret(number + 50).public(),
                family: None,
            },
        )
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
        services: Vec::new(),
    };
    let authority = identity(50);
    let signature = sign_document(&authority, network, Epoch(1), &document.hash());
    let consensus = Consensus {
        document,
        signatures: vec![(authority.node_id(), signature)],
    };
    consensus.to_bytes()
}

pub(crate) fn services() -> Services {
    Services::new(
        Arc::new(Ticking(Instant::now())),
        Arc::new(Seeds(AtomicU64::new(1))),
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
        Box::new(super::rng(self.0.fetch_add(1, Ordering::Relaxed)))
    }
}
