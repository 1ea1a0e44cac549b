//! Authorities on a virtual clock, their calls delivered in memory, late or not at all.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use directory::{
    AuthorityEntry, Consensus, Descriptor, Document, Identity, Network, NetworkDraft,
    NodeDescriptor, NodeDraft, Parameters, Role,
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use sphinx::SecretKey;
use subrosa_authority::ballot::{Assent, Ballot, List, Reveal};
use subrosa_authority::{Authority, Event, Everybody, Evidence};
use wire::{Call, CallRefused, Encode, Epoch, NodeId, NodeName, Reply, Time};

/// Four authorities, of which three sign; or as many as asked for.
pub(crate) struct Town {
    pub(crate) now: Time,
    pub(crate) network: Arc<Network>,
    members: Vec<Member>,
    wire: BTreeMap<(Time, u64), Parcel>,
    sent: u64,
    rng: ChaCha20Rng,
    /// Of a thousand calls and replies, how many get lost.
    pub(crate) loss_per_mille: u32,
}

struct Member {
    core: Option<Authority>,
    clock: Off,
    disk: Option<Vec<u8>>,
    events: Vec<Event>,
    evidence: Vec<Evidence>,
}

/// How far an authority's clock is from the town's.
#[derive(Clone, Copy)]
pub(crate) enum Off {
    Behind(Duration),
    Ahead(Duration),
}

impl Off {
    /// What the clock shows at `now`.
    fn shown(self, now: Time) -> Time {
        match self {
            Self::Behind(by) => now.before(by),
            Self::Ahead(by) => now.after(by),
        }
    }

    /// When the clock shows `shown`.
    fn when(self, shown: Time) -> Time {
        match self {
            Self::Behind(by) => shown.after(by),
            Self::Ahead(by) => shown.before(by),
        }
    }
}

struct Parcel {
    from: usize,
    to: usize,
    what: What,
}

enum What {
    Call(Call),
    Reply(Reply),
}

impl Town {
    pub(crate) fn new(seed: u64) -> Self {
        Self::of(4, 3, seed)
    }

    pub(crate) fn of(n: usize, threshold: u8, seed: u64) -> Self {
        Self::in_network(network(n, threshold), seed)
    }

    /// Four authorities that vote at the pace of real networks.
    pub(crate) fn slow(seed: u64) -> Self {
        let parameters = Parameters {
            local_addresses: true,
            ..Parameters::default()
        };
        Self::in_network(network_with(4, 3, parameters), seed)
    }

    fn in_network(network: Network, seed: u64) -> Self {
        let (n, network) = (network.authorities().len(), Arc::new(network));
        let members = (0..n).map(|place| Member {
            core: Some(Authority::new(
                identity(place),
                Arc::clone(&network),
                Box::new(Everybody),
            )),
            clock: Off::Ahead(Duration::ZERO),
            disk: None,
            events: Vec::new(),
            evidence: Vec::new(),
        });
        Self {
            now: network.schedule().publish_at(Epoch(1)),
            members: members.collect(),
            network,
            wire: BTreeMap::new(),
            sent: 0,
            rng: ChaCha20Rng::seed_from_u64(seed),
            loss_per_mille: 0,
        }
    }

    /// Publishes the descriptors of nine mixes and four gateways everywhere.
    pub(crate) fn register(&mut self, epoch: Epoch) {
        for number in 0..13 {
            let bytes = node(number, epoch).to_bytes();
            for place in 0..self.members.len() {
                self.publish(place, &bytes);
            }
        }
    }

    /// Publishes at one authority; nothing comes of it if that is down.
    pub(crate) fn publish(&mut self, place: usize, bytes: &[u8]) -> Option<Reply> {
        self.call(place, None, Call::Publish(bytes.to_vec()))
    }

    /// Delivers a call of somebody that the test plays.
    pub(crate) fn call(&mut self, to: usize, from: Option<NodeId>, call: Call) -> Option<Reply> {
        let member = &mut self.members[to];
        let now = member.clock.shown(self.now);
        let core = member.core.as_mut()?;
        let reply = core.handle_call(now, from, &call);
        self.settle(to);
        Some(reply)
    }

    /// Delivers a ballot of the authority `from`, which the test plays.
    pub(crate) fn ballot(&mut self, from: usize, to: usize, ballot: Ballot) -> Option<Reply> {
        let call = Call::Ballot(ballot.to_bytes());
        self.call(to, Some(identity(from).node_id()), call)
    }

