//! Six mixes, two of them of one family, and gateways (two, if no more are asked for) that peel by
//! the shipped packet code, and the edges behind them.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use directory::{
    Document, DocumentHash, FamilyMember, Identity, NodeDescriptor, NodeDraft, Parameters, Place,
    Previous, Role, Topology,
};
use link::Frame;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;
use sphinx::{Address, Geometry, Hop, Packet, Peeled, RouteKey, SecretKey, Surb};
use subrosa_message::{
    Edge, EdgeConfig, EdgeEvent, Failure, LetterId, OpenedRequest, Recipient, RequestDraft,
    SealingKey, Timing,
};
use wire::{
    AnswerClass, Epoch, GraphHash, Handle, MailboxAddress, NodeId, NodeName, Outcome, RequestId,
    Response, SURB_LEN, SurbId, Time,
};

use crate::keepers::Keepers;

pub(crate) const MIXES: u8 = 6;
/// Where anonymous mailboxes have their place: two that keep one, and the owner's own.
pub(crate) const ANONYMOUS: u8 = 3;
const ATTACHED: u8 = 2;
const MOST_GATEWAYS: u8 = 4;
/// The first so many mixes, each of another layer, are of one family.
const KIN: u8 = 2;
const LINK: Duration = Duration::from_millis(5);

/// The mixes, then the gateways.
static NODES: LazyLock<Vec<NodeId>> = LazyLock::new(|| {
    let numbers = 0..MIXES + MOST_GATEWAYS;
    numbers.map(|number| identity(number).node_id()).collect()
});

fn identity(number: u8) -> Identity {
    Identity::from_seed(&[number + 1; 32])
}

/// The mix or gateway of this number; gateways come after the mixes.
pub(crate) fn node(number: u8) -> NodeId {
    NODES[usize::from(number)]
}

pub(crate) fn gateway(number: u8) -> NodeId {
    node(MIXES + number)
}

pub(crate) fn secret(number: u8, epoch: u64) -> SecretKey {
    let mut bytes = [number + 100; 32];
    bytes[0] = epoch as u8;
    SecretKey::from_bytes(bytes)
}

/// The document of an epoch; each epoch deals the mixes to the layers anew.
pub(crate) fn topology_with(epoch: u64, parameters: Parameters) -> Arc<Topology> {
    topology_of(epoch, parameters, ATTACHED)
}

fn topology_of(epoch: u64, parameters: Parameters, gateways: u8) -> Arc<Topology> {
    let descriptor = |number: u8| {
        let role = if number < MIXES {
            Role::Mix
        } else {
            Role::Gateway
        };
        NodeDescriptor::sign(
            &identity(number),
            NodeDraft {
                name: NodeName::new(&format!("node-{number}")).unwrap(),
                role,
                epoch: Epoch(epoch),
                addresses: vec!["127.0.0.1:9000".parse().unwrap()],
                sphinx_key: secret(number, epoch).public(),
                next_sphinx_key: secret(number, epoch + 1).public(),
                family: (number < KIN).then(|| FamilyMember::sign(&identity(99), &node(number))),
            },
        )
    };
    let mut layers: [Vec<NodeDescriptor>; 3] = Default::default();
    for number in 0..MIXES {
        layers[(usize::from(number) + epoch as usize) % 3].push(descriptor(number));
    }
    let document = Document {
        network: [1; 32],
        epoch: Epoch(epoch),
        previous: Previous {
            epoch: Epoch(epoch - 1),
            hash: DocumentHash([0; 32]),
        },
        parameters,
        beacon: [2; 32],
        commitments: Vec::new(),
        silent: Vec::new(),
        layers,
        gateways: (MIXES..MIXES + gateways).map(descriptor).collect(),
        services: Vec::new(),
    };
    Topology::new(Arc::new(document), Epoch(epoch)).unwrap()
}

pub(crate) fn topology(epoch: u64) -> Arc<Topology> {
    topology_with(epoch, Parameters::demo())
}

