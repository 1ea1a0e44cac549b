//! A node's links.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::mpsc;
use wire::{Call, NodeId, Refusal, Reply};

use crate::{Frame, FrameRate, LinkCounts, LinkError, MeshConfig, MeshEvent, Peer, Services};

/// A node's links: listens, dials, dials again, and sorts what comes by peer. A cheap handle;
/// the links go down with the last clone.
#[derive(Clone)]
pub struct Mesh {}

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
        let _ = (config, services);
        todo!()
    }

    /// Dials these nodes and keeps the links up, each under the first of its addresses that
    /// answers; admits those when they dial us. Links to others go down.
    pub fn set_neighbours(&self, dial: Vec<(NodeId, Vec<SocketAddr>)>, admit: Vec<NodeId>) {
        let _ = (dial, admit);
        todo!()
    }

    /// Bounds the frames that peers may send us, from now on.
    pub fn set_frame_rate(&self, whose: Whose, rate: FrameRate) {
        let _ = (whose, rate);
        todo!()
    }

    /// Queues frames for a peer, in order: as many as its queue has room for.
    ///
    /// # Errors
    /// Why the last frames were not queued, and how many: `NotConnected` (all of them),
    /// `BadLength` (all, if any has not the mesh's frame length), `Overload`.
    pub fn send(&self, to: Peer, frames: Vec<Frame>) -> Result<(), (Refusal, u64)> {
        let _ = (to, frames);
        todo!()
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
        let _ = (to, call, deadline);
        todo!()
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
        let _ = (node, addresses, call, deadline);
        todo!()
    }

    /// Closes one peer's links. A node that is dialled is dialled again.
    pub fn disconnect(&self, peer: Peer) {
        let _ = peer;
        todo!()
    }

    /// Closes all links and waits, a second at most, until the peers have been told.
    pub async fn shutdown(self) {
        todo!()
    }

    /// Where the mesh listens.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        todo!()
    }

    /// The identity that the mesh shows.
    #[must_use]
    pub fn node_id(&self) -> Option<NodeId> {
        todo!()
    }

    /// The address at the other end of a link. For the tap, which alone may see it.
    #[must_use]
    pub fn remote(&self, peer: Peer) -> Option<SocketAddr> {
        let _ = peer;
        todo!()
    }

    /// Whether a link to the peer is up.
    #[must_use]
    pub fn is_up(&self, peer: Peer) -> bool {
        let _ = peer;
        todo!()
    }

    /// What was counted.
    #[must_use]
    pub fn counts(&self) -> LinkCounts {
        todo!()
    }
}
