//! The library's handle: ask, list, close.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use message::driver::{EdgeReport, UplinkHandle};
use tokio::sync::mpsc;

use crate::builder::ClientBuilder;
use crate::query::Query;
use crate::seat::Seat;
use crate::{Input, ModelListing};

/// A client of the network: cheap to clone, for as many tasks as ask.
///
/// It sends at its class's rate from [`ClientBuilder::connect`] on until it is closed or its
/// last clone is dropped, whether there are questions or not.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    uplink: Mutex<Option<UplinkHandle<Seat>>>,
    /// Carries nothing; ends with the uplink.
    ended: tokio::sync::Mutex<mpsc::Receiver<Infallible>>,
    deadline: Duration,
}

impl Client {
    /// Settings of a client that is to be.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::new()
    }

    /// What the catalogue in use lists, in the order of names; nothing once it is closed.
    #[must_use]
    pub fn models(&self) -> Vec<ModelListing> {
        let topology = self.uplink().and_then(|uplink| uplink.topology());
        topology.map_or_else(Vec::new, |topology| ModelListing::of(&topology))
    }

    /// A question to `model`, by name or by graph hash in hexadecimal. Sent when it is awaited.
    pub fn query(&self, model: impl Into<String>, input: impl Into<Input>) -> Query {
        Query::new(
            self.clone(),
            model.into(),
            input.into(),
            self.shared.deadline,
        )
    }

    /// What this client's edge counted, as of the last second. Never leaves the client.
    #[must_use]
    pub fn report(&self) -> Option<EdgeReport> {
        self.uplink().and_then(|uplink| uplink.report())
    }

    /// Ends all clones of this client: questions under way end in
    /// [`QueryError::Closed`](crate::QueryError::Closed), the link is closed.
    pub async fn close(self) {
        drop(self.lock().take());
        let mut ended = self.shared.ended.lock().await;
        while ended.recv().await.is_some() {}
    }

    pub(crate) fn new(
        uplink: UplinkHandle<Seat>,
        ended: mpsc::Receiver<Infallible>,
        deadline: Duration,
    ) -> Self {
        let shared = Shared {
            uplink: Mutex::new(Some(uplink)),
            ended: tokio::sync::Mutex::new(ended),
            deadline,
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// The uplink; not to be kept, for it lives as long as it is held.
    pub(crate) fn uplink(&self) -> Option<UplinkHandle<Seat>> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<UplinkHandle<Seat>>> {
        // A handle is whole whoever panicked beside it.
        self.shared
            .uplink
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
