//! A whole network in one process, for the demo and for tests.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use client::Client;
use compiler::Model;
use directory::{Identity, Parameters};
use link::{FaultCounts, FaultProxy, Faults, LinkError, Services, Tap};
use message::mailbox_gateways;
use provider::Reach;
use store::SealedFiles;
use tokio::sync::watch;
use tokio::task::JoinSet;
use wire::{Epoch, NodeName};

use crate::config::Role;
use crate::demo::inspector::Inspector;
use crate::dummy_inputs;
use crate::exit::Fault;
use crate::node::{MODELS, Part, play};
use crate::plan::{Counts, Plan, share};

/// What a network is like.
pub struct Setting {
    /// How many of each part.
    pub counts: Counts,
    /// What the authorities sign.
    pub parameters: Parameters,
    /// What every path does to datagrams, if it does anything.
    pub faults: Option<Faults>,
    /// How providers are reached.
    pub reach: Reach,
    /// What provider-1 serves besides shipped models.
    pub models: Vec<Model>,
}

impl Setting {
    /// Good paths, anonymous providers, shipped models.
    #[must_use]
    pub const fn new(counts: Counts, parameters: Parameters) -> Self {
        Self {
            counts,
            parameters,
            faults: None,
            reach: Reach::Anonymous,
            models: Vec::new(),
        }
    }
}

/// A network that runs until it is dropped or stopped.
pub struct House {
    plan: Plan,
    services: Services,
    inspector: Arc<Inspector>,
    stop: watch::Sender<bool>,
    nodes: JoinSet<Result<(), Fault>>,
    /// What stands before every node that listens.
    paths: Vec<FaultProxy>,
    /// Removed with the house.
    state: tempfile::TempDir,
}

impl House {
    /// Starts every node; each sees through a tap of the inspector. `trial` compiles the
    /// providers' modules for the first time. With faults, every datagram between two nodes, or
    /// between a client and a gateway, takes a path that has them.
    ///
    /// # Errors
    /// [`Fault`] if there are no ports or no room for state.
    pub fn start(
        services: &Services,
        trial: &Arc<dyn provider::Trial>,
        setting: Setting,
    ) -> Result<Self, Fault> {
        let Setting {
            counts,
            parameters,
            faults,
            reach,
            models,
        } = setting;
        let state =
            tempfile::tempdir().map_err(|e| Fault::failed(format!("temporary state: {e}")))?;
        let mut rng = services.entropy.rng();
        let plan = Plan::draw(
            services.clock.now(),
            &mut *rng,
            counts,
            parameters,
            START_UP,
        )
        .map_err(|e| Fault::failed(format!("no free ports: {e}")))?;
        let mut paths = Vec::new();
        let plan = match faults {
            Some(faults) => plan
                .behind(|node| {
                    let path = FaultProxy::start(node, faults, services.entropy.rng())?;
                    let address = path.address();
                    paths.push(path);
                    Ok(address)
                })
                .map_err(|e: LinkError| Fault::failed(e))?,
            None => plan,
        };
        let inspector = Arc::new(Inspector::default());
        let (stop, stopped) = watch::channel(false);
        let network = Arc::new(plan.network.clone());
        let mut nodes = JoinSet::new();
        let mut providers = 0;
        for node in &plan.nodes {
            let mut part = Part {
                role: node.role,
                name: NodeName::new(&node.name).ok_or_else(|| Fault::failed("a bad name"))?,
                seed: node.seed.clone(),
                family: None,
                network: network.clone(),
                data: state.path().join(&node.name),
                listen: node.listen,
                advertise: node.advertise.into_iter().collect(),
                gateway: None,
                models: Vec::new(),
                trial: trial.clone(),
                reach,
            };
            if node.role == Role::Provider {
                part.models = share(providers, counts.providers);
                if providers == 0 {
                    shelve(&part.data, &models)?;
                }
                providers += 1;
            }
            let tapped = services.with_tap(Tap::new(&node.name, inspector.clone()));
            nodes.spawn(play(part, tapped, stopped.clone()));
        }
        let services = services.clone();
        Ok(Self {
            plan,
            services,
            inspector,
            stop,
            nodes,
            paths,
            state,
        })
    }

    /// The place of a gateway that keeps no mailbox of this provider: who enters by another one
    /// would show it whom it asks and where it is, if not which packet was which.
    #[must_use]
    pub fn entry_apart_from(&self, provider: &str) -> usize {
        let gateways = self.plan.network.bootstrap().iter().map(|(id, _)| *id);
        let node = self.plan.nodes.iter().find(|node| node.name == provider);
        let kept = node.map_or_else(Vec::new, |node| {
            mailbox_gateways(&Identity::from_seed(&node.seed), gateways.clone(), None)
        });
        let mut places = gateways.enumerate();
        let free = places.find(|(_, gateway)| !kept.contains(gateway));
        free.map_or(0, |(place, _)| place)
    }

