//! A small network whose keys are all known, around one gateway.

use std::sync::Arc;
use std::time::Duration;

use directory::{
    Descriptor, Document, DocumentHash, Encoding, Finite, Identity, InputSchema, Line, ModelCard,
    ModelName, NodeDescriptor, NodeDraft, OutputSchema, Parameters, Previous, Role,
    ServiceDescriptor, ServiceDraft, Topology,
};
use link::{Frame, GuestId, Peer};
use mix::peel::Window;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;
use sphinx::{Address, Geometry, Hop, Packet, Payload, Peeled, RouteKey, SecretKey};
use subrosa_gateway::{Answer, EveryoneUpToTheBound, Gateway, Limits};
use wire::{
    AnswerClass, Call, Encode, Epoch, GraphHash, Handle, MailboxAddress, NodeId, NodeName, Refusal,
    Register, Reply, Time,
};

/// The gateway under test, and everything around it.
pub struct Network {
    pub gateway: Gateway,
    pub rng: ChaCha20Rng,
    pub now: Time,
    pub topology: Arc<Topology>,
    pub parameters: Parameters,
    nodes: Vec<Node>,
    /// The key of whatever comes after the gateway.
    beyond: RouteKey,
}

/// A node by its keys.
pub struct Node {
    pub identity: Identity,
    name: NodeName,
    role: Role,
}

/// Where the gateway under test stands among the nodes; mixes come before it.
pub const GATEWAY: usize = 6;

