//! The driver of a mix: sockets and documents on tokio, the state machine on a thread of its
//! own, packet crypto on worker threads.
//!
//! ```text
//! link -> intake -> workers: open -> core: admit, log -> workers: finish -> core: hold, send -> link
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use directory::{FamilyMember, Identity, Network, Role, Topology};
use link::{Digest, Frame, LinkError, Mesh, MeshConfig, MeshEvent, Peer, Services, Sight};
use store::{StateDir, StoreError};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use wire::{CallRefused, Epoch, NodeId, NodeName, Refusal, Reply};

use crate::MixLimits;
use crate::engine::{Engine, Input, Unseen};
use crate::membership::{Member, MemberEvent, Membership, neighbours};
use crate::mix::Mix;
use crate::workers::{Intake, Job, Workers};

/// What a mix is started with.
pub struct MixConfig {
    /// Its name in documents and logs.
    pub name: NodeName,
    /// Its identity.
    pub identity: Identity,
    /// Whose it is, if its operator runs others.
    pub family: Option<FamilyMember>,
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where others reach it; if empty, where it listens.
    pub advertise: Vec<SocketAddr>,
    /// The network that it is part of.
    pub network: Arc<Network>,
    /// Where its state lies.
    pub state: StateDir,
    /// The bounds of its filter and pool.
    pub limits: MixLimits,
    /// Threads for packet crypto.
    pub crypto_threads: NonZeroUsize,
}

/// Why a mix stopped, or did not start.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MixError {
    /// Its state on disk.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its socket.
    #[error("link: {0}")]
    Link(#[from] LinkError),
    /// A thread could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(io::ErrorKind),
    /// A thread ended before its time.
    #[error("the packet thread ended")]
    Ended,
}

/// Runs a mix until `stop` is done; then refuses what comes, sends what it holds, marks its
/// replay logs as complete and returns. To be called on a tokio runtime.
///
/// # Errors
/// [`MixError`]: a mix whose state is damaged, or that cannot listen, does not run on.
pub async fn run(
    config: MixConfig,
    services: Services,
    stop: impl Future<Output = ()>,
) -> Result<(), MixError> {
    let geometry = config.network.parameters().geometry;
    let id = config.identity.node_id();
    let now = services.clock.now();
    let mesh_config = MeshConfig::node(
        geometry.frame_len(),
        (*config.identity.seed()).into(),
        config.listen,
    );
    let (mesh, link_events) = Mesh::bind(mesh_config, services.clone()).await?;
    let mut addresses = config.advertise;
    if addresses.is_empty() {
        addresses.extend(mesh.local_addr());
    }
    let member = Member {
        name: config.name,
        role: Role::Mix,
        addresses,
        identity: Arc::new(config.identity),
        family: config.family,
        network: config.network,
    };
    let durable = config.state.durable()?;
    let membership = Membership::open(now, member, config.state, durable)?;

    let mix = Mix::new(now, id, geometry, config.limits);
    let (inputs, received) = sync_channel(CORE_QUEUE);
    let done = {
        let inputs = inputs.clone();
        move |done| inputs.send(Input::Done(done)).is_ok()
    };
    let threads = config.crypto_threads.get();
    let opener = mix.opener().clone();
    let workers = Workers::start("mix-crypto", threads, WORKER_QUEUE, opener, done);
    let workers = workers.map_err(|error| MixError::Thread(error.kind()))?;
    let intake = Ingress {
        intake: workers.intake(),
        unseen: Arc::default(),
        admitted: Arc::default(),
        services: services.clone(),
        mesh: mesh.clone(),
    };
    let unseen = Arc::clone(&intake.unseen);
    let engine = Engine::new(
        mix,
        workers,
        mesh.clone(),
        services.clone(),
        unseen,
        received,
    );
    let engine = engine.map_err(|error| MixError::Thread(error.kind()))?;
    let (ended, mut engine_ended) = oneshot::channel();
    thread::Builder::new()
        .name("mix-core".to_owned())
        .spawn(move || ended.send(engine.run()))
        .map_err(|error| MixError::Thread(error.kind()))?;

    let (member_sender, member_events) = mpsc::channel(16);
    let admitted = Arc::clone(&intake.admitted);
    let outcome = tokio::select! {
        outcome = membership.run(mesh.clone(), services, member_sender) => outcome.map_err(MixError::from),
        () = follow(id, member_events, &mesh, &inputs, &admitted) => Err(MixError::Ended),
        () = intake.run(link_events) => Err(MixError::Ended),
        ended = &mut engine_ended => {
            mesh.shutdown().await;
            return ended.map_or(Err(MixError::Ended), |outcome| outcome.map_err(MixError::from));
        }
        () = stop => Ok(()),
    };
    // Whatever the reason: what was admitted leaves, and the logs are closed.
    let told = tokio::task::spawn_blocking(move || inputs.send(Input::Drain)).await;
    let closed = match (told, engine_ended.await) {
        (Ok(Ok(())), Ok(closed)) => closed.map_err(MixError::from),
        _ => Err(MixError::Ended),
    };
    mesh.shutdown().await;
    outcome.and(closed)
}

