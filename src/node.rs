//! Runs one node: from its directory as a process, or as a part of the demo.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use compiler::Model;
use directory::{FamilyMember, Identity, Network};
use link::Services;
use message::{SealingKey, mailbox_gateways};
use provider::Reach;
use rand::RngExt;
use store::{KeyFile, SealedFiles, StateDir, StoreError};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use wire::{NodeId, NodeName};
use zeroize::Zeroizing;

use crate::config::{NodeConfig, ReachSetting, Role};
use crate::exit::Fault;
use crate::exposition::Exposition;
use crate::testnet::IDENTITY_KEY;
use crate::trial::ChildProcess;
use crate::{network_file, services};

/// What a node needs to play its part.
pub struct Part {
    /// Which part.
    pub role: Role,
    /// Its name in the document.
    pub name: NodeName,
    /// The seed of its identity; a provider's is its mailbox's.
    pub seed: Zeroizing<[u8; 32]>,
    /// Whose it is, if its operator runs others.
    pub family: Option<FamilyMember>,
    /// The network it belongs to.
    pub network: Arc<Network>,
    /// Where its state lies.
    pub data: PathBuf,
    /// Where it listens; `None` for a provider.
    pub listen: Option<SocketAddr>,
    /// What its descriptor says instead of `listen`, if not empty.
    pub advertise: Vec<SocketAddr>,
    /// A provider's entry gateway; drawn if `None`.
    pub gateway: Option<NodeId>,
    /// The shipped models that a provider serves, beside its files; all if empty.
    pub models: Vec<String>,
    /// Compiles a provider's modules for the first time.
    pub trial: Arc<dyn ::provider::Trial>,
    /// How a provider is reached.
    pub reach: Reach,
}

/// `subrosa ROLE run DIR`: until SIGTERM or Ctrl-C.
///
/// # Errors
/// [`Fault`] if the config is wrong or the node cannot go on.
pub async fn run(role: Role, dir: &Path) -> Result<(), Fault> {
    let config = NodeConfig::read(dir).map_err(Fault::usage)?;
    if config.role != role {
        let (is, asked) = (config.role.label(), role.label());
        let way_out = format!("run it with `subrosa {is} run {}`", dir.display());
        return Err(Fault::usage(format!(
            "node.toml: this is a {is}, not a {asked}; {way_out}"
        )));
    }
    if let Some(listen) = config.metrics.listen {
        let page = Exposition::install().map_err(Fault::failed)?;
        page.serve(listen)
            .await
            .map_err(|e| Fault::usage(format!("metrics at {listen}: {e}")))?;
    }
    let part = part(config)?;
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(async move {
        signals().await;
        let _ = stop.send(true);
    });
    play(part, services(), stopped).await
}

fn part(config: NodeConfig) -> Result<Part, Fault> {
    let network = network_file::read(&config.network).map_err(Fault::usage)?;
    let identity = StateDir::open(&config.data).and_then(|data| data.key_file(IDENTITY_KEY).read());
    let secret = identity.map_err(Fault::usage)?;
    let seed: [u8; 32] = secret
        .as_slice()
        .try_into()
        .map_err(|_| Fault::usage(format!("{IDENTITY_KEY}.key: not a key of 32 bytes")))?;
    let family = config.family.map(|file| family_member(&file, &seed));
    let gateway = config.link.gateway.map(|id| network_file::node_id(&id));
    Ok(Part {
        role: config.role,
        name: NodeName::new(&config.name).ok_or_else(|| Fault::usage("node.toml: bad name"))?,
        seed: Zeroizing::new(seed),
        family: family
            .transpose()
            .map_err(|e| Fault::usage(format!("node.toml: family: {e}")))?,
        network: Arc::new(network),
        data: config.data,
        listen: config.link.listen,
        advertise: config.link.advertise,
        gateway: gateway
            .transpose()
            .map_err(|e| Fault::usage(format!("node.toml: gateway: {e}")))?,
        models: config.provider.models,
        trial: Arc::new(ChildProcess::own().map_err(Fault::failed)?),
        reach: match config.provider.reach {
            ReachSetting::Anonymous => Reach::Anonymous,
            ReachSetting::Attached => Reach::Attached,
        },
    })
}

