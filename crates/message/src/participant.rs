//! What the driver runs: any core that keeps one link to an entry gateway.

use std::sync::Arc;

use directory::Topology;
use rand::CryptoRng;
use sphinx::Packet;
use wire::{Call, Epoch, NodeId, Register, Time};

use crate::{Edge, EdgeError};

/// A client's or provider's core: it owns an [`Edge`], passes the driver's calls on
/// to it, and adds what it is for. Simulations drive the same core without the driver.
pub trait Participant: Send + 'static {
    /// What its owner asks of it.
    type Command: Send + 'static;
    /// What it tells its owner.
    type Event: Send + 'static;

    /// Does as its owner asks. What comes of it is told by [`Self::poll_event`].
    fn handle_command(&mut self, now: Time, rng: &mut dyn CryptoRng, command: Self::Command);

    /// Takes a frame from the entry gateway: prefix and packet.
    fn handle_frame(&mut self, now: Time, rng: &mut dyn CryptoRng, frame: &[u8]);

    /// Does what is due.
    fn handle_timeout(&mut self, now: Time, rng: &mut dyn CryptoRng);

    /// When [`Self::handle_timeout`] is to be called next.
    fn poll_timeout(&self) -> Option<Time>;

    /// A packet for the entry gateway, and the index of the mix that gets it first.
    fn poll_transmit(&mut self, now: Time) -> Option<(u16, Packet)>;

    /// News for its owner.
    fn poll_event(&mut self) -> Option<Self::Event>;

    /// Makes one packet ahead of the clock; false if none is wanted. Called between ticks.
    fn prepare(&mut self, rng: &mut dyn CryptoRng) -> bool;

    /// Goes on by a newer document.
    ///
    /// # Errors
    /// [`EdgeError`] if there is no way through the network by it; it stays with the last one.
    fn set_topology(
        &mut self,
        now: Time,
        rng: &mut dyn CryptoRng,
        topology: Arc<Topology>,
    ) -> Result<(), EdgeError>;

    /// The link is there, the entry gateway knows us: slots are used from now on.
    fn link_up(&mut self);

    /// The link is gone: the clock runs on, what waits stays.
    fn link_down(&mut self);

    /// Its edge, for what it counted.
    fn edge(&self) -> &Edge;

    /// Its edge.
    fn edge_mut(&mut self) -> &mut Edge;

    /// Learns the document of the epoch to come, before it is in force.
    fn foresee(&mut self, rng: &mut dyn CryptoRng, topology: Arc<Topology>) {
        self.edge_mut().foresee(rng, topology);
    }

    /// Takes another entry gateway: its own is gone.
    ///
    /// # Errors
    /// [`EdgeError`] if it cannot be reached that way; then nothing has changed.
    fn set_gateway(
        &mut self,
        now: Time,
        rng: &mut dyn CryptoRng,
        gateway: NodeId,
    ) -> Result<(), EdgeError> {
        self.edge_mut().set_gateway(now, rng, gateway)
    }

    /// Publishes through the mixes what it offers in `epoch`, if it offers anything.
    fn publish(&mut self, now: Time, epoch: Epoch) {
        let _ = (now, epoch);
    }

    /// How it registers at its entry gateway: first of all on every link and in every epoch.
    fn register(&self) -> Register;

    /// What it asks of its entry gateway after it has registered: a provider's claim to its
    /// mailbox. Replies are not waited for one by one; a refusal makes the driver try again.
    fn calls(&mut self, now: Time) -> Vec<Call> {
        let _ = now;
        Vec::new()
    }
}
