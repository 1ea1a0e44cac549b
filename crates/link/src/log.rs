//! What reaches a log: what this crate says itself, about nodes, and nothing of the libraries below.
//!
//! QUIC and TLS libraries log addresses. So every task here, and everything that they poll,
//! runs without a subscriber; what is worth saying is said through the one that was in force
//! when the mesh was bound.

use std::future::Future;
use std::io;
use std::net::UdpSocket;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use quinn::{AsyncTimer, AsyncUdpSocket, Runtime, TokioRuntime};
use tracing::dispatcher::{self, Dispatch};
use tracing::instrument::{WithDispatch, WithSubscriber};
use wire::NodeId;

use crate::LinkError;

/// Says what an operator needs. Nodes are named by their identity, guests not at all.
pub(crate) struct Log(Dispatch);

impl Log {
    /// Speaks to the subscriber in force at the call.
    pub(crate) fn here() -> Self {
        Self(dispatcher::get_default(Clone::clone))
    }

    pub(crate) fn link_up(&self, node: &NodeId) {
        self.say(|| tracing::debug!(%node, "link up"));
    }

    pub(crate) fn link_down(&self, node: &NodeId) {
        self.say(|| tracing::debug!(%node, "link down"));
    }

    pub(crate) fn dial_failed(&self, node: &NodeId, error: LinkError) {
        self.say(|| tracing::debug!(%node, %error, "cannot reach node"));
    }

    fn say(&self, event: impl FnOnce()) {
        dispatcher::with_default(&self.0, event);
    }
}

/// Runs `future` unheard.
pub(crate) fn quiet<F: Future>(future: F) -> WithDispatch<F> {
    // Not a subscriber that says nothing: making one would make the others be asked again.
    future.with_subscriber(Dispatch::none())
}

/// Tokio, with the library's own tasks unheard.
#[derive(Debug)]
pub(crate) struct QuietRuntime;

impl Runtime for QuietRuntime {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        TokioRuntime.new_timer(at)
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        TokioRuntime.spawn(Box::pin(quiet(future)));
    }

    fn wrap_udp_socket(&self, socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        TokioRuntime.wrap_udp_socket(socket)
    }

    fn now(&self) -> Instant {
        TokioRuntime.now()
    }
}
