//! Joining the network: which one, through which gateway, at which rate.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use directory::{DirectoryError, Network};
use link::Services;
use message::EdgeConfig;
use message::driver::{Publishing, Uplink, UplinkConfig, UplinkStatus};
use rand::{CryptoRng, RngExt};
use wire::NodeId;

use crate::seat::Seat;
use crate::{Asker, AskerConfig, Client, ConnectError, DummyInputs};

/// Settings of a [`Client`] that is to be.
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing before it connects"]
pub struct ClientBuilder {
    network: Option<Network>,
    gateway: Option<NodeId>,
    class: u8,
    deadline: Duration,
    patience: Duration,
    max_questions: usize,
    dummies: Arc<DummyInputs>,
}

impl ClientBuilder {
    pub(crate) fn new() -> Self {
        Self {
            network: None,
            gateway: None,
            class: 0,
            deadline: Duration::from_secs(30),
            patience: Duration::from_secs(30),
            max_questions: 256,
            dummies: Arc::default(),
        }
    }

    /// The network to join: what its `network.toml` says.
    pub fn network(self, network: Network) -> Self {
        Self {
            network: Some(network),
            ..self
        }
    }

    /// The entry gateway, one of the network's bootstrap list; one of them at random by default.
    pub fn gateway(self, gateway: NodeId) -> Self {
        Self {
            gateway: Some(gateway),
            ..self
        }
    }

    /// The rate class, an index into the signed parameters; the slowest by default. It is sent
    /// at that rate day and night, asked or not: what hides a question is that nothing changes.
    pub fn class(self, class: u8) -> Self {
        Self { class, ..self }
    }

    /// How long a question waits for its answer unless it says otherwise; 30 s by default.
    pub fn deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// How long [`Self::connect`] tries; 30 s by default.
    pub fn patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Most questions at once, 256 by default; beyond it
    /// [`QueryError::Overload`](crate::QueryError::Overload).
    pub fn max_questions(self, max_questions: usize) -> Self {
        Self {
            max_questions,
            ..self
        }
    }

    /// What dummy questions ask: valid inputs by model, as like to real ones as they can be
    /// had. For models without any, inputs are drawn uniformly from the ranges on their cards,
    /// which their providers can tell from real ones.
    pub fn dummy_inputs(self, inputs: DummyInputs) -> Self {
        Self {
            dummies: Arc::new(inputs),
            ..self
        }
    }

    /// Joins: fetches and checks the directory through a gateway, registers there, and starts
    /// the cover traffic. Needs a tokio runtime with time and I/O.
    ///
    /// # Errors
    /// [`ConnectError`], after the builder's patience at most.
    pub async fn connect(self, services: Services) -> Result<Client, ConnectError> {
        let network = Arc::new(self.network.clone().ok_or(ConnectError::NoNetwork)?);
        let classes = &network.parameters().classes;
        if classes.get(usize::from(self.class)).is_none() {
            return Err(ConnectError::NoSuchClass {
                asked: self.class,
                known: classes.len(),
            });
        }
        let gateways = self.gateways(&network, &mut *services.entropy.rng());
        let tries = u32::try_from(gateways.len()).unwrap_or(u32::MAX);
        let each = self
            .patience
            .checked_div(tries)
            .ok_or(ConnectError::NoGateway)?;
        let mut last = UplinkStatus::Connecting;
        for (gateway, addresses) in &gateways {
            let others = gateways.iter().filter(|(other, _)| other != gateway);
            let config = UplinkConfig {
                network: Arc::clone(&network),
                gateway: *gateway,
                addresses: addresses.clone(),
                others: others.cloned().collect(),
                role: "client",
                publish: Publishing::Nothing,
            };
            match self.connect_at(config, services.clone(), each).await? {
                Ok(client) => return Ok(client),
                Err(status) => last = status,
            }
        }
        Err(self.why_not(&last))
    }

    /// One gateway, for a share of the patience; how far it got if it is not enough.
    async fn connect_at(
        &self,
        config: UplinkConfig,
        services: Services,
        patience: Duration,
    ) -> Result<Result<Client, UplinkStatus>, ConnectError> {
        let (class, max_questions) = (self.class, self.max_questions);
        let tap = services.tap.clone();
        let dummies = Arc::clone(&self.dummies);
        let uplink = Uplink::start(config, services, move |now, rng, topology, gateway| {
            let asker_config = AskerConfig {
                edge: EdgeConfig { gateway, class },
                max_questions,
            };
            let mut asker = Asker::new(now, rng, asker_config, topology)?;
            asker.set_dummy_inputs(dummies);
            Ok(Seat::new(asker, tap))
        });
        let (mut handle, events) = uplink.await.map_err(ConnectError::Link)?.split();
        let ready = tokio::time::timeout(patience, handle.ready()).await;
        Ok(match ready {
            Ok(Ok(_)) => Ok(Client::new(handle, events, self.deadline)),
            Ok(Err(status)) => Err(status),
            Err(_) => Err(handle.status()),
        })
    }

    /// The gateways to try, in random order, each with its addresses.
    fn gateways(
        &self,
        network: &Network,
        rng: &mut dyn CryptoRng,
    ) -> Vec<(NodeId, Vec<SocketAddr>)> {
        let mut listed: BTreeMap<NodeId, Vec<SocketAddr>> = BTreeMap::new();
        for (gateway, address) in network.bootstrap() {
            if self.gateway.is_none_or(|wanted| wanted == *gateway) {
                listed.entry(*gateway).or_default().push(*address);
            }
        }
        let mut left: Vec<_> = listed.into_iter().collect();
        let mut drawn = Vec::with_capacity(left.len());
        while !left.is_empty() {
            drawn.push(left.swap_remove(rng.random_range(0..left.len())));
        }
        drawn
    }

    fn why_not(&self, status: &UplinkStatus) -> ConnectError {
        match status {
            UplinkStatus::NoDocument(Some(DirectoryError::Stale { epochs })) => {
                ConnectError::StaleDirectory { epochs: *epochs }
            }
            UplinkStatus::NoDocument(Some(why)) => ConnectError::Directory(*why),
            UplinkStatus::Unfit(why) => ConnectError::Unfit(*why),
            _ => ConnectError::Unreachable {
                after: self.patience,
            },
        }
    }
}
