//! A mix's or gateway's part in the directory, as its driver plays it, with the disk in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use directory::{
    Descriptor, DirectoryError, DocumentHash, Identity, Network, NodeDescriptor, NodeDraft, Role,
    Schedule, Subscriber, SubscriberEvent, Topology, View,
};
use mix::membership::neighbours;
use mix::peel::{LogEntry, Window};
use rand::{CryptoRng, RngExt};
use sphinx::SecretKey;
use store::ShortTag;
use wire::{Call, Encode, Epoch, NodeId, NodeName, Reply, Time};

/// Who a node is.
pub(crate) struct Member {
    pub(crate) name: NodeName,
    pub(crate) role: Role,
    pub(crate) address: std::net::SocketAddr,
    pub(crate) identity: Identity,
    pub(crate) network: Arc<Network>,
}

/// What survives a crash.
#[derive(Default)]
pub(crate) struct Disk {
    keys: BTreeMap<Epoch, [u8; 32]>,
    logs: BTreeMap<Epoch, Vec<ShortTag>>,
    descriptors: BTreeMap<Epoch, Vec<u8>>,
    documents: BTreeMap<Epoch, Arc<[u8]>>,
}

/// What the node's core is told.
pub(crate) enum News {
    /// A key whose window begins.
    Key {
        epoch: Epoch,
        window: Window,
        secret: SecretKey,
        logged: Vec<ShortTag>,
    },
    /// A document of an epoch that begins soon, or has begun.
    Document {
        topology: Arc<Topology>,
        consensus: Arc<[u8]>,
    },
    /// What to send by from now on.
    Current(Result<Arc<Topology>, DirectoryError>),
}

/// A member between two crashes.
pub(crate) struct Membership {
    schedule: Schedule,
    subscriber: Subscriber,
    waiting: BTreeSet<Epoch>,
    announced: Option<(Epoch, Option<DocumentHash>)>,
    topologies: BTreeMap<Epoch, Arc<Topology>>,
    admitted: BTreeSet<NodeId>,
}

impl Disk {
    /// Appends a tag to the log of its key.
    pub(crate) fn log(&mut self, entry: LogEntry) {
        self.logs.entry(entry.epoch).or_default().push(entry.tag);
    }
}

impl Membership {
    /// Takes up what the disk holds.
    pub(crate) fn start(now: Time, member: &Member, disk: &Disk) -> (Self, Vec<News>) {
        let network = Arc::clone(&member.network);
        let authorities = network.authorities().iter().map(|entry| entry.id).collect();
        let schedule = network.schedule();
        let view = View::new(network);
        let mut subscriber = Subscriber::publishing(now, view, authorities);
        if member.role == Role::Gateway {
            subscriber = subscriber.handing_on_clocks();
        }
        let mut news = Vec::new();
        for consensus in disk.documents.values() {
            // One that is too old by now is of no use.
            if let Ok(topology) = subscriber.accept(now, consensus) {
                let consensus = Arc::clone(consensus);
                news.push(News::Document {
                    topology,
                    consensus,
                });
            }
        }
        let mut membership = Self {
            schedule,
            subscriber,
            waiting: disk.keys.keys().copied().collect(),
            announced: None,
            topologies: BTreeMap::new(),
            admitted: BTreeSet::new(),
        };
        for told in &news {
            membership.meet(member, told);
        }
        (membership, news)
    }

    /// Does what is due.
    pub(crate) fn advance(
        &mut self,
        now: Time,
        rng: &mut dyn CryptoRng,
        member: &Member,
        disk: &mut Disk,
    ) -> Vec<News> {
        let mut news = Vec::new();
        self.subscriber.handle_timeout(now);
        while let Some(event) = self.subscriber.poll_event() {
            match event {
                SubscriberEvent::NeedDescriptor(epoch) => {
                    let descriptor = self.descriptor(rng, member, disk, epoch);
                    self.subscriber.offer(now, epoch, descriptor);
                }
                SubscriberEvent::Document(topology) => {
                    news.extend(self.accepted(topology, disk));
                }
                _ => {}
            }
        }
        self.load_keys(now, member, disk, &mut news);
        self.announce(now, &mut news);
        for told in &news {
            self.meet(member, told);
        }
        news
    }

    /// The next call to an authority.
    pub(crate) fn poll_transmit(&mut self) -> Option<(NodeId, Call)> {
        self.subscriber.poll_transmit()
    }