/// As [`topology`], with gateways enough for anonymous mailboxes.
pub(crate) fn anonymous_topology(epoch: u64) -> Arc<Topology> {
    topology_of(epoch, Parameters::demo(), ANONYMOUS)
}

/// What a participant with a mailbox keeps.
pub(crate) fn recipient(edge: &mut Edge, rng: &mut ChaCha20Rng, at: NodeId) -> Recipient {
    let mailbox = Identity::generate(rng).mailbox();
    let key = SealingKey::generate(rng);
    let sealing_key = key.public().clone();
    edge.open_mailbox(mailbox, key).unwrap();
    Recipient {
        gateways: vec![at],
        mailbox,
        sealing_key,
    }
}

pub(crate) fn draft(id: u8, class: AnswerClass, input: usize) -> RequestDraft {
    RequestDraft {
        id: RequestId([id; 16]),
        model: GraphHash([3; 32]),
        class,
        input: (0..input).map(|i| (i % 251) as u8).collect(),
    }
}

pub(crate) fn response(request: &OpenedRequest, output: usize) -> Response {
    Response {
        id: request.id,
        compute: Duration::from_millis(3),
        held: Duration::from_millis(250),
        outcome: Outcome::Output(vec![7; output]),
    }
}

/// Something on its way through the network.
enum Travelling {
    /// To a mix or gateway.
    Packet {
        to: NodeId,
        packet: Packet,
        /// Through the family already.
        through: bool,
    },
    /// From a gateway to the edge of this number.
    Frame { to: usize, frame: Vec<u8> },
}

/// A frame as a gateway hands it to a participant.
pub(crate) struct Delivered {
    pub(crate) to: usize,
    pub(crate) frame: Vec<u8>,
}

/// The network, with participants that each sit at gateway `number % 2`.
pub(crate) struct World {
    pub(crate) now: Time,
    pub(crate) edges: Vec<Edge>,
    pub(crate) rngs: Vec<ChaCha20Rng>,
    pub(crate) topology: Arc<Topology>,
    /// Share of packets that the first link loses.
    pub(crate) loss: f64,
    /// Share of packets that it brings twice.
    pub(crate) doubled: f64,
    /// Everything that was handed to a participant, if asked for.
    pub(crate) log: Option<Vec<Delivered>>,
    /// Times at which packets left, by participant.
    pub(crate) ticks: Vec<Vec<Time>>,
    pub(crate) requests: Vec<OpenedRequest>,
    pub(crate) responses: Vec<(Response, Timing)>,
    pub(crate) unanswered: Vec<(RequestId, Failure)>,
    /// What came, and to whom.
    pub(crate) letters: Vec<(usize, Vec<u8>)>,
    /// With so many of them their owner has no room for more.
    pub(crate) inbox: usize,
    pub(crate) delivered: Vec<LetterId>,
    pub(crate) undelivered: Vec<(LetterId, Failure)>,
    pub(crate) dropped: u64,
    handles: BTreeMap<Handle, usize>,
    mailboxes: BTreeMap<MailboxAddress, usize>,
    pub(crate) keepers: Keepers,
    travelling: BTreeMap<(Time, u64), Travelling>,
    sent: u64,
    secrets: BTreeMap<(u8, u64), &'static SecretKey>,
    rng: ChaCha20Rng,
}

impl World {
    pub(crate) fn new(seed: u64, classes: &[u8]) -> Self {
        Self::on(seed, classes, topology(1))
    }

    /// One in which anonymous mailboxes have their place.
    pub(crate) fn anonymous(seed: u64, classes: &[u8]) -> Self {
        Self::on(seed, classes, anonymous_topology(1))
    }

    /// One whose participants make no loops: whatever is lost, they withhold nothing.
    pub(crate) fn without_loops(seed: u64, classes: &[u8]) -> Self {
        let mut parameters = Parameters::demo();
        parameters.rates.client_loop = 0;
        Self::on(seed, classes, topology_with(1, parameters))
    }

