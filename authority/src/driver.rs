//! The authority on real links: the core, a mesh, a clock and a disk.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use directory::{AuthorityEntry, Identity, Network};
use link::{LinkError, Mesh, MeshConfig, MeshEvent, Peer, Responder, Services};
use store::{Batch, Bytes, Durable, StateDir, StoreError, Table};
use thiserror::Error;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use wire::{Call, CallRefused, Encode, NodeId, Reply};

use crate::allowance::Allowances;
use crate::{Authority, Event, Evidence, Registry, RestoreError};

/// What an authority is started with.
pub struct Config {
    /// Its identity, one of the network's authorities.
    pub identity: Identity,
    /// The network that it serves.
    pub network: Arc<Network>,
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where it keeps what must survive; made if it is not there.
    pub state: PathBuf,
    /// Who may register.
    pub registry: Box<dyn Registry>,
}

/// Why an authority stops other than on request.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RunError {
    /// The identity is none of the network's authorities.
    #[error("{0} is no authority of this network")]
    NotAnAuthority(NodeId),
    /// The state cannot be read or written: it stops rather than sign twice.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The state is not this network's.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// The links cannot be set up.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The mesh ended by itself.
    #[error("the links went down")]
    LinksDown,
}

/// Runs an authority until `stop` becomes true.
///
/// # Errors
/// [`RunError`] if it cannot start, or cannot store what it has to before it signs.
pub async fn run(
    config: Config,
    services: Services,
    mut stop: watch::Receiver<bool>,
) -> Result<(), RunError> {
    let mut driver = Driver::start(config, services).await?;
    let outcome = driver.serve(&mut stop).await;
    driver.mesh.shutdown().await;
    outcome
}

struct Driver {
    core: Authority,
    network: Arc<Network>,
    services: Services,
    durable: Durable,
    evidence_number: u64,
    mesh: Mesh,
    events: mpsc::Receiver<MeshEvent>,
    calls: JoinSet<(NodeId, Result<Reply, LinkError>)>,
    allowances: Allowances,
}

impl Driver {
    async fn start(config: Config, services: Services) -> Result<Self, RunError> {
        let network = config.network;
        let id = config.identity.node_id();
        if network.authority(&id).is_none() {
            return Err(RunError::NotAnAuthority(id));
        }
        let durable = StateDir::open(&config.state)?.durable()?;
        let frame_len = network.parameters().geometry.frame_len();
        let seed = (*config.identity.seed()).into();
        let mesh_config = MeshConfig::node(frame_len, seed, config.listen).with_strangers();
        let mut core = Authority::new(config.identity, Arc::clone(&network), config.registry);
        if let Some(record) = durable.get(&RECORD, &[0])? {
            core.restore(&record.0)?;
        }
        let evidence_number = durable.scan(&EVIDENCE, .., EVIDENCE_MAX)?.len() as u64;
        let (mesh, events) = Mesh::bind(mesh_config, services.clone()).await?;
        mesh.set_neighbours(
            // One link a pair is enough for calls both ways.
            others(&network, id)
                .filter(|entry| entry.id > id)
                .map(|entry| (entry.id, entry.addresses.clone()))
                .collect(),
            others(&network, id).map(|entry| entry.id).collect(),
        );
        Ok(Self {
            core,
            network,
            services,
            durable,
            evidence_number,
            mesh,
            events,
            calls: JoinSet::new(),
            allowances: Allowances::default(),
        })
    }