    /// What the authorities' clocks showed of late, to hand on.
    pub(crate) fn clock_readings(&self, now: Time) -> Vec<u8> {
        self.subscriber.clock_readings(now)
    }

    /// What an authority said.
    pub(crate) fn handle_reply(&mut self, now: Time, from: NodeId, call: &Call, reply: Reply) {
        self.subscriber.handle_reply(now, from, call, reply);
    }

    /// When [`Self::advance`] has something to do next.
    pub(crate) fn poll_timeout(&self, now: Time, member: &Member) -> Time {
        let epoch = self.schedule.epoch_at(now).unwrap_or(Epoch(0));
        let key = self.waiting.first();
        let key = key.map(|epoch| window(*epoch, &self.schedule, member).from);
        key.into_iter()
            .chain([self.schedule.end(epoch), self.subscriber.poll_timeout()])
            .fold(Time::MAX, Time::min)
    }

    /// Whether this node may send us packets.
    pub(crate) fn admits(&self, from: &NodeId) -> bool {
        self.admitted.contains(from)
    }

    fn descriptor(
        &mut self,
        rng: &mut dyn CryptoRng,
        member: &Member,
        disk: &mut Disk,
        epoch: Epoch,
    ) -> Vec<u8> {
        let mut public = |epoch| {
            let secret = disk.keys.entry(epoch).or_insert_with(|| rng.random());
            SecretKey::from_bytes(*secret).public()
        };
        let draft = NodeDraft {
            name: member.name.clone(),
            role: member.role,
            epoch,
            addresses: vec![member.address],
            sphinx_key: public(epoch),
            next_sphinx_key: public(epoch.next()),
            family: None,
        };
        self.waiting.extend([epoch, epoch.next()]);
        let signed = || Descriptor::Node(NodeDescriptor::sign(&member.identity, draft)).to_bytes();
        disk.descriptors.entry(epoch).or_insert_with(signed).clone()
    }

    fn accepted(&mut self, topology: Arc<Topology>, disk: &mut Disk) -> Option<News> {
        let epoch = topology.epoch();
        let consensus: Arc<[u8]> = self.subscriber.view().consensus(epoch)?.into();
        disk.documents.insert(epoch, Arc::clone(&consensus));
        while disk.documents.len() > View::DEPTH {
            disk.documents.pop_first();
        }
        self.announced = None;
        Some(News::Document {
            topology,
            consensus,
        })
    }

    fn load_keys(&mut self, now: Time, member: &Member, disk: &mut Disk, news: &mut Vec<News>) {
        while let Some(epoch) = self.waiting.first().copied() {
            let window = window(epoch, &self.schedule, member);
            if window.from > now {
                break;
            }
            self.waiting.pop_first();
            if window.until <= now {
                disk.keys.remove(&epoch);
                disk.logs.remove(&epoch);
                continue;
            }
            if let Some(secret) = disk.keys.get(&epoch) {
                news.push(News::Key {
                    epoch,
                    window,
                    secret: SecretKey::from_bytes(*secret),
                    logged: disk.logs.get(&epoch).cloned().unwrap_or_default(),
                });
            }
        }
    }

    fn announce(&mut self, now: Time, news: &mut Vec<News>) {
        let Some(epoch) = self.schedule.epoch_at(now) else {
            return;
        };
        let current = self.subscriber.current(now);
        let announced = (epoch, current.as_ref().ok().map(|t| *t.hash()));
        if self.announced != Some(announced) {
            self.announced = Some(announced);
            news.push(News::Current(current));
        }
    }

    /// Whom to admit, by the documents of this epoch and its neighbours.
    fn meet(&mut self, member: &Member, news: &News) {
        let current = match news {
            News::Document { topology, .. } => {
                self.topologies
                    .insert(topology.epoch(), Arc::clone(topology));
                return self.admit(member);
            }
            News::Current(Ok(topology)) => topology,
            _ => return,
        };
        let epoch = current.epoch();
        self.topologies.insert(epoch, Arc::clone(current));
        self.topologies.retain(|kept, _| kept.next() >= epoch);
        self.admit(member);
    }

    fn admit(&mut self, member: &Member) {
        let me = member.identity.node_id();
        let (_, admit) = neighbours(&me, self.topologies.values());
        self.admitted = admit.into_iter().collect();
    }
}

fn window(epoch: Epoch, schedule: &Schedule, member: &Member) -> Window {
    Window::of(epoch, schedule, member.network.parameters())
}