    /// Delivers a reply of the authority `from`, which the test plays.
    pub(crate) fn reply(&mut self, from: usize, to: usize, reply: Reply) {
        let now = self.members[to].clock.shown(self.now);
        if let Some(core) = &mut self.members[to].core {
            core.handle_reply(now, identity(from).node_id(), &reply);
            self.settle(to);
        }
    }

    /// Sets an authority's clock.
    pub(crate) fn set_clock(&mut self, place: usize, clock: Off) {
        self.members[place].clock = clock;
    }

    pub(crate) fn stop(&mut self, place: usize) {
        let member = &mut self.members[place];
        if let Some(core) = member.core.take() {
            member.evidence.extend(core.evidence().iter().cloned());
        }
    }

    /// Starts a stopped authority again, with what it had stored.
    pub(crate) fn start(&mut self, place: usize) {
        let network = Arc::clone(&self.network);
        let mut core = Authority::new(identity(place), network, Box::new(Everybody));
        if let Some(record) = &self.members[place].disk {
            core.restore(record).unwrap();
        }
        self.members[place].core = Some(core);
        self.settle(place);
    }

    /// Runs everything up to `until`.
    pub(crate) fn run_until(&mut self, until: Time) {
        loop {
            let parcel = self.wire.keys().next().map(|(at, _)| *at);
            let timers = self.members.iter().filter_map(|member| {
                let due = member.core.as_ref()?.poll_timeout();
                Some(member.clock.when(due))
            });
            let timer = timers.min();
            let Some(next) = parcel.into_iter().chain(timer).min() else {
                break;
            };
            if next > until {
                break;
            }
            self.now = self.now.max(next);
            if parcel == Some(next) {
                self.deliver();
            } else {
                self.tick();
            }
        }
        self.now = self.now.max(until);
    }

    /// Runs to the start of `epoch`.
    pub(crate) fn run_to(&mut self, epoch: Epoch) {
        self.run_until(self.network.schedule().start(epoch));
    }

    pub(crate) fn consensus(&self, place: usize) -> Option<&Consensus> {
        self.members[place].core.as_ref()?.newest()
    }

    /// The newest document, the same at each of `places`.
    pub(crate) fn agreed(&self, places: &[usize], epoch: Epoch) -> Document {
        let first = self.consensus(places[0]).expect("a consensus");
        assert_eq!(first.document.epoch, epoch);
        for place in places {
            let consensus = self.consensus(*place).expect("a consensus");
            assert_eq!(consensus.document, first.document, "at authority {place}");
            assert_eq!(consensus.verify(&self.network), Ok(()));
        }
        first.document.clone()
    }

    pub(crate) fn evidence(&self, place: usize) -> Vec<Evidence> {
        let member = &self.members[place];
        let now = member.core.iter().flat_map(|core| core.evidence().iter());
        member.evidence.iter().chain(now).cloned().collect()
    }

    pub(crate) fn events(&self, place: usize) -> &[Event] {
        &self.members[place].events
    }

    pub(crate) fn disk(&self, place: usize) -> Option<&[u8]> {
        self.members[place].disk.as_deref()
    }

    fn tick(&mut self) {
        for place in 0..self.members.len() {
            let now = self.members[place].clock.shown(self.now);
            if let Some(core) = &mut self.members[place].core
                && core.poll_timeout() <= now
            {
                core.handle_timeout(now);
                assert!(core.poll_timeout() > now, "a timer that stays due");
                self.settle(place);
            }
        }
    }

    fn deliver(&mut self) {
        let Some((_, parcel)) = self.wire.pop_first() else {
            return;
        };
        let now = self.members[parcel.to].clock.shown(self.now);
        let Some(core) = &mut self.members[parcel.to].core else {
            return;
        };
        match parcel.what {
            What::Call(call) => {
                let from = identity(parcel.from).node_id();
                let reply = core.handle_call(now, Some(from), &call);
                self.settle(parcel.to);
                self.send(parcel.to, parcel.from, What::Reply(reply));
            }
            What::Reply(reply) => {
                core.handle_reply(now, identity(parcel.from).node_id(), &reply);
                self.settle(parcel.to);
            }
        }
    }

    /// Stores first, then sends.
    fn settle(&mut self, place: usize) {
        let member = &mut self.members[place];
        let Some(core) = &mut member.core else {
            return;
        };
        if let Some(record) = core.poll_persist() {
            member.disk = Some(record);
        }
        member
            .events
            .extend(std::iter::from_fn(|| core.poll_event()));
        let calls: Vec<_> = std::iter::from_fn(|| core.poll_transmit()).collect();
        for (peer, call) in calls {
            let to = place_of(&self.network, &peer);
            self.send(place, to, What::Call(call));
        }
    }

