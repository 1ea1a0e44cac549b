//! The provider at its uplink: requests in, models on threads of their own, answers out.

mod seat;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use compiler::Model;
use directory::{Descriptor, Identity, Network, Topology};
use link::Services;
use message::SealingKey;
use message::driver::{
    EdgeReport, Publish, Publishing, Uplink, UplinkConfig, UplinkHandle, UplinkStatus,
};
use metrics::counter;
use sphinx::Geometry;
use store::SealedFiles;
use tokio::sync::{mpsc, watch};
use wire::{Encode, NodeId, NodeName};

use crate::library::Library;
use crate::workers::{Shelf, Workers};
use crate::{
    Bounds, Job, JobDone, Provider, ProviderConfig, ProviderCounts, ProviderError, Reach, Sandbox,
    SandboxFault, SandboxLimits, Service, Trial,
};
use seat::Seat;

/// What a provider's driver is told. No `Debug`: it holds keys.
pub struct NodeConfig {
    /// The network, as `network.toml` describes it.
    pub network: Arc<Network>,
    /// How the provider is reached. Anonymous unless there is a reason.
    pub reach: Reach,
    /// The entry gateway. If attached, it also keeps the mailbox.
    pub gateway: NodeId,
    /// Where it is reached until a document says otherwise.
    pub addresses: Vec<SocketAddr>,
    /// Gateways to take when that one is gone, with their addresses. None if attached: there the
    /// descriptor says where the mailbox is.
    pub others: Vec<(NodeId, Vec<SocketAddr>)>,
    /// The provider's name in the catalogue.
    pub name: NodeName,
    /// The key made for its mailbox; kept across restarts.
    pub mailbox: Identity,
    /// Opens what is sealed to it; kept across restarts.
    pub sealing_key: SealingKey,
    /// What it serves: 1 to 16 models of different names, those in `files` included.
    pub models: Vec<Model>,
    /// Sealed `.subrosa` files that it serves too, for as long as they are there.
    pub files: Option<SealedFiles>,
    /// Bounds of its memory.
    pub bounds: Bounds,
    /// Bounds of its models.
    pub sandbox: SandboxLimits,
    /// Compiles each model's module a first time, where it can do no harm.
    pub trial: Arc<dyn Trial>,
    /// Threads that run models.
    pub threads: usize,
}

/// A provider at work, until it is shut down or dropped.
pub struct Node {
    handle: UplinkHandle<Seat>,
    counts: watch::Receiver<ProviderCounts>,
    work: tokio::task::JoinHandle<()>,
    watch: tokio::task::JoinHandle<()>,
    stop: mpsc::Sender<()>,
}

/// Serves until `stop` is done.
///
/// # Errors
/// [`ProviderError`] if it cannot start, or if the directory ends it.
pub async fn run(
    config: NodeConfig,
    services: Services,
    stop: impl Future<Output = ()>,
) -> Result<(), ProviderError> {
    let node = Node::start(config, services).await?;
    let mut handle = node.handle.clone();
    let ended = tokio::select! {
        () = stop => false,
        () = handle.closed() => true,
    };
    let status = handle.status();
    drop(handle);
    node.shutdown().await;
    match status {
        UplinkStatus::Unfit(why) if ended => Err(why.into()),
        _ => Ok(()),
    }
}

impl Node {
    /// Loads the models and starts to dial. Returns before it serves; see [`Self::ready`].
    ///
    /// # Errors
    /// [`ProviderError`]: a model, the sandbox or the socket.
    pub async fn start(config: NodeConfig, services: Services) -> Result<Self, ProviderError> {
        let geometry = config.network.parameters().geometry;
        let (limits, trial) = (config.sandbox, config.trial);
        let library = load(config.models, config.files, limits, trial, geometry).await?;
        let service = Arc::new(Service::new(
            config.name,
            config.mailbox,
            config.sealing_key.public().clone(),
            library.cards(),
        )?);
        let (results_sender, results) = mpsc::channel(config.bounds.jobs.max(1));
        let shelf = Shelf::new(library.models());
        let queue = config.bounds.jobs;
        let clock = &services.clock;
        let workers = Workers::start(config.threads, queue, &shelf, clock, &results_sender)
            .map_err(|why| ProviderError::Threads(why.kind()))?;

        let (counts_sender, counts) = watch::channel(ProviderCounts::default());
        let tap = services.tap.clone();
        let (reach, sealing_key, bounds) = (config.reach, config.sealing_key, config.bounds);
        let class = config.network.parameters().provider_class;
        let publish = match reach {
            Reach::Anonymous => Publishing::ThroughTheMixes,
            Reach::Attached => {
                Publishing::OverTheLink(publisher(Arc::clone(&service), config.gateway))
            }
        };
        let served = Arc::clone(&service);
        let uplink_config = UplinkConfig {
            network: config.network,
            gateway: config.gateway,
            addresses: config.addresses,
            others: config.others,
            role: "provider",
            publish,
        };
        let uplink = Uplink::start(
            uplink_config,
            services,
            move |now, rng, topology, gateway| {
                let provider_config = ProviderConfig {
                    service,
                    gateway,
                    reach,
                    sealing_key,
                    class,
                    bounds,
                };
                Provider::new(now, rng, provider_config, topology)
                    .map(|provider| Seat::new(provider, counts_sender, tap))
            },
        );
        let (handle, jobs) = uplink.await?.split();
        let (stop, stopped) = mpsc::channel(1);
        let work = Work {
            handle: handle.clone(),
            workers,
            jobs,
            results,
            stopped,
        };
        Ok(Self {
            handle,
            counts,
            work: tokio::spawn(work.run()),
            watch: tokio::spawn(watch(library, served, shelf)),
            stop,
        })
    }