/// The word of the family whose key is in `file` that the node with this seed is one of it.
fn family_member(file: &Path, seed: &[u8; 32]) -> Result<FamilyMember, String> {
    let secret = KeyFile::at(file).read().map_err(|error| match error {
        StoreError::Missing { path } => format!(
            "{} is missing; make it with `subrosa keys new {0}`",
            path.display()
        ),
        other => other.to_string(),
    })?;
    let key: Zeroizing<[u8; 32]> = secret
        .as_slice()
        .try_into()
        .map(Zeroizing::new)
        .map_err(|_| format!("{} is not a key of 32 bytes", file.display()))?;
    let node = Identity::from_seed(seed).node_id();
    Ok(FamilyMember::sign(&Identity::from_seed(&key), &node))
}

async fn signals() {
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut stream) => {
                stream.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        () = terminated => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

/// Plays a part until `stop` becomes true or its sender is gone.
///
/// # Errors
/// [`Fault`] if the part cannot be played, or not to its end.
pub async fn play(
    part: Part,
    services: Services,
    stop: watch::Receiver<bool>,
) -> Result<(), Fault> {
    let name = part.name.clone();
    let fault = |error: &dyn std::fmt::Display| Fault::failed(format!("{name}: {error}"));
    match part.role {
        Role::Authority => authority(part, services, stop).await,
        Role::Mix => mix(part, services, stop).await,
        Role::Gateway => gateway(part, services, stop).await,
        Role::Provider => provider(part, services, stop).await,
    }
    .map_err(|error| fault(&error))
}

type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

async fn authority(part: Part, services: Services, stop: watch::Receiver<bool>) -> Outcome {
    let config = ::authority::Config {
        identity: Identity::from_seed(&part.seed),
        network: part.network.clone(),
        listen: listen(&part)?,
        state: part.data,
        registry: Box::new(::authority::Everybody),
    };
    Ok(::authority::run(config, services, stop).await?)
}

async fn mix(part: Part, services: Services, stop: watch::Receiver<bool>) -> Outcome {
    let config = ::mix::MixConfig {
        listen: listen(&part)?,
        name: part.name,
        identity: Identity::from_seed(&part.seed),
        family: part.family,
        advertise: part.advertise,
        network: part.network,
        state: StateDir::open(part.data)?,
        limits: ::mix::MixLimits::default(),
        crypto_threads: NonZeroUsize::MIN,
    };
    Ok(::mix::run(config, services, until(stop)).await?)
}

async fn gateway(part: Part, services: Services, stop: watch::Receiver<bool>) -> Outcome {
    let config = ::gateway::GatewayConfig {
        listen: listen(&part)?,
        name: part.name,
        identity: Identity::from_seed(&part.seed),
        family: part.family,
        advertise: part.advertise,
        network: part.network,
        state: StateDir::open(part.data)?,
        limits: ::gateway::Limits::default(),
        links: link::Limits::default(),
        admission: Box::new(::gateway::EveryoneUpToTheBound),
        crypto_threads: NonZeroUsize::MIN,
    };
    Ok(::gateway::run(config, services, until(stop)).await?)
}

fn listen(part: &Part) -> Result<SocketAddr, &'static str> {
    part.listen.ok_or("needs an address to listen on")
}

