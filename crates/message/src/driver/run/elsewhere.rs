//! Taking another entry gateway when the own one is gone.

use std::net::SocketAddr;
use std::sync::Arc;

use directory::Topology;
use rand::{CryptoRng, RngExt};
use wire::{NodeId, Time};

use super::{Link, Run};
use crate::driver::UplinkStatus;
use crate::{EdgeError, Participant};

impl<P, M> Run<P, M>
where
    P: Participant,
    M: FnOnce(Time, &mut dyn CryptoRng, Arc<Topology>, NodeId) -> Result<P, EdgeError>,
{
    /// Draws one of the others that is listed, and dials it. The one that is gone stays among
    /// the others: it may come back before the next one goes.
    pub(super) fn take_another(&mut self, now: Time) {
        self.gone_since = Some(now);
        let usable: Vec<usize> = (0..self.others.len())
            .filter(|place| self.is_listed(*place))
            .collect();
        if usable.is_empty() {
            return;
        }
        let drawn = self.rng.random_range(0..usable.len());
        let Some(place) = usable.get(drawn).copied() else {
            return;
        };
        let (gateway, addresses) = self.others.swap_remove(place);
        if let Some(core) = &mut self.core
            && let Err(why) = core.set_gateway(now, &mut *self.rng, gateway)
        {
            tracing::warn!(%why, "cannot send by another gateway");
            self.others.push((gateway, addresses));
            return;
        }
        tracing::warn!("the entry gateway is gone; taking another");
        let addresses = self.listed_addresses(&gateway).unwrap_or(addresses);
        let left = std::mem::replace(&mut self.gateway, gateway);
        let left_at = std::mem::replace(&mut self.addresses, addresses);
        self.others.push((left, left_at));
        self.link = Link::Down;
        self.retry_at = None;
        self.subscriber.set_sources(now, vec![gateway]);
        self.status(UplinkStatus::Connecting);
        self.dial();
    }

    fn is_listed(&self, place: usize) -> bool {
        let other = self.others.get(place);
        other.is_some_and(|(id, _)| match &self.topology {
            Some(topology) => topology.gateways().iter().any(|relay| relay.id == *id),
            None => true,
        })
    }

    fn listed_addresses(&self, gateway: &NodeId) -> Option<Vec<SocketAddr>> {
        let relay = self.topology.as_ref()?.relay(gateway)?;
        (!relay.addresses.is_empty()).then(|| relay.addresses.clone())
    }
}