    /// Waits until it serves, and returns the document by which it does.
    ///
    /// # Errors
    /// How the uplink stands, if it ended instead.
    pub async fn ready(&mut self) -> Result<Arc<Topology>, UplinkStatus> {
        self.handle.ready().await
    }

    /// How its uplink stands.
    #[must_use]
    pub fn status(&self) -> UplinkStatus {
        self.handle.status()
    }

    /// What it counted, as of its last slot.
    #[must_use]
    pub fn counts(&self) -> ProviderCounts {
        *self.counts.borrow()
    }

    /// What its edge counted, as of the last second.
    #[must_use]
    pub fn report(&self) -> Option<EdgeReport> {
        self.handle.report()
    }

    /// Stops: takes no more jobs, closes the link, and waits until that is done.
    pub async fn shutdown(self) {
        drop(self.handle);
        drop(self.stop);
        self.watch.abort();
        // The task ends with its uplink; it panics only if a job's end did.
        let _ = self.work.await;
    }
}

/// Between uplink and threads.
struct Work {
    handle: UplinkHandle<Seat>,
    workers: Workers,
    jobs: mpsc::Receiver<Job>,
    results: mpsc::Receiver<JobDone>,
    stopped: mpsc::Receiver<()>,
}

impl Work {
    async fn run(mut self) {
        loop {
            let done = tokio::select! {
                _ = self.stopped.recv() => break,
                job = self.jobs.recv() => match job {
                    Some(job) => self.workers.submit(job).err(),
                    None => return,
                },
                done = self.results.recv() => done,
            };
            if let Some(done) = done {
                let outcome = label(&done.result);
                counter!("subrosa_jobs_total", "outcome" => outcome).increment(1);
                if self.handle.command(done).await.is_err() {
                    return;
                }
            }
        }
        drop(self.handle);
        // Ends with the uplink.
        while self.jobs.recv().await.is_some() {}
    }
}

/// Checks, tries and compiles the modules, away from the tasks.
async fn load(
    models: Vec<Model>,
    files: Option<SealedFiles>,
    limits: SandboxLimits,
    trial: Arc<dyn Trial>,
    geometry: Geometry,
) -> Result<Library, ProviderError> {
    let load_all = move || {
        let sandbox = Sandbox::new(limits, trial)?;
        Library::load(&models, files, sandbox, geometry)
    };
    tokio::task::spawn_blocking(load_all)
        .await
        .unwrap_or(Err(ProviderError::Interrupted))
}

/// Looks for files that came or went, away from the tasks, and serves what is there.
async fn watch(mut library: Library, service: Arc<Service>, shelf: Shelf) {
    loop {
        tokio::time::sleep(LOOK).await;
        let looked = tokio::task::spawn_blocking(move || {
            let changed = library.look();
            (library, changed)
        });
        let Ok((held, changed)) = looked.await else {
            tracing::warn!("models are no longer looked for");
            return;
        };
        library = held;
        if changed {
            shelf.replace(library.models());
            if let Err(why) = service.offer(library.cards()) {
                tracing::warn!(%why, "models not listed");
            }
        }
    }
}

fn publisher(service: Arc<Service>, gateway: NodeId) -> Publish {
    Box::new(move |epoch| {
        let descriptor = service.descriptor(epoch, vec![gateway]);
        Descriptor::Service(Box::new(descriptor)).to_bytes()
    })
}

/// A job's end, in metrics.
fn label(result: &Result<Vec<i32>, SandboxFault>) -> &'static str {
    match result {
        Ok(_) => "output",
        Err(SandboxFault::BadInput) => "bad_input",
        Err(SandboxFault::ModelTimeout) => "timeout",
        Err(SandboxFault::ModelMemory | SandboxFault::StackOverflow) => "memory",
        Err(SandboxFault::GuestAbi | SandboxFault::Trap) => "fault",
        Err(SandboxFault::Busy) => "busy",
    }
}

/// Threads that run models by default: a model of this size is done in well under a tick.
pub const DEFAULT_THREADS: usize = 2;

/// How often files are looked for.
const LOOK: Duration = Duration::from_secs(2);