    fn on(seed: u64, classes: &[u8], topology: Arc<Topology>) -> Self {
        let mut rngs: Vec<ChaCha20Rng> = (0..classes.len() as u64)
            .map(|place| ChaCha20Rng::seed_from_u64(seed * 100 + place))
            .collect();
        let edges = (0u8..)
            .zip(classes)
            .zip(&mut rngs)
            .map(|((number, class), rng)| {
                let config = EdgeConfig {
                    gateway: gateway(number % 2),
                    class: *class,
                };
                Edge::new(Time::ZERO, rng, config, Arc::clone(&topology)).unwrap()
            })
            .collect();
        let mut world = Self {
            now: Time::ZERO,
            edges,
            rngs,
            topology,
            loss: 0.0,
            doubled: 0.0,
            log: None,
            ticks: vec![Vec::new(); classes.len()],
            requests: Vec::new(),
            responses: Vec::new(),
            unanswered: Vec::new(),
            letters: Vec::new(),
            inbox: usize::MAX,
            delivered: Vec::new(),
            undelivered: Vec::new(),
            dropped: 0,
            handles: BTreeMap::new(),
            mailboxes: BTreeMap::new(),
            keepers: Keepers::default(),
            travelling: BTreeMap::new(),
            sent: 0,
            secrets: BTreeMap::new(),
            rng: ChaCha20Rng::seed_from_u64(seed * 100 + 99),
        };
        world.register();
        world
    }

    /// What every driver tells its gateway.
    pub(crate) fn register(&mut self) {
        for (number, edge) in self.edges.iter().enumerate() {
            self.handles.insert(edge.register().handle, number);
        }
    }

    /// Opens a mailbox for a participant at its own gateway.
    pub(crate) fn mailbox(&mut self, owner: usize) -> Recipient {
        let at = gateway((owner % 2) as u8);
        let to = recipient(&mut self.edges[owner], &mut self.rngs[owner], at);
        self.mailboxes.insert(to.mailbox, owner);
        to
    }

    pub(crate) fn ask(
        &mut self,
        from: usize,
        to: &Recipient,
        draft: &RequestDraft,
    ) -> subrosa_message::Flight {
        self.edges[from]
            .send_request(self.now, &mut self.rngs[from], to, draft, Time::MAX)
            .unwrap()
    }

    pub(crate) fn answer(&mut self, from: usize, request: OpenedRequest, output: usize) {
        let response = response(&request, output);
        self.edges[from]
            .send_response(self.now, &mut self.rngs[from], request.reply, &response)
            .unwrap();
    }

    /// Runs for `span`; requests and responses collect in this world.
    pub(crate) fn run(&mut self, span: Duration) {
        let until = self.now.after(span);
        while self.step(until) {}
    }

    /// As [`Self::run`], until `done`.
    pub(crate) fn run_until(&mut self, span: Duration, done: impl Fn(&Self) -> bool) {
        let until = self.now.after(span);
        while !done(self) && self.step(until) {}
    }

    /// Runs, and answers every request with `output` bytes.
    pub(crate) fn serve(&mut self, span: Duration, server: usize, output: usize) {
        let until = self.now.after(span);
        while self.step(until) {
            for request in std::mem::take(&mut self.requests) {
                self.answer(server, request, output);
            }
        }
    }

    /// Takes a packet through all its mixes at once: the frame that the gateway hands on.
    pub(crate) fn last_leg(&self, mut packet: Packet, gateway: NodeId) -> Vec<u8> {
        for number in [0, 1, 2, 3, 4, 5]
            .repeat(3)
            .into_iter()
            .chain(MIXES..MIXES + MOST_GATEWAYS)
        {
            let key = secret(number, self.topology.epoch().0);
            let Ok(opened) = packet.clone().open(&[&key]) else {
                continue;
            };
            let Peeled::Forward { packet: next, .. } = opened.finish() else {
                panic!("ends before its gateway");
            };
            packet = next;
            if node(number) == gateway {
                let frame = Frame::new(Frame::PACKET, packet.as_bytes());
                return frame.as_bytes().to_vec();
            }
        }
        panic!("does not come to this gateway")
    }