impl Network {
    /// Two mixes a layer, two gateways; epoch 1 is in force.
    pub fn new(seed: u64, limits: Limits) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let nodes: Vec<Node> = (0..8).map(|place| Node::new(&mut rng, place)).collect();
        let parameters = Parameters {
            geometry: Geometry::new(1024).unwrap(),
            epoch: Duration::from_secs(60),
            overlap: Duration::from_secs(10),
            ..Parameters::demo()
        };
        let id = nodes[GATEWAY].identity.node_id();
        let admission = Box::new(EveryoneUpToTheBound);
        let gateway = Gateway::new(id, parameters.clone(), limits, admission);
        let topology = topology(&nodes, &parameters, Epoch(1));
        let mut network = Self {
            gateway,
            rng,
            now: Time::ZERO,
            topology,
            parameters,
            nodes,
            beyond: RouteKey::new(SecretKey::from_bytes([7; 32]).public()).unwrap(),
        };
        network.enter_epoch(Epoch(1));
        network
    }

    /// Brings keys and topology of `epoch`, and goes by it.
    pub fn enter_epoch(&mut self, epoch: Epoch) {
        self.topology = topology(&self.nodes, &self.parameters, epoch);
        let start = Time::ZERO.after(self.parameters.epoch * u32::try_from(epoch.0 - 1).unwrap());
        let window = Window {
            from: start,
            until: start.after(self.parameters.epoch + self.parameters.overlap),
        };
        let key = self.nodes[GATEWAY].secret(epoch);
        self.gateway.set_key(epoch, window, key, &[]);
        self.gateway.set_topology(Arc::clone(&self.topology));
        self.gateway.enter_epoch(self.now, &mut self.rng, epoch);
    }

    /// Registers a client of class `class` on a link.
    pub fn register(&mut self, guest: u64, class: u8) -> Handle {
        let handle = Handle(self.rng.random());
        self.register_as(guest, handle, class);
        handle
    }

    /// Registers under a given handle.
    pub fn register_as(&mut self, guest: u64, handle: Handle, class: u8) {
        let register = Register {
            handle,
            epoch: self.topology.epoch(),
            class,
        };
        let call = Call::Register(register);
        let from = Peer::Guest(GuestId(guest));
        let answer = self
            .gateway
            .handle_call(self.now, &mut self.rng, from, call);
        assert_eq!(answer, Answer::Reply(Reply::Done));
    }

    /// Attaches the mailbox of a known key to a registered client.
    pub fn attach(&mut self, guest: u64, handle: Handle, counter: u64) -> MailboxAddress {
        let key = Identity::from_seed(&[4; 32]);
        let epoch = self.topology.epoch();
        let attach = message::attach(&key, self.id(GATEWAY), handle, epoch, counter);
        let from = Peer::Guest(GuestId(guest));
        let call = Call::Attach(attach);
        let answer = self
            .gateway
            .handle_call(self.now, &mut self.rng, from, call);
        assert_eq!(answer, Answer::Reply(Reply::Done));
        key.mailbox()
    }

    /// A service's descriptor, encoded for publication.
    pub fn service_descriptor(&self) -> Vec<u8> {
        let one = Finite::new(1.0).unwrap();
        let card = ModelCard {
            name: ModelName::new("tumour").unwrap(),
            description: Line::new("a model").unwrap(),
            graph_hash: GraphHash([1; 32]),
            module_hash: [2; 32],
            class: AnswerClass::One,
            input: InputSchema {
                elements: 30,
                encoding: Encoding::Scaled,
                missing: vec![],
                scale: vec![one],
                zero: vec![one],
                lo: -128,
                hi: 127,
            },
            output: OutputSchema {
                elements: 2,
                scale: one,
                labels: Vec::new(),
            },
            fuel: 1,
        };
        let draft = ServiceDraft {
            name: NodeName::new("provider-1").unwrap(),
            epoch: Epoch(2),
            gateways: vec![self.id(GATEWAY)],
            sealing_key: vec![1; ServiceDescriptor::SEALING_KEY_LEN],
            models: vec![card],
        };
        let descriptor = ServiceDescriptor::sign(&Identity::from_seed(&[4; 32]), draft);
        Descriptor::Service(Box::new(descriptor)).to_bytes()
    }

    /// The gateway as a hop.
    pub fn gateway_hop(&self) -> Hop {
        self.hop(GATEWAY)
    }

    /// A node as a hop without delay.
    pub fn hop(&self, node: usize) -> Hop {
        Hop {
            address: self.id(node).into(),
            key: self.topology.relay(&self.id(node)).unwrap().key.clone(),
            delay: Duration::ZERO,
        }
    }

    /// A node's identity.
    pub fn id(&self, node: usize) -> NodeId {
        self.nodes[node].identity.node_id()
    }

    /// A packet as layer 3 hands it over, to end at the gateway.
    pub fn ending(&mut self, destination: Address, payload: &[u8]) -> Packet {
        let route = [self.gateway_hop()];
        self.wrap(&route, destination, payload)
    }

    /// A packet as layer 3 hands it over, to go on to `next`.
    pub fn passing(&mut self, next: Address) -> Packet {
        let last = Hop {
            address: next,
            key: self.beyond.clone(),
            delay: Duration::ZERO,
        };
        let route = [self.gateway_hop(), last];
        self.wrap(&route, Address::LOOP, b"")
    }

    /// A packet over any route.
    pub fn wrap(&mut self, route: &[Hop], destination: Address, payload: &[u8]) -> Packet {
        let identifier = self.rng.random();
        let geometry = self.parameters.geometry;
        Packet::wrap(
            &mut self.rng,
            geometry,
            route,
            destination,
            identifier,
            payload,
        )
        .unwrap()
    }

    /// Hands a packet to the gateway.
    pub fn arrive(&mut self, packet: &Packet) {
        self.gateway.handle_packet(self.now, packet.as_bytes());
        while self.gateway.poll_log().is_some() {}
        self.check();
    }

    /// Lets time pass up to `until` and collects what leaves, each with its time.
    pub fn run_until(&mut self, until: Time) -> Vec<(Time, Peer, Frame)> {
        let mut sent = Vec::new();
        while let Some(due) = self.gateway.poll_timeout().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.gateway.handle_timeout(self.now, &mut self.rng);
            self.collect(&mut sent);
            self.gateway.prepare(self.now, &mut self.rng);
        }
        self.now = until;
        self.collect(&mut sent);
        self.check();
        sent
    }

    /// Takes what the gateway sends now.
    pub fn collect(&mut self, sent: &mut Vec<(Time, Peer, Frame)>) {
        while let Some((peer, frame)) = self.gateway.poll_transmit() {
            sent.push((self.now, peer, frame));
        }
    }

    /// How often the gateway refused for `refusal`.
    pub fn refused(&self, refusal: Refusal) -> u64 {
        self.gateway.ledger().refused.of(refusal)
    }

    /// The ledger balances.
    pub fn check(&self) {
        let (ledger, held) = (self.gateway.ledger(), self.gateway.held());
        assert!(ledger.balances(held), "{ledger:?}, held {held}");
    }

    /// What a packet that ends at `node` holds there.
    pub fn opened_at(&self, node: usize, packet: &Packet) -> Payload {
        let secret = self.nodes[node].secret(self.topology.epoch());
        match packet.clone().open(&[&secret]).unwrap().finish() {
            Peeled::Deliver { payload, .. } => payload,
            Peeled::Forward { .. } => panic!("it goes on"),
        }
    }

    /// What a packet of `epoch` holds when it ends at `node`, if it is one of that epoch and ends
    /// there.
    pub fn carried(
        &self,
        epoch: Epoch,
        first: NodeId,
        packet: &[u8],
        node: usize,
    ) -> Option<Payload> {
        let mut at = first;
        let mut packet = Packet::from_bytes(self.parameters.geometry, packet).unwrap();
        loop {
            let hop = self.nodes.iter().find(|n| n.identity.node_id() == at)?;
            match packet.open(&[&hop.secret(epoch)]).ok()?.finish() {
                Peeled::Forward {
                    packet: inner,
                    next,
                    ..
                } => {
                    packet = inner;
                    at = NodeId(next.0);
                }
                Peeled::Deliver { payload, .. } => {
                    return (at == self.id(node)).then_some(payload);
                }
            }
        }
    }

    /// Carries a packet from one mix of layer 1 on, until a gateway or the end of its route.
    pub fn through_the_mixes(&self, first: NodeId, packet: &[u8]) -> (NodeId, Packet) {
        let mut at = first;
        let mut packet = Packet::from_bytes(self.parameters.geometry, packet).unwrap();
        loop {
            let node = self
                .nodes
                .iter()
                .find(|n| n.identity.node_id() == at)
                .unwrap();
            if node.role == Role::Gateway {
                return (at, packet);
            }
            let secret = node.secret(self.topology.epoch());
            match packet.open(&[&secret]).unwrap().finish() {
                Peeled::Forward {
                    packet: inner,
                    next,
                    ..
                } => {
                    packet = inner;
                    at = NodeId(next.0);
                }
                Peeled::Deliver { .. } => panic!("it ends at a mix"),
            }
        }
    }
}

