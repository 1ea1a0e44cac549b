//! The driver of clients and providers: one link to the entry gateway, and a core that owns an
//! [`Edge`](crate::Edge) behind it.
//!
//! One task does everything, so that the core needs no lock. It fetches the documents through
//! the gateway, registers, keeps the link, and moves frames promptly between link and core. When
//! the entry gateway is gone for ten seconds, it takes one of the others that it was given.

mod run;

use std::net::SocketAddr;
use std::sync::Arc;

use directory::{DirectoryError, Network, Topology, View};
use link::{LinkError, Mesh, MeshConfig, Services};
use rand::CryptoRng;
use tokio::sync::{mpsc, watch};
use wire::{Epoch, Ledger, NodeId, Time};

use traffic::LoopCounts;

use crate::{EdgeCounts, EdgeError, EdgeMemory, Participant};

/// What a driver is told.
pub struct UplinkConfig {
    /// The network, as `network.toml` describes it.
    pub network: Arc<Network>,
    /// The entry gateway.
    pub gateway: NodeId,
    /// Where it is reached until a document says otherwise.
    pub addresses: Vec<SocketAddr>,
    /// Gateways to take when that one is gone, with their addresses; none for whoever must stay.
    pub others: Vec<(NodeId, Vec<SocketAddr>)>,
    /// What metrics call this participant's kind: `client` or `provider`.
    pub role: &'static str,
    /// What it publishes, and how.
    pub publish: Publishing,
}

/// How a descriptor reaches the authorities.
pub enum Publishing {
    /// There is none.
    Nothing,
    /// By the entry gateway, which thereby learns whose it is. This signs it for an epoch: the
    /// same bytes whenever it is asked for the same epoch.
    OverTheLink(Publish),
    /// Through the mixes, by the core ([`Participant::publish`]).
    ThroughTheMixes,
}

/// See [`Publishing::OverTheLink`].
pub type Publish = Box<dyn FnMut(Epoch) -> Vec<u8> + Send>;

/// How the uplink stands.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum UplinkStatus {
    /// Dialling the entry gateway.
    Connecting,
    /// Connected, without a document to send by: not fetched yet, or why it is refused.
    NoDocument(Option<DirectoryError>),
    /// The core asked for does not fit the document; at the start this ends the uplink.
    Unfit(EdgeError),
    /// Has a document, and waits for the gateway to take the registration.
    Registering,
    /// Sends and receives.
    Ready,
    /// Ended.
    Closed,
}

/// What a core's edge counted, as of the last second.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EdgeReport {
    /// The account of its packets.
    pub ledger: Ledger,
    /// Packets made and not yet gone.
    pub held: u64,
    /// What left and came, by kind.
    pub counts: EdgeCounts,
    /// How its loops fare.
    pub loops: LoopCounts,
    /// What it keeps.
    pub memory: EdgeMemory,
}

/// A core at work behind its link. It works until the last [`UplinkHandle`] is dropped.
pub struct Uplink<P: Participant> {
    handle: UplinkHandle<P>,
    events: mpsc::Receiver<P::Event>,
}

/// Commands a core, and watches its uplink.
pub struct UplinkHandle<P: Participant> {
    commands: mpsc::Sender<P::Command>,
    status: watch::Receiver<UplinkStatus>,
    topology: watch::Receiver<Option<Arc<Topology>>>,
    report: watch::Receiver<Option<EdgeReport>>,
}

/// The uplink has ended; the command was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the uplink has ended")]
pub struct UplinkClosed;