    /// A client of this network, seen by the inspector under `name`.
    ///
    /// # Errors
    /// [`Fault`] if it cannot join.
    pub async fn join(&self, name: &str, gateway: usize, class: u8) -> Result<Client, Fault> {
        let gateways = self.plan.network.bootstrap();
        let (gateway, _) = gateways
            .get(gateway % gateways.len())
            .ok_or_else(|| Fault::failed("a network without gateways"))?;
        Client::builder()
            .network(self.plan.network.clone())
            .gateway(*gateway)
            .class(class)
            .dummy_inputs(dummy_inputs())
            .patience(JOIN_WITHIN)
            .connect(
                self.services
                    .with_tap(Tap::new(name, self.inspector.clone())),
            )
            .await
            .map_err(|e| Fault::failed(format!("{name}: {e}")))
    }

    /// Waits until the directory lists so many models, as `client` sees it.
    ///
    /// # Errors
    /// [`Fault`] if a node ends, or nothing is listed in time.
    pub async fn listed(&mut self, client: &Client, models: usize) -> Result<(), Fault> {
        // The second document is the first that lists who publishes through the mixes.
        let schedule = self.plan.network.schedule();
        let ends = schedule.start(Epoch(2)).after(LISTED_WITHIN);
        while client.models().len() < models {
            if let Some(fault) = self.failed() {
                return Err(fault);
            }
            if self.services.clock.now() > ends {
                return Err(Fault::failed(
                    "no provider published in time: the machine is too busy; try again",
                ));
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Where the nodes keep their state: a folder each.
    #[must_use]
    pub fn state(&self) -> &Path {
        self.state.path()
    }

    /// The first node that ended before it was asked to, if one did.
    pub fn failed(&mut self) -> Option<Fault> {
        match self.nodes.try_join_next()? {
            Ok(Ok(())) => Some(Fault::failed("a node ended by itself")),
            Ok(Err(fault)) => Some(fault),
            Err(error) => Some(Fault::failed(format!("a node failed: {error}"))),
        }
    }

    /// Asks every node to stop, and waits until all have.
    pub async fn stop(mut self) {
        let _ = self.stop.send(true);
        let all = async { while self.nodes.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(STOP_WITHIN, all).await;
    }

    /// What all nodes saw.
    #[must_use]
    pub fn inspector(&self) -> &Arc<Inspector> {
        &self.inspector
    }

    /// What the faults have done so far to the datagrams of all nodes and clients.
    #[must_use]
    pub fn datagrams(&self) -> FaultCounts {
        let counts = self.paths.iter().map(FaultProxy::counts);
        counts.fold(FaultCounts::default(), FaultCounts::and)
    }

    /// Who is in it.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The provider that serves a shipped model.
    #[must_use]
    pub fn provider_of(&self, model: &str) -> String {
        let providers = self.plan.nodes.iter();
        let providers = providers.filter(|node| node.role == Role::Provider).count();
        let serves = |number: &usize| share(*number, providers).iter().any(|name| name == model);
        let number = (0..providers).find(serves).unwrap_or(0);
        format!("provider-{}", number + 1)
    }

    /// The mailbox of a provider, as bytes to search for.
    #[must_use]
    pub fn mailbox_of(&self, provider: &str) -> Vec<u8> {
        let seed = self
            .plan
            .nodes
            .iter()
            .find(|node| node.name == provider)
            .map(|node| &node.seed);
        seed.map(|seed| Identity::from_seed(seed).mailbox().as_bytes().to_vec())
            .unwrap_or_default()
    }
}

/// Seals model files into the state of a provider that is about to start.
fn shelve(state: &Path, models: &[Model]) -> Result<(), Fault> {
    if models.is_empty() {
        return Ok(());
    }
    let files = SealedFiles::of(state, MODELS).map_err(Fault::failed)?;
    for model in models {
        let file = model.to_file().map_err(Fault::failed)?;
        files.put(&model.name, &file).map_err(Fault::failed)?;
    }
    Ok(())
}

/// For all nodes of one process to start.
const START_UP: Duration = Duration::from_secs(2);
/// For clients to fetch a document that is in force.
const LISTED_WITHIN: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(100);
const JOIN_WITHIN: Duration = Duration::from_secs(30);
const STOP_WITHIN: Duration = Duration::from_secs(5);
