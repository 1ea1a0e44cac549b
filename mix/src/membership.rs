//! A node's part in the directory: publishes its descriptor, follows the documents, has its
//! keys ready. For mixes and gateways alike.
//!
//! Documents and descriptors are on the disk before anything is done with them, so that a node
//! that comes back knows the network, and never signs two descriptors for one epoch.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use directory::{
    Descriptor, DirectoryError, FamilyMember, Identity, Network, NodeDescriptor, NodeDraft, Role,
    Schedule, Subscriber, SubscriberEvent, Topology, View,
};
use link::{LinkError, Mesh, Services};
use store::{Batch, Bytes, Durable, StateDir, StoreError, Table};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use wire::{Call, Encode, Epoch, NodeId, NodeName, Reply, Time};

use crate::keys::{EpochKeys, LoadedKey};
use crate::peel::Window;

/// Who a node is in the documents.
pub struct Member {
    /// Its name.
    pub name: NodeName,
    /// What it does.
    pub role: Role,
    /// Where others reach it.
    pub addresses: Vec<SocketAddr>,
    /// Its identity.
    pub identity: Arc<Identity>,
    /// Whose it is, if its operator runs others.
    pub family: Option<FamilyMember>,
    /// The network that it is part of.
    pub network: Arc<Network>,
}

/// What a node learns from the directory, in the order in which to act on it.
#[non_exhaustive]
pub enum MemberEvent {
    /// A key whose window begins, or has begun.
    Key {
        /// The key with its log.
        key: Box<LoadedKey>,
        /// When it is in force.
        window: Window,
    },
    /// A document was accepted; its epoch may start later.
    Document {
        /// The topology of its epoch.
        topology: Arc<Topology>,
        /// The consensus, to hand to others.
        consensus: Arc<[u8]>,
    },
    /// What the authorities' clocks show, encoded, to hand to others: for gateways.
    Clocks(Arc<[u8]>),
    /// From now on this is the topology to send by; without one, nothing is sent.
    Current(Result<Arc<Topology>, DirectoryError>),
}

/// Follows the directory until it is dropped or its listener goes.
pub struct Membership {
    member: Member,
    schedule: Schedule,
    authorities: BTreeMap<NodeId, Vec<SocketAddr>>,
    subscriber: Subscriber,
    durable: Durable,
    keys: Arc<EpochKeys>,
    /// Epochs whose keys are on the disk and not in use yet.
    waiting: BTreeSet<Epoch>,
    /// The epoch and document that were last announced as current.
    announced: Option<(Epoch, Option<directory::DocumentHash>)>,
    erased_below: Epoch,
}

impl Membership {
    /// Takes up what the state directory holds. Waits for the disk.
    ///
    /// # Errors
    /// What the store says.
    pub fn open(
        now: Time,
        member: Member,
        state: StateDir,
        durable: Durable,
    ) -> Result<Self, StoreError> {
        let authorities: BTreeMap<_, _> = member
            .network
            .authorities()
            .iter()
            .map(|entry| (entry.id, entry.addresses.clone()))
            .collect();
        let view = View::new(Arc::clone(&member.network));
        let sources = authorities.keys().copied().collect();
        let mut subscriber = Subscriber::publishing(now, view, sources);
        if member.role == Role::Gateway {
            subscriber = subscriber.handing_on_clocks();
        }
        for (epoch, consensus) in durable.scan(&DOCUMENTS, .., View::DEPTH)? {
            if let Err(refused) = subscriber.accept(now, &consensus.0) {
                tracing::info!(%epoch, %refused, "document on disk is of no use any more");
            }
        }
        let keys = EpochKeys::new(state, durable.clone());
        Ok(Self {
            schedule: member.network.schedule(),
            waiting: keys.epochs()?.into_iter().collect(),
            keys: Arc::new(keys),
            member,
            authorities,
            subscriber,
            durable,
            announced: None,
            erased_below: Epoch(0),
        })
    }

    /// Runs until nobody listens to `events` any more.
    ///
    /// # Errors
    /// What the store says: a node whose state is damaged takes no further part.
    pub async fn run(
        mut self,
        mesh: Mesh,
        services: Services,
        events: mpsc::Sender<MemberEvent>,
    ) -> Result<(), StoreError> {
        let mut calls = JoinSet::new();
        self.announce_held(&services, &events).await;
        while !events.is_closed() {
            let now = services.clock.now();
            self.subscriber.handle_timeout(now);
            self.take_events(&services, &events).await?;
            self.load_keys(now, &events).await?;
            self.announce_current(now, &events).await;
            self.erase_keys(now).await?;
            while let Some((authority, call)) = self.subscriber.poll_transmit() {
                let addresses = self.authorities.get(&authority).cloned();
                let mesh = mesh.clone();
                calls.spawn(async move {
                    let addresses = addresses.unwrap_or_default();
                    let reply = mesh.call_at(authority, &addresses, &call, DEADLINE).await;
                    (authority, call, reply)
                });
            }
            let due = self.next_due(now).since(services.clock.now());
            tokio::select! {
                Some(Ok(answered)) = calls.join_next() => {
                    self.answered(&services, answered, &events).await;
                }
                () = tokio::time::sleep(due) => {}
                () = events.closed() => {}
            }
        }
        Ok(())
    }

