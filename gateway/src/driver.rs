//! The driver of a gateway: sockets and documents on tokio, the state machine on a thread of its
//! own, packet crypto on worker threads.
//!
//! ```text
//! layer 3 -> intake -> workers: open -> core: admit, log -> workers: finish -> core: arrive
//! clients -> intake -> core: forward
//! core: clocks -> link
//! ```

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;

use directory::{FamilyMember, Identity, Network, Role};
use link::{FrameRate, LinkError, Mesh, MeshConfig, Services, Whose};
use mix::membership::{Member, Membership};
use mix::workers::Workers;
use store::{StateDir, StoreError};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use wire::NodeName;

use crate::admit::Admission;
use crate::gateway::Gateway;
use crate::limits::Limits;
use engine::{Engine, Input};
use intake::{Ingress, follow};
use relay::relay;
use unseen::Unseen;

mod engine;
mod intake;
mod relay;
mod unseen;

/// What a gateway is started with.
pub struct GatewayConfig {
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
    /// The bounds of its memory.
    pub limits: Limits,
    /// The bounds of its links.
    pub links: link::Limits,
    /// Who becomes a client.
    pub admission: Box<dyn Admission>,
    /// Threads for packet crypto.
    pub crypto_threads: NonZeroUsize,
}

/// Why a gateway stopped, or did not start.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum GatewayError {
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

/// Runs a gateway until `stop` is done; then refuses what waits, marks its replay logs as
/// complete and returns. To be called on a tokio runtime.
///
/// # Errors
/// [`GatewayError`]: a gateway whose state is damaged, or that cannot listen, does not run on.
pub async fn run(
    config: GatewayConfig,
    services: Services,
    stop: impl Future<Output = ()>,
) -> Result<(), GatewayError> {
    let parameters = config.network.parameters().clone();
    let id = config.identity.node_id();
    let (mesh, link_events) = bind(&config, &services).await?;
    let mut addresses = config.advertise;
    if addresses.is_empty() {
        addresses.extend(mesh.local_addr());
    }
    let member = Member {
        name: config.name,
        role: Role::Gateway,
        addresses,
        identity: Arc::new(config.identity),
        family: config.family,
        network: Arc::clone(&config.network),
    };
    let durable = config.state.durable()?;
    let membership = Membership::open(services.clock.now(), member, config.state, durable)?;

    let core = Gateway::new(id, parameters, config.limits, config.admission);
    let (inputs, received) = sync_channel(CORE_QUEUE);
    let workers = start_workers(&core, config.crypto_threads.get(), &inputs)?;
    let unseen = Arc::new(Unseen::default());
    let admitted = Arc::new(Mutex::default());
    let (publications, to_publish) = mpsc::channel(PUBLICATIONS);
    let ingress = Ingress {
        intake: workers.intake(),
        inputs: inputs.clone(),
        unseen: Arc::clone(&unseen),
        admitted: Arc::clone(&admitted),
        services: services.clone(),
        mesh: mesh.clone(),
    };
    let engine = Engine::new(
        core,
        workers,
        mesh.clone(),
        services.clone(),
        unseen,
        publications,
        received,
    );
    let engine = engine.map_err(|error| GatewayError::Thread(error.kind()))?;
    let (ended, mut engine_ended) = oneshot::channel();
    thread::Builder::new()
        .name("gateway-core".to_owned())
        .spawn(move || ended.send(engine.run()))
        .map_err(|error| GatewayError::Thread(error.kind()))?;

    let (member_sender, member_events) = mpsc::channel(16);
    let outcome = tokio::select! {
        outcome = membership.run(mesh.clone(), services, member_sender) => {
            outcome.map_err(GatewayError::from)
        }
        () = follow(id, member_events, &mesh, &inputs, &admitted) => Err(GatewayError::Ended),
        () = ingress.run(link_events) => Err(GatewayError::Ended),
        () = relay(&config.network, &mesh, to_publish, &inputs) => Err(GatewayError::Ended),
        ended = &mut engine_ended => {
            mesh.shutdown().await;
            return ended.map_or(Err(GatewayError::Ended), |outcome| outcome.map_err(Into::into));
        }
        () = stop => Ok(()),
    };
    // Whatever the reason: the account is settled and the logs are closed.
    let told = tokio::task::spawn_blocking(move || inputs.send(Input::Drain).is_ok()).await;
    let closed = match (told, engine_ended.await) {
        (Ok(true), Ok(closed)) => closed.map_err(GatewayError::from),
        _ => Err(GatewayError::Ended),
    };
    mesh.shutdown().await;
    outcome.and(closed)
}

async fn bind(
    config: &GatewayConfig,
    services: &Services,
) -> Result<(Mesh, mpsc::Receiver<link::MeshEvent>), GatewayError> {
    let parameters = config.network.parameters();
    let frame_len = parameters.geometry.frame_len();
    let identity = (*config.identity.seed()).into();
    let mut mesh_config = MeshConfig::node(frame_len, identity, config.listen).with_guests();
    mesh_config.limits = config.links.clone();
    let (mesh, events) = Mesh::bind(mesh_config, services.clone()).await?;
    // Each client has its own bucket behind this; here the fastest class fits.
    let classes = parameters.classes.iter().map(|class| class.millihertz());
    let fastest = classes.max().unwrap_or(0).div_ceil(1_000);
    let rate = FrameRate::new(fastest.saturating_mul(2), fastest.saturating_add(64));
    mesh.set_frame_rate(Whose::Guests, rate);
    Ok((mesh, events))
}

fn start_workers(
    core: &Gateway,
    threads: usize,
    inputs: &SyncSender<Input>,
) -> Result<Workers, GatewayError> {
    let inputs = inputs.clone();
    let done = move |done| inputs.send(Input::Done(done)).is_ok();
    let opener = core.opener().clone();
    let workers = Workers::start("gateway-crypto", threads, WORKER_QUEUE, opener, done);
    workers.map_err(|error| GatewayError::Thread(error.kind()))
}

/// Batches that wait for the core. Workers wait when it is full; clients are refused.
const CORE_QUEUE: usize = 256;
/// Packets that wait for each stage of crypto.
const WORKER_QUEUE: usize = 2048;
/// Descriptors that wait to be passed on to the authorities.
const PUBLICATIONS: usize = 16;