    fn step(&mut self, until: Time) -> bool {
        let tick = self.edges.iter().filter_map(Edge::poll_timeout).min();
        let arrival = self.travelling.keys().next().map(|(time, _)| *time);
        let next = [tick, arrival].into_iter().flatten().min().unwrap();
        if next > until {
            self.now = until;
            return false;
        }
        self.now = next;
        if arrival == Some(next) {
            let (_, travelling) = self.travelling.pop_first().unwrap();
            self.arrive(travelling);
        }
        for number in 0..self.edges.len() {
            if self.edges[number].poll_timeout() <= Some(next) {
                self.edges[number].handle_timeout(next, &mut self.rngs[number]);
            }
            self.pump(number);
        }
        true
    }

    /// Moves what one participant has to send and to tell.
    pub(crate) fn pump(&mut self, number: usize) {
        while let Some((index, packet)) = self.edges[number].poll_transmit(self.now) {
            assert_eq!(packet.as_bytes().len(), Geometry::DEFAULT.packet_len());
            self.ticks[number].push(self.now);
            let to = self.topology.layer(1)[usize::from(index)].id;
            let through = false;
            if self.rng.random_range(0.0..1.0) < self.doubled {
                let packet = packet.clone();
                self.travel(
                    LINK * 2,
                    Travelling::Packet {
                        to,
                        packet,
                        through,
                    },
                );
            }
            if self.rng.random_range(0.0..1.0) >= self.loss {
                self.travel(
                    LINK,
                    Travelling::Packet {
                        to,
                        packet,
                        through,
                    },
                );
            }
        }
        while let Some(event) = self.edges[number].poll_event() {
            match event {
                EdgeEvent::Request(request) => self.requests.push(request),
                EdgeEvent::Response { response, timing } => self.responses.push((response, timing)),
                EdgeEvent::Unanswered { request, why } => self.unanswered.push((request, why)),
                EdgeEvent::Letter(letter) => {
                    self.letters.push((number, letter.body.to_vec()));
                    self.edges[number].set_full(self.letters.len() >= self.inbox);
                }
                EdgeEvent::Delivered { letter } => self.delivered.push(letter),
                EdgeEvent::Undelivered { letter, why } => self.undelivered.push((letter, why)),
                EdgeEvent::Loop { .. } | EdgeEvent::Verdict(_) => {}
            }
        }
        let edge = &self.edges[number];
        assert!(edge.ledger().balances(edge.held()));
    }

    fn travel(&mut self, delay: Duration, travelling: Travelling) {
        self.sent += 1;
        let key = (self.now.after(delay), self.sent);
        self.travelling.insert(key, travelling);
    }

    fn arrive(&mut self, travelling: Travelling) {
        match travelling {
            Travelling::Frame { to, frame } => {
                if let Some(log) = &mut self.log {
                    let frame = frame.clone();
                    log.push(Delivered { to, frame });
                }
                self.edges[to].handle_frame(self.now, &mut self.rngs[to], &frame);
            }
            Travelling::Packet {
                to,
                packet,
                through,
            } => self.peel(to, packet, through),
        }
    }

    fn peel(&mut self, at: NodeId, packet: Packet, through: bool) {
        let epoch = self.topology.epoch().0;
        let Some(number) = NODES.iter().position(|node| *node == at) else {
            // A handle that nobody has: its gateway refuses the packet.
            return;
        };
        let number = number as u8;
        assert!(!(through && number < KIN), "two of one family on a route");
        let through = through || number < KIN;
        let keys = [epoch, epoch - 1].map(|epoch| {
            let key = self.secrets.entry((number, epoch));
            *key.or_insert_with(|| Box::leak(Box::new(secret(number, epoch))))
        });
        let Ok(opened) = packet.open(&keys) else {
            return;
        };
        match opened.finish() {
            Peeled::Forward {
                packet,
                next,
                delay,
            } => match self.handles.get(&Handle(next.0)) {
                Some(to) if self.topology.place(&at) == Some(Place::Gateway) => {
                    assert_eq!(delay, Duration::ZERO);
                    let to = *to;
                    let frame = Frame::new(Frame::PACKET, packet.as_bytes());
                    let frame = frame.as_bytes().to_vec();
                    self.travel(LINK, Travelling::Frame { to, frame });
                }
                _ => {
                    let to = NodeId(next.0);
                    self.travel(
                        delay + LINK,
                        Travelling::Packet {
                            to,
                            packet,
                            through,
                        },
                    );
                }
            },
            Peeled::Deliver {
                address, payload, ..
            } => {
                assert_eq!(self.topology.place(&at), Some(Place::Gateway));
                let plaintext = payload.plaintext().unwrap();
                self.deliver(at, address, &plaintext);
            }
        }
    }
}