impl Node {
    fn new(rng: &mut ChaCha20Rng, place: usize) -> Self {
        Self {
            identity: Identity::generate(rng),
            name: NodeName::new(&format!("node-{place}")).unwrap(),
            role: if place < GATEWAY {
                Role::Mix
            } else {
                Role::Gateway
            },
        }
    }

    fn secret(&self, epoch: Epoch) -> SecretKey {
        SecretKey::from_bytes(*self.identity.derive("test sphinx key", epoch.0))
    }

    fn descriptor(&self, epoch: Epoch) -> NodeDescriptor {
        let draft = NodeDraft {
            name: self.name.clone(),
            role: self.role,
            epoch,
            addresses: vec!["127.0.0.1:1".parse().unwrap()],
            sphinx_key: self.secret(epoch).public(),
            next_sphinx_key: self.secret(epoch.next()).public(),
            family: None,
        };
        NodeDescriptor::sign(&self.identity, draft)
    }
}

fn topology(nodes: &[Node], parameters: &Parameters, epoch: Epoch) -> Arc<Topology> {
    let some = |places: std::ops::Range<usize>| -> Vec<NodeDescriptor> {
        nodes[places].iter().map(|n| n.descriptor(epoch)).collect()
    };
    // Another order of layer 1 in every epoch, as the authorities would draw it.
    let mut first = some(0..2);
    first.rotate_left(usize::try_from(epoch.0 + 1).unwrap() % 2);
    let document = Document {
        network: [0; 32],
        epoch,
        previous: Previous {
            epoch: Epoch(0),
            hash: DocumentHash([0; 32]),
        },
        parameters: parameters.clone(),
        beacon: [0; 32],
        commitments: Vec::new(),
        silent: Vec::new(),
        layers: [first, some(2..4), some(4..6)],
        gateways: some(6..8),
        services: Vec::new(),
    };
    Topology::new(Arc::new(document), epoch).unwrap()
}