impl<P: Participant> Uplink<P> {
    /// Starts to dial. The core is made by `make` as soon as there is a document to send by, for the
    /// entry gateway that is used then.
    ///
    /// # Errors
    /// [`LinkError`] if the socket cannot be opened.
    pub async fn start<M>(
        config: UplinkConfig,
        services: Services,
        make: M,
    ) -> Result<Self, LinkError>
    where
        M: FnOnce(Time, &mut dyn CryptoRng, Arc<Topology>, NodeId) -> Result<P, EdgeError>,
        M: Send + 'static,
    {
        let frame_len = config.network.parameters().geometry.frame_len();
        let (mesh, arrivals) = Mesh::bind(MeshConfig::client(frame_len), services.clone()).await?;
        let (commands, command_queue) = mpsc::channel(COMMANDS);
        let (event_queue, events) = mpsc::channel(EVENTS);
        let (status_sender, status) = watch::channel(UplinkStatus::Connecting);
        let (topology_sender, topology) = watch::channel(None);
        let (report_sender, report) = watch::channel(None);
        let outputs = run::Outputs {
            events: event_queue,
            status: status_sender,
            topology: topology_sender,
            report: report_sender,
        };
        let view = View::new(Arc::clone(&config.network));
        let run = run::Run::new(config, view, services, mesh, outputs, make);
        tokio::spawn(run.run(arrivals, command_queue));
        let handle = UplinkHandle {
            commands,
            status,
            topology,
            report,
        };
        Ok(Self { handle, events })
    }

    /// The core's next news; `None` once the uplink has ended.
    pub async fn event(&mut self) -> Option<P::Event> {
        self.events.recv().await
    }

    /// A handle of its own for whoever commands.
    #[must_use]
    pub fn handle(&self) -> UplinkHandle<P> {
        self.handle.clone()
    }

    /// Takes the uplink apart: for one who commands, and another who listens.
    #[must_use]
    pub fn split(self) -> (UplinkHandle<P>, mpsc::Receiver<P::Event>) {
        (self.handle, self.events)
    }
}

impl<P: Participant> UplinkHandle<P> {
    /// Passes a command to the core; waits while many are queued.
    ///
    /// # Errors
    /// [`UplinkClosed`].
    pub async fn command(&self, command: P::Command) -> Result<(), UplinkClosed> {
        let sent = self.commands.send(command).await;
        sent.map_err(|_| UplinkClosed)
    }

    /// How the uplink stands.
    #[must_use]
    pub fn status(&self) -> UplinkStatus {
        self.status.borrow().clone()
    }

    /// Waits until the uplink is ready, and returns the document by which it sends.
    ///
    /// # Errors
    /// The status, if it has ended or cannot start.
    pub async fn ready(&mut self) -> Result<Arc<Topology>, UplinkStatus> {
        let settled = |status: &UplinkStatus| {
            use UplinkStatus::{Closed, Ready, Unfit};
            matches!(status, Ready | Unfit(_) | Closed)
        };
        let status = match self.status.wait_for(settled).await {
            Ok(status) => status.clone(),
            Err(_) => UplinkStatus::Closed,
        };
        match (status, self.topology()) {
            (UplinkStatus::Ready, Some(topology)) => Ok(topology),
            (status, _) => Err(status),
        }
    }

    /// Waits for the status to change.
    pub async fn changed(&mut self) -> UplinkStatus {
        match self.status.changed().await {
            Ok(()) => self.status.borrow_and_update().clone(),
            Err(_) => UplinkStatus::Closed,
        }
    }

    /// Waits until the uplink has ended.
    pub async fn closed(&mut self) {
        // An error says the same: the task is gone.
        let _ = self
            .status
            .wait_for(|status| *status == UplinkStatus::Closed)
            .await;
    }

    /// The document by which the core sends; `None` before the first.
    #[must_use]
    pub fn topology(&self) -> Option<Arc<Topology>> {
        self.topology.borrow().clone()
    }

    /// What the core's edge counted, as of the last second; `None` before there is a core.
    #[must_use]
    pub fn report(&self) -> Option<EdgeReport> {
        self.report.borrow().clone()
    }
}

impl<P: Participant> Clone for UplinkHandle<P> {
    fn clone(&self) -> Self {
        Self {
            commands: self.commands.clone(),
            status: self.status.clone(),
            topology: self.topology.clone(),
            report: self.report.clone(),
        }
    }
}

/// Commands that wait for the core.
const COMMANDS: usize = 256;

/// News that wait for the owner; beyond them they wait in the core.
const EVENTS: usize = 256;