    fn send(&mut self, from: usize, to: usize, what: What) {
        if self.rng.next_u32() % 1000 < self.loss_per_mille {
            return;
        }
        let late = Duration::from_micros(u64::from(1000 + self.rng.next_u32() % 20_000));
        self.sent += 1;
        let parcel = Parcel { from, to, what };
        self.wire.insert((self.now.after(late), self.sent), parcel);
    }
}

pub(crate) fn network(n: usize, threshold: u8) -> Network {
    network_with(n, threshold, Parameters::demo())
}

fn network_with(n: usize, threshold: u8, parameters: Parameters) -> Network {
    let authorities = (0..n).map(|place| AuthorityEntry {
        id: identity(place).node_id(),
        name: NodeName::new(&format!("authority-{place}")).unwrap(),
        addresses: vec![format!("127.0.0.1:{}", 4000 + place).parse().unwrap()],
    });
    Network::new(NetworkDraft {
        authorities: authorities.collect(),
        threshold,
        genesis: Time::from_nanos(10_000_000_000_000),
        parameters,
        bootstrap: Vec::new(),
    })
    .unwrap()
}

/// The identity of the authority at `place`.
pub(crate) fn identity(place: usize) -> Identity {
    Identity::from_seed(&[u8::try_from(place).unwrap() + 1; 32])
}

fn place_of(network: &Network, id: &NodeId) -> usize {
    let mut entries = network.authorities().iter();
    entries.position(|entry| entry.id == *id).unwrap()
}

/// Node `number`: nine mixes, then gateways.
pub(crate) fn node(number: u16, epoch: Epoch) -> Descriptor {
    node_at(number, epoch, 5000 + number)
}

/// The same node at another port: another descriptor.
pub(crate) fn node_at(number: u16, epoch: Epoch, port: u16) -> Descriptor {
    let mut seed = [100; 32];
    seed[..2].copy_from_slice(&number.to_be_bytes());
    Descriptor::Node(NodeDescriptor::sign(
        &Identity::from_seed(&seed),
        NodeDraft {
            name: NodeName::new(&format!("node-{number}")).unwrap(),
            role: if number < 9 { Role::Mix } else { Role::Gateway },
            epoch,
            addresses: vec![format!("127.0.0.1:{port}").parse().unwrap()],
            sphinx_key: sphinx_key(number, epoch).public(),
            next_sphinx_key: sphinx_key(number, epoch.next()).public(),
            family: None,
        },
    ))
}

fn sphinx_key(number: u16, epoch: Epoch) -> SecretKey {
    let mut material = [0; 10];
    material[..2].copy_from_slice(&number.to_be_bytes());
    material[2..].copy_from_slice(&epoch.0.to_be_bytes());
    SecretKey::from_bytes(blake3::derive_key("test sphinx key", &material))
}

/// A list that the authority at `place` could sign, were it to lie.
pub(crate) fn list(town: &Town, place: usize, epoch: Epoch, descriptors: &[Descriptor]) -> List {
    let mut hashes: Vec<_> = descriptors.iter().map(Descriptor::hash).collect();
    hashes.sort_unstable();
    List {
        epoch,
        author: identity(place).node_id(),
        previous: None,
        commitment: [9; 32],
        descriptors: hashes,
        signature: [0; 64],
    }
    .signed(&identity(place), &town.network)
}

/// A reveal that the authority at `place` could sign.
pub(crate) fn reveal(town: &Town, place: usize, epoch: Epoch, share: [u8; 32]) -> Reveal {
    Reveal {
        epoch,
        author: identity(place).node_id(),
        share,
        doubled: Vec::new(),
        signature: [0; 64],
    }
    .signed(&identity(place), &town.network)
}

/// A signature of the authority at `place` over any document.
pub(crate) fn assent(town: &Town, place: usize, document: &Document) -> Assent {
    let (epoch, hash) = (document.epoch, document.hash());
    Assent {
        epoch,
        signer: identity(place).node_id(),
        hash,
        signature: directory::sign_document(&identity(place), &town.network, epoch, &hash),
    }
}

pub(crate) fn names(document: &Document) -> Vec<String> {
    let mut names: Vec<_> = document.nodes().map(|n| n.name.to_string()).collect();
    names.sort();
    names
}

pub(crate) fn refused(why: CallRefused) -> Option<Reply> {
    Some(Reply::Refused(why))
}