async fn until(mut stop: watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn provider(part: Part, services: Services, stop: watch::Receiver<bool>) -> Outcome {
    let state = StateDir::open(&part.data)?;
    let sealing_key = sealing_key(&state, &services)?;
    let mailbox = Identity::from_seed(&part.seed);
    let (gateway, addresses, others) = entry_gateway(&part, &mailbox, &services)?;
    let files = state.sealed_files(MODELS)?;
    let config = ::provider::NodeConfig {
        models: models(&part.models, &files)?,
        files: Some(files),
        network: part.network,
        reach: part.reach,
        gateway,
        addresses,
        others,
        name: part.name,
        mailbox,
        sealing_key,
        bounds: ::provider::Bounds::default(),
        sandbox: ::provider::SandboxLimits::default(),
        trial: part.trial,
        threads: 2,
    };
    Ok(::provider::run(config, services, until(stop)).await?)
}

/// The provider's sealing key: drawn once, then kept.
fn sealing_key(state: &StateDir, services: &Services) -> Result<SealingKey, StoreError> {
    let file = state.key_file(SEALING_KEY);
    if !file.exists() {
        let key = SealingKey::generate(&mut *services.entropy.rng());
        file.create(key.to_bytes().as_ref())?;
    }
    let secret = file.read()?;
    let seed = secret
        .as_slice()
        .try_into()
        .map_err(|_| StoreError::StoreCorrupt {
            path: file.path().to_owned(),
            what: "not a sealing key",
        })?;
    Ok(SealingKey::from_bytes(seed))
}

/// A gateway and where it is reached.
type Entry = (NodeId, Vec<SocketAddr>);

/// A provider's entry gateway, and those to take when it is gone: the one that it was told, or
/// some of the network's at random. An anonymous provider enters by none that keeps its mailbox;
/// an attached one stays where its mailbox is.
fn entry_gateway(
    part: &Part,
    mailbox: &Identity,
    services: &Services,
) -> Result<(NodeId, Vec<SocketAddr>, Vec<Entry>), &'static str> {
    let mut known: BTreeMap<NodeId, Vec<SocketAddr>> = BTreeMap::new();
    for (id, address) in part.network.bootstrap() {
        known.entry(*id).or_default().push(*address);
    }
    if part.reach == Reach::Anonymous {
        for keeper in mailbox_gateways(mailbox, known.keys().copied(), part.gateway) {
            known.remove(&keeper);
        }
    }
    let drawn = services.entropy.rng().random_range(0..known.len().max(1));
    let gateway = match part.gateway {
        Some(gateway) => gateway,
        None => known.keys().nth(drawn).copied().ok_or(
            "the network lists too few gateways: an anonymous provider needs one to enter by and \
             two others that keep its mailbox",
        )?,
    };
    let addresses = known
        .remove(&gateway)
        .ok_or("the entry gateway is none of the network's")?;
    let others = match part.reach {
        Reach::Anonymous => known.into_iter().collect(),
        Reach::Attached => Vec::new(),
    };
    Ok((gateway, addresses, others))
}

/// The shipped models among `names`, all of them if there are none. Whatever else is named must be
/// a file in `files`, which are served in any case.
fn models(names: &[String], files: &SealedFiles) -> Result<Vec<Model>, String> {
    let shipped = compiler::shipped();
    let files = files.list().map_err(|e| e.to_string())?;
    let known = || {
        let shipped = shipped.iter().map(|model| model.name);
        shipped.chain(files.iter().map(|file| file.name.as_str()))
    };
    if let Some(name) = names
        .iter()
        .find(|name| known().all(|known| known != *name))
    {
        let hint = ::client::nearest(name, known())
            .map(|near| format!("; did you mean {near:?}?"))
            .unwrap_or_default();
        return Err(format!(
            "no model {name:?} ships with this program or was added with `subrosa provider \
             add`{hint}"
        ));
    }
    shipped
        .iter()
        .filter(|model| names.is_empty() || names.iter().any(|name| *name == model.name))
        .map(|model| {
            model
                .model()
                .map_err(|error| format!("{}: {error}", model.name))
        })
        .collect()
}

const SEALING_KEY: &str = "sealing";

/// The folder of a provider's state that holds its model files.
pub(crate) const MODELS: &str = "models";
