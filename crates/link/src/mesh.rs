//! A node's links.

mod accept;
mod dial;
pub(crate) mod registry;
mod shared;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use wire::{Call, NodeId, Refusal, Reply};

use crate::link::Code;
use crate::log::quiet;
use crate::{
    Frame, FrameRate, LinkCounts, LinkError, MeshConfig, MeshEvent, Peer, Services, calls, locked,
};

pub(crate) use shared::{Shared, Turn};

/// A node's links: listens, dials, dials again, and sorts what comes by peer. A cheap handle;
/// the links go down with the last clone.
#[derive(Clone)]
pub struct Mesh(Arc<Owner>);

/// Closes everything when the last handle goes.
struct Owner(Arc<Shared>);

/// Whose frames a rate bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// Every node's, each by itself.
    Nodes,
    /// Every guest's, each by itself, unless set for that guest.
    Guests,
    /// This peer's, for as long as it is connected.
    Peer(Peer),
}

impl Mesh {
    /// Opens the sockets and starts to listen and dial, on the tokio runtime of the caller.
    ///
    /// # Errors
    /// [`LinkError`] if the configuration makes no sense or the socket cannot be opened.
    pub async fn bind(
        config: MeshConfig,
        services: Services,
    ) -> Result<(Self, mpsc::Receiver<MeshEvent>), LinkError> {
        let lengths = Frame::PREFIX_LEN + 1..=MAX_FRAME_LEN;
        if !lengths.contains(&config.frame_len) {
            return Err(LinkError::BadFrameLength);
        }
        let (sender, events) = mpsc::channel(config.limits.events.max(1));
        let shared = Arc::new(Shared::new(config, services, sender)?);
        if let Some(endpoint) = &shared.sockets.listening {
            let accept = accept::accept(shared.clone(), endpoint.clone());
            tokio::spawn(quiet(accept));
        }
        Ok((Self(Arc::new(Owner(shared))), events))
    }

    /// Dials these nodes and keeps the links up, each under the first of its addresses that
    /// answers; admits those when they dial us. Links to others go down.
    pub fn set_neighbours(&self, dial: Vec<(NodeId, Vec<SocketAddr>)>, admit: Vec<NodeId>) {
        let shared = self.shared();
        shared.set_admitted(admit);
        let mut dialled = locked(&shared.dialled);
        let wanted: BTreeMap<_, _> = dial.into_iter().collect();
        // A link that is no longer wanted, or under other addresses, ends with its sender.
        dialled.retain(|node, (addresses, _)| wanted.get(node) == Some(addresses));
        for (node, addresses) in wanted {
            dialled.entry(node).or_insert_with(|| {
                let (stop, stopped) = oneshot::channel();
                let keep = dial::keep(shared.clone(), node, addresses.clone(), stopped);
                tokio::spawn(quiet(keep));
                (addresses, stop)
            });
        }
    }

    /// Bounds the frames that peers may send us, from now on.
    pub fn set_frame_rate(&self, whose: Whose, rate: FrameRate) {
        let now = self.shared().services.clock.now();
        locked(&self.shared().registry).set_rate(now, whose, rate);
    }

    /// Queues frames for a peer, in order: as many as its queue has room for.
    ///
    /// # Errors
    /// Why the last frames were not queued, and how many: `NotConnected` (all of them),
    /// `BadLength` (all, if any has not the mesh's frame length), `Overload`.
    pub fn send(&self, to: Peer, frames: Vec<Frame>) -> Result<(), (Refusal, u64)> {
        let shared = self.shared();
        if frames
            .iter()
            .any(|frame| frame.as_bytes().len() != shared.frame_len)
        {
            return Err((Refusal::BadLength, frames.len() as u64));
        }
        let sent = locked(&shared.registry).send(to, frames);
        match sent {
            Err((Refusal::NotConnected, count)) => shared.counters.not_connected.many(count),
            Err((_, count)) => shared.counters.overload.many(count),
            Ok(()) => {}
        }
        sent
    }

    /// Calls a peer that is connected.
    ///
    /// # Errors
    /// [`LinkError::NotConnected`], [`LinkError::Deadline`], or what was wrong with the reply.
    pub async fn call(
        &self,
        to: Peer,
        call: &Call,
        deadline: Duration,
    ) -> Result<Reply, LinkError> {
        let connection = locked(&self.shared().registry).connection_to(to);
        let connection = connection.ok_or(LinkError::NotConnected)?;
        within(deadline, calls::ask(&connection, call)).await
    }

    /// Calls a node over its link if there is one, else over a connection made for this call.
    ///
    /// # Errors
    /// As [`Self::call`], and why the node could not be reached under any of `addresses`.
    pub async fn call_at(
        &self,
        node: NodeId,
        addresses: &[SocketAddr],
        call: &Call,
        deadline: Duration,
    ) -> Result<Reply, LinkError> {
        let linked = locked(&self.shared().registry).connection_to(Peer::Node(node));
        if let Some(connection) = linked {
            return within(deadline, calls::ask(&connection, call)).await;
        }
        within(deadline, async {
            let connection = dial::connect(self.shared(), node, addresses).await?;
            let reply = calls::ask(&connection, call).await;
            Code::Done.close(&connection);
            reply
        })
        .await
    }

    /// Closes one peer's links. A node that is dialled is dialled again.
    pub fn disconnect(&self, peer: Peer) {
        locked(&self.shared().registry).close(peer);
    }

    /// Closes all links and waits, a second at most, until the peers have been told.
    pub async fn shutdown(self) {
        let shared = self.shared();
        shared.close();
        let told = async {
            for endpoint in shared.sockets.iter() {
                endpoint.wait_idle().await;
            }
        };
        // Who cannot be told finds out by itself.
        let _ = timeout(PARTING, quiet(told)).await;
    }

    /// Where the mesh listens.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        let endpoint = self.shared().sockets.listening.as_ref()?;
        endpoint.local_addr().ok()
    }

    /// The identity that the mesh shows.
    #[must_use]
    pub fn node_id(&self) -> Option<NodeId> {
        self.shared().tls.node_id()
    }

    /// The address at the other end of a link. For the tap, which alone may see it.
    #[must_use]
    pub fn remote(&self, peer: Peer) -> Option<SocketAddr> {
        locked(&self.shared().registry).address_of(peer)
    }

    /// Whether a link to the peer is up.
    #[must_use]
    pub fn is_up(&self, peer: Peer) -> bool {
        locked(&self.shared().registry)
            .connection_to(peer)
            .is_some()
    }

    /// What was counted.
    #[must_use]
    pub fn counts(&self) -> LinkCounts {
        let mut counts = self.shared().counters.read();
        for (sent, lost) in locked(&self.shared().registry).carried() {
            counts.datagrams_out += sent;
            counts.datagrams_lost += lost;
        }
        counts
    }

    /// Connections that came in, and how many of them have their handshake under way.
    #[must_use]
    pub fn came_in(&self) -> (usize, usize) {
        self.shared().gate.count()
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.0.0
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Runs `asked` unheard by any log, up to `deadline`.
async fn within(
    deadline: Duration,
    asked: impl Future<Output = Result<Reply, LinkError>>,
) -> Result<Reply, LinkError> {
    timeout(deadline, quiet(asked))
        .await
        .map_err(|_| LinkError::Deadline)?
}

/// Most bytes of a frame; the network's largest is 64 KiB and its header.
const MAX_FRAME_LEN: usize = 1 << 20;

/// How long a shutdown waits for peers to be told.
const PARTING: Duration = Duration::from_secs(1);