/// Passes on what the directory says: whom to link with to the mesh, the rest to the core.
async fn follow(
    id: NodeId,
    mut events: mpsc::Receiver<MemberEvent>,
    mesh: &Mesh,
    inputs: &SyncSender<Input>,
    admitted: &Mutex<BTreeSet<NodeId>>,
) {
    let mut topologies: BTreeMap<Epoch, Arc<Topology>> = BTreeMap::new();
    while let Some(event) = events.recv().await {
        match &event {
            MemberEvent::Document { topology, .. } => {
                topologies.insert(topology.epoch(), Arc::clone(topology));
            }
            MemberEvent::Current(Ok(topology)) => {
                let current = topology.epoch();
                topologies.insert(current, Arc::clone(topology));
                topologies.retain(|epoch, _| epoch.next() >= current);
            }
            MemberEvent::Current(Err(_)) | MemberEvent::Key { .. } | MemberEvent::Clocks(_) => {}
        }
        let (dial, admit) = neighbours(&id, topologies.values());
        *admitted.lock().unwrap_or_else(PoisonError::into_inner) = admit.iter().copied().collect();
        mesh.set_neighbours(dial, admit);
        let inputs = inputs.clone();
        let sent = tokio::task::spawn_blocking(move || inputs.send(Input::Member(event))).await;
        if !matches!(sent, Ok(Ok(()))) {
            return;
        }
    }
}

/// From the links to the workers.
struct Ingress {
    intake: Intake,
    unseen: Arc<Unseen>,
    admitted: Arc<Mutex<BTreeSet<NodeId>>>,
    services: Services,
    mesh: Mesh,
}

impl Ingress {
    async fn run(&self, mut events: mpsc::Receiver<MeshEvent>) {
        while let Some(event) = events.recv().await {
            match event {
                MeshEvent::Frames {
                    from,
                    frames,
                    refused,
                } => {
                    self.unseen.add(Refusal::RateExceeded, refused);
                    self.take(from, frames);
                }
                MeshEvent::Call { responder, .. } => {
                    responder.respond(Reply::Refused(CallRefused::NotForThisNode));
                }
                MeshEvent::Up(peer) => tracing::debug!(?peer, "link up"),
                MeshEvent::Down(peer) => tracing::debug!(?peer, "link down"),
            }
        }
    }

    fn take(&self, from: Peer, frames: Vec<Frame>) {
        if !self.admits(from) {
            // A link of its own direction: who is after us has nothing to send us.
            return self.unseen.add(Refusal::NotAdmitted, frames.len() as u64);
        }
        let arrival = self.services.clock.now();
        let mut jobs = Vec::with_capacity(frames.len());
        for frame in frames {
            if frame.prefix() != 0 {
                self.unseen.add(Refusal::Malformed, 1);
                continue;
            }
            let input = self.services.tap.as_ref().map(|tap| {
                let digest = Digest::of(frame.packet());
                tap.saw(Sight::FrameIn {
                    at: arrival,
                    peer: from,
                    remote: self.mesh.remote(from),
                    digest,
                });
                digest
            });
            jobs.push(Job {
                input,
                arrival,
                item: frame,
            });
        }
        if let Err(count) = self.intake.open(jobs) {
            self.unseen.add(Refusal::Overload, count as u64);
        }
    }

    fn admits(&self, from: Peer) -> bool {
        let admitted = self.admitted.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(from, Peer::Node(id) if admitted.contains(&id))
    }
}

/// Batches that wait for the core. Workers wait when it is full.
const CORE_QUEUE: usize = 256;
/// Packets that wait for each stage of crypto.
const WORKER_QUEUE: usize = 2048;