impl World {
    /// What a gateway does with a packet that ends there.
    fn deliver(&mut self, at: NodeId, address: Address, plaintext: &[u8]) {
        let mailbox = MailboxAddress(address.0);
        if address == Address::DROP {
            self.dropped += 1;
        } else if address == Address::FEED {
            let leaving = self.keepers.feed(at, plaintext);
            self.forward(leaving);
        } else if let Some(leaving) = self.keepers.put(at, mailbox, plaintext) {
            self.forward(leaving);
        } else if let Some(to) = self.mailboxes.get(&mailbox) {
            let (to, frame) = (*to, item(plaintext));
            self.travel(LINK, Travelling::Frame { to, frame });
        } else {
            // Not fed yet: its gateway refuses the packet.
            assert_eq!(self.topology.gateways().len(), usize::from(ANONYMOUS));
        }
    }

    fn forward(&mut self, leaving: Vec<(NodeId, Packet)>) {
        for (to, packet) in leaving {
            let through = false;
            let travelling = Travelling::Packet {
                to,
                packet,
                through,
            };
            self.travel(LINK, travelling);
        }
    }
}

/// The frame in which a gateway forwards a packet of a mailbox.
pub(crate) fn item(plaintext: &[u8]) -> Vec<u8> {
    let mut item = vec![0; 16];
    item.extend_from_slice(plaintext);
    item.resize(Geometry::DEFAULT.packet_len(), 0);
    let frame = Frame::new(Frame::MAILBOX_ITEM, &item);
    frame.as_bytes().to_vec()
}

/// A mix of layer 1 in the first epoch.
pub(crate) const LAYER_1: u8 = 2;

/// A reply block of somebody else, over this first hop.
pub(crate) fn surb(rng: &mut ChaCha20Rng, first: u8) -> [u8; SURB_LEN] {
    let hop = |number: u8| Hop {
        address: node(number).into(),
        key: RouteKey::new(secret(number, 1).public()).unwrap(),
        delay: Duration::ZERO,
    };
    let home = SecretKey::generate(rng);
    let last = Hop {
        address: Handle([9; 32]).into(),
        key: RouteKey::new(home.public()).unwrap(),
        delay: Duration::ZERO,
    };
    let route = [hop(first), hop(3), hop(4), hop(6), last];
    let (surb, _) = Surb::create(rng, &route, SurbId([3; 16])).unwrap();
    surb.to_bytes()
}

/// A fragment as it stands inside the seal (docs/spec/message.md, 5.3); its secret is one byte
/// repeated, its end is the next index.
pub(crate) fn fragment(
    secret: u8,
    (length, index): (u32, u32),
    surbs: &[[u8; SURB_LEN]],
    symbol: &[u8],
) -> Vec<u8> {
    let mut body = vec![secret; 32];
    body.extend(length.to_be_bytes());
    body.extend(index.to_be_bytes());
    body.extend(index.wrapping_add(1).to_be_bytes());
    body.push(surbs.len() as u8);
    body.extend(surbs.concat());
    body.extend(symbol);
    body.resize(BODY_LEN, 0);
    body
}

/// Bytes inside the seal of a packet to a mailbox.
pub(crate) const BODY_LEN: usize = 6_927;