    async fn serve(&mut self, stop: &mut watch::Receiver<bool>) -> Result<(), RunError> {
        loop {
            let now = self.services.clock.now();
            if self.core.poll_timeout() <= now {
                self.core.handle_timeout(now);
            }
            self.settle()?;
            let wait = self.core.poll_timeout().since(self.services.clock.now());
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
                () = tokio::time::sleep(wait.max(TICK)) => {}
                Some(done) = self.calls.join_next() => {
                    if let Ok((from, Ok(reply))) = done {
                        let now = self.services.clock.now();
                        self.core.handle_reply(now, from, &reply);
                    }
                }
                event = self.events.recv() => match event {
                    Some(event) => self.handle_event(event)?,
                    None => return Err(RunError::LinksDown),
                },
            }
        }
    }

    fn handle_event(&mut self, event: MeshEvent) -> Result<(), RunError> {
        match event {
            MeshEvent::Call {
                from,
                call,
                responder,
            } => self.answer(from, &call, responder),
            MeshEvent::Down(peer) => {
                self.allowances.forget(&peer);
                Ok(())
            }
            // No packet passes through an authority.
            _ => Ok(()),
        }
    }

    /// What the core learnt is stored before the reply leaves.
    fn answer(&mut self, from: Peer, call: &Call, responder: Responder) -> Result<(), RunError> {
        let now = self.services.clock.now();
        let node = match from {
            Peer::Node(id) => Some(id),
            Peer::Guest(_) => None,
        };
        let authority = node.is_some_and(|id| self.network.authority(&id).is_some());
        let reply = if authority || self.allowances.take(now, from, call) {
            self.core.handle_call(now, node, call)
        } else {
            Reply::Refused(CallRefused::Busy)
        };
        count_call(call, &reply);
        self.settle()?;
        responder.respond(reply);
        Ok(())
    }

    /// Stores first, then tells and sends.
    fn settle(&mut self) -> Result<(), RunError> {
        if let Some(record) = self.core.poll_persist() {
            let mut batch = Batch::new();
            batch.put(&RECORD, &[0], &Bytes(record));
            self.durable.commit(batch)?;
        }
        while let Some(event) = self.core.poll_event() {
            self.note(&event)?;
        }
        while self.calls.len() < MAX_CALLS
            && let Some((peer, call)) = self.core.poll_transmit()
        {
            self.send(peer, call);
        }
        Ok(())
    }

    fn send(&mut self, peer: NodeId, call: Call) {
        let Some(entry) = self.network.authority(&peer) else {
            return;
        };
        let addresses = entry.addresses.clone();
        let mesh = self.mesh.clone();
        let deadline = self.network.schedule().step().max(MIN_DEADLINE);
        self.calls
            .spawn(async move { (peer, mesh.call_at(peer, &addresses, &call, deadline).await) });
    }

    fn note(&mut self, event: &Event) -> Result<(), StoreError> {
        match event {
            Event::Listed { epoch, descriptors } => {
                tracing::info!(%epoch, descriptors, "list signed");
            }
            Event::Signed { epoch, .. } => tracing::info!(%epoch, "document signed"),
            Event::Consensus { epoch, .. } => {
                metrics::gauge!("subrosa_authority_newest_epoch").set(epoch.0 as f64);
                tracing::info!(%epoch, "document agreed");
            }
            Event::Abstained { epoch, why } => {
                metrics::counter!("subrosa_authority_abstentions_total").increment(1);
                tracing::warn!(%epoch, %why, "no part in this vote");
            }
            Event::Evidence(evidence) => self.keep_evidence(evidence)?,
        }
        Ok(())
    }

    fn keep_evidence(&mut self, evidence: &Evidence) -> Result<(), StoreError> {
        metrics::counter!("subrosa_authority_evidence_total", "kind" => evidence.label())
            .increment(1);
        tracing::error!(
            kind = evidence.label(),
            convicts = evidence.convicts().map(|id| id.to_string()),
            "two statements that exclude each other are signed"
        );
        if self.evidence_number < EVIDENCE_MAX as u64 {
            let mut batch = Batch::new();
            let number = self.evidence_number.to_be_bytes();
            batch.put(&EVIDENCE, &number, &Bytes(evidence.to_bytes()));
            self.durable.commit(batch)?;
            self.evidence_number += 1;
        }
        Ok(())
    }
}

fn others(network: &Network, own: NodeId) -> impl Iterator<Item = &AuthorityEntry> {
    let entries = network.authorities().iter();
    entries.filter(move |entry| entry.id != own)
}

fn count_call(call: &Call, reply: &Reply) {
    let kind = match call {
        Call::NewestDocument | Call::Document(_) => "document",
        Call::Publish(_) => "publish",
        Call::Ballot(_) => "ballot",
        Call::Clocks => "clocks",
        _ => "other",
    };
    let result = match reply {
        Reply::Refused(CallRefused::NotForThisNode) => "not_for_this_node",
        Reply::Refused(CallRefused::Invalid) => "invalid",
        Reply::Refused(CallRefused::NotYet) => "not_yet",
        Reply::Refused(CallRefused::WrongEpoch) => "wrong_epoch",
        Reply::Refused(CallRefused::Busy) => "busy",
        _ => "done",
    };
    metrics::counter!("subrosa_authority_calls_total", "kind" => kind, "result" => result)
        .increment(1);
}

const RECORD: Table<[u8; 1], Bytes> = Table::new("authority_record");
const EVIDENCE: Table<[u8; 8], Bytes> = Table::new("authority_evidence");
/// Most pieces of evidence kept on disk; the first ones stay.
const EVIDENCE_MAX: usize = 4096;
/// Most own calls under way.
const MAX_CALLS: usize = 64;
/// Shortest wait between two looks at the timers.
const TICK: Duration = Duration::from_millis(1);
/// Shortest time given to a call.
const MIN_DEADLINE: Duration = Duration::from_secs(2);