    async fn answered(
        &mut self,
        services: &Services,
        (authority, call, reply): (NodeId, Call, Result<Reply, LinkError>),
        events: &mpsc::Sender<MemberEvent>,
    ) {
        match reply {
            Ok(reply) => {
                let now = services.clock.now();
                self.subscriber.handle_reply(now, authority, &call, reply);
                if call == Call::Clocks && self.member.role == Role::Gateway {
                    let readings = self.subscriber.clock_readings(now);
                    tell(events, MemberEvent::Clocks(readings.into())).await;
                }
            }
            Err(error) => tracing::debug!(%authority, %error, "authority did not answer"),
        }
    }

    async fn take_events(
        &mut self,
        services: &Services,
        events: &mpsc::Sender<MemberEvent>,
    ) -> Result<(), StoreError> {
        while let Some(event) = self.subscriber.poll_event() {
            match event {
                SubscriberEvent::NeedDescriptor(epoch) => {
                    let descriptor = self.descriptor(services, epoch).await?;
                    let now = services.clock.now();
                    self.subscriber.offer(now, epoch, descriptor);
                }
                SubscriberEvent::Document(topology) => self.accepted(topology, events).await?,
                SubscriberEvent::Published(epoch) => tracing::info!(%epoch, "published"),
                SubscriberEvent::PublishedInPart { epoch, missing } => {
                    tracing::warn!(%epoch, missing, "published to some authorities only");
                }
                SubscriberEvent::PublishRefused { epoch, by, why } => {
                    tracing::warn!(%epoch, %by, %why, "descriptor refused");
                }
                SubscriberEvent::DocumentRefused { by, why } => {
                    tracing::warn!(%by, %why, "document refused");
                }
                SubscriberEvent::Clock(Err(skew)) => {
                    tracing::error!(%skew, "no part in the network");
                }
                SubscriberEvent::Clock(Ok(())) => tracing::info!("clock right again"),
                _ => {}
            }
        }
        Ok(())
    }

    /// The descriptor for `epoch`: the one signed before, or a new one, on the disk with the
    /// keys that it names.
    async fn descriptor(
        &mut self,
        services: &Services,
        epoch: Epoch,
    ) -> Result<Vec<u8>, StoreError> {
        let keys = Arc::clone(&self.keys);
        let durable = self.durable.clone();
        let identity = Arc::clone(&self.member.identity);
        let mut rng = services.entropy.rng();
        let draft = |sphinx_key, next_sphinx_key| NodeDraft {
            name: self.member.name.clone(),
            role: self.member.role,
            epoch,
            addresses: self.member.addresses.clone(),
            sphinx_key,
            next_sphinx_key,
            family: self.member.family,
        };
        let made = blocking(move || {
            let own = keys.prepare(&mut *rng, epoch)?;
            let next = keys.prepare(&mut *rng, epoch.next())?;
            Ok((own, next, durable.get(&DESCRIPTORS, &epoch)?))
        });
        let (own, next, signed) = made.await?;
        self.waiting.extend([epoch, epoch.next()]);
        if let Some(signed) = signed {
            return Ok(signed.0);
        }
        let descriptor = Descriptor::Node(NodeDescriptor::sign(&identity, draft(own, next)));
        let bytes = descriptor.to_bytes();
        let mut batch = Batch::new();
        batch.insert(&DESCRIPTORS, &epoch, &Bytes(bytes.clone()));
        batch.remove_below(&DESCRIPTORS, &epoch);
        let durable = self.durable.clone();
        blocking(move || durable.commit(batch)).await?;
        Ok(bytes)
    }

    async fn accepted(
        &mut self,
        topology: Arc<Topology>,
        events: &mpsc::Sender<MemberEvent>,
    ) -> Result<(), StoreError> {
        let epoch = topology.epoch();
        let Some(consensus) = self.subscriber.view().consensus(epoch) else {
            return Ok(());
        };
        let consensus: Arc<[u8]> = consensus.into();
        let mut batch = Batch::new();
        batch.put(&DOCUMENTS, &epoch, &Bytes(consensus.to_vec()));
        let oldest = Epoch(epoch.0.saturating_sub(View::DEPTH as u64 - 1));
        batch.remove_below(&DOCUMENTS, &oldest);
        let durable = self.durable.clone();
        blocking(move || durable.commit(batch)).await?;
        tracing::info!(%epoch, "document accepted");
        self.announced = None;
        let event = MemberEvent::Document {
            topology,
            consensus,
        };
        tell(events, event).await;
        Ok(())
    }

    /// Documents that were on the disk.
    async fn announce_held(&self, services: &Services, events: &mpsc::Sender<MemberEvent>) {
        let now = services.clock.now();
        let last = self.schedule.epoch_at(now).unwrap_or(Epoch(0)).next();
        let first = last.0.saturating_sub(2);
        for epoch in (first..=last.0).map(Epoch) {
            let view = self.subscriber.view();
            let (Ok(topology), Some(consensus)) = (view.topology(epoch), view.consensus(epoch))
            else {
                continue;
            };
            let event = MemberEvent::Document {
                topology,
                consensus: consensus.into(),
            };
            tell(events, event).await;
        }
    }

    /// Loads the keys whose windows begin. Not before: a key in use is lost with a power cut.
    async fn load_keys(
        &mut self,
        now: Time,
        events: &mpsc::Sender<MemberEvent>,
    ) -> Result<(), StoreError> {
        while let Some(epoch) = self.waiting.first().copied() {
            let window = self.window(epoch);
            if window.from > now.after(AHEAD) {
                break;
            }
            self.waiting.pop_first();
            if window.until <= now {
                continue;
            }
            let keys = Arc::clone(&self.keys);
            match blocking(move || keys.load(epoch)).await {
                Ok(key) => {
                    let key = Box::new(key);
                    tell(events, MemberEvent::Key { key, window }).await;
                }
                Err(StoreError::UncleanStop { path, .. }) => {
                    let path = path.display();
                    tracing::error!(%epoch, %path, "machine stopped uncleanly: no key this epoch");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn announce_current(&mut self, now: Time, events: &mpsc::Sender<MemberEvent>) {
        let Some(epoch) = self.schedule.epoch_at(now) else {
            return;
        };
        let current = self.subscriber.current(now);
        let announced = (epoch, current.as_ref().ok().map(|t| *t.hash()));
        if self.announced != Some(announced) {
            self.announced = Some(announced);
            if let Err(error) = &current {
                tracing::warn!(%epoch, %error, "no document to work by");
            }
            tell(events, MemberEvent::Current(current)).await;
        }
    }

    /// Overwrites the keys whose windows are over.
    async fn erase_keys(&mut self, now: Time) -> Result<(), StoreError> {
        let mut oldest = self.schedule.epoch_at(now).unwrap_or(Epoch(0));
        while let Some(before) = oldest.previous()
            && self.window(before).until > now
        {
            oldest = before;
        }
        if oldest <= self.erased_below {
            return Ok(());
        }
        self.erased_below = oldest;
        let keys = Arc::clone(&self.keys);
        blocking(move || keys.erase_before(oldest)).await
    }

    fn next_due(&self, now: Time) -> Time {
        let epoch = self.schedule.epoch_at(now).unwrap_or(Epoch(0));
        let key = self.waiting.first();
        let key = key.map(|epoch| self.window(*epoch).from.before(AHEAD));
        let over = epoch.previous().map(|before| self.window(before).until);
        [key, over]
            .into_iter()
            .flatten()
            .filter(|due| *due > now)
            .chain([self.schedule.end(epoch), self.subscriber.poll_timeout()])
            .min()
            .unwrap_or(now)
    }

    fn window(&self, epoch: Epoch) -> Window {
        Window::of(epoch, &self.schedule, self.member.network.parameters())
    }
}

/// Whom a node dials and whom it admits by these topologies: the place after its own, and the
/// place before.
#[must_use]
pub fn neighbours<'a>(
    me: &NodeId,
    topologies: impl IntoIterator<Item = &'a Arc<Topology>>,
) -> (Vec<(NodeId, Vec<SocketAddr>)>, Vec<NodeId>) {
    let mut dial = BTreeMap::new();
    let mut admit = BTreeSet::new();
    for topology in topologies {
        let Some(place) = topology.place(me) else {
            continue;
        };
        for relay in topology.at(place.next()) {
            dial.insert(relay.id, relay.addresses.clone());
        }
        let before = directory::Place::ALL.into_iter();
        for from in before.filter(|from| from.next() == place) {
            admit.extend(topology.at(from).iter().map(|relay| relay.id));
        }
    }
    (dial.into_iter().collect(), admit.into_iter().collect())
}

/// A listener that has gone ends the loop; there is nothing to do about it here.
async fn tell(events: &mpsc::Sender<MemberEvent>, event: MemberEvent) {
    let _ = events.send(event).await;
}

/// Disk work off the runtime's own threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work)
        .await
        .map_err(JoinError::try_into_panic)
    {
        Ok(outcome) => outcome,
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        // Cancelled: the runtime is going down, and this task with it.
        Err(Err(_)) => std::future::pending().await,
    }
}

const DOCUMENTS: Table<Epoch, Bytes> = Table::new("documents");
const DESCRIPTORS: Table<Epoch, Bytes> = Table::new("descriptors");
/// How long an authority may take to answer.
const DEADLINE: Duration = Duration::from_secs(10);
/// Keys are loaded this long before their windows begin.
const AHEAD: Duration = Duration::from_secs(1);
