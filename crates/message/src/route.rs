//! Choosing routes: one mix of each layer, no two of one family, uniformly and anew for every
//! packet (docs/spec/message.md, 1).

use std::time::Duration;

use directory::{Relay, Topology};
use rand::{CryptoRng, RngExt};
use sphinx::{Address, Hop, RouteKey, SecretKey};
use traffic::LoopRoute;
use wire::{Epoch, Handle, NodeId};

use crate::EdgeError;

/// The hops of one packet.
pub(crate) struct Route {
    /// The mix of layer 1 to which the entry gateway hands the packet.
    pub(crate) first: NodeId,
    pub(crate) hops: Vec<Hop>,
    /// Sum of the delays at the hops.
    pub(crate) delay: Duration,
}

impl Route {
    /// Which nodes a loop passes; its own end is none.
    pub(crate) fn way(&self) -> LoopRoute {
        let own = self.hops.len().saturating_sub(1);
        let nodes = self.hops.iter().take(own);
        LoopRoute {
            nodes: nodes.map(|hop| NodeId(hop.address.0)).collect(),
            delay: self.delay,
        }
    }
}

/// Where a client's own packets come back to: handle and Sphinx key, drawn for one epoch.
pub(crate) struct Home {
    pub(crate) epoch: Epoch,
    pub(crate) gateway: NodeId,
    pub(crate) handle: Handle,
    pub(crate) secret: SecretKey,
    key: RouteKey,
}

impl Home {
    pub(crate) fn new(rng: &mut dyn CryptoRng, epoch: Epoch, gateway: NodeId) -> Self {
        let secret = SecretKey::generate(rng);
        let key = RouteKey::new(secret.public()).expect("a generated key is a point of full order");
        let mut handle = [0; Handle::LEN];
        rng.fill_bytes(&mut handle);
        Self {
            epoch,
            gateway,
            handle: Handle(handle),
            secret,
            key,
        }
    }
}

/// Three mixes and the gateway `to`: four hops.
///
/// # Errors
/// [`EdgeError::NoRoute`] if a layer is empty, [`EdgeError::UnknownMailboxGateway`] if the
/// document does not list `to`.
pub(crate) fn outward(
    rng: &mut dyn CryptoRng,
    topology: &Topology,
    to: &NodeId,
) -> Result<Route, EdgeError> {
    let gateway = gateway(topology, to).ok_or(EdgeError::UnknownMailboxGateway)?;
    let mut route = mixes(rng, topology)?;
    route.hops.push(without_delay(gateway));
    Ok(route)
}

/// One of `gateways` that the document lists, each as likely as the others.
///
/// # Errors
/// [`EdgeError::UnknownMailboxGateway`] if it lists none of them.
pub(crate) fn one_of(
    rng: &mut dyn CryptoRng,
    topology: &Topology,
    gateways: &[NodeId],
) -> Result<NodeId, EdgeError> {
    let listed: Vec<&Relay> = gateways
        .iter()
        .filter_map(|id| gateway(topology, id))
        .collect();
    let place = rng.random_range(0..listed.len().max(1));
    let relay = listed.get(place).ok_or(EdgeError::UnknownMailboxGateway)?;
    Ok(relay.id)
}

/// Three mixes and some gateway: four hops.
///
/// # Errors
/// [`EdgeError::NoRoute`] if a layer is empty or there is no gateway.
pub(crate) fn anywhere(rng: &mut dyn CryptoRng, topology: &Topology) -> Result<Route, EdgeError> {
    let mut route = mixes(rng, topology)?;
    let gateway = any(rng, topology.gateways()).ok_or(EdgeError::NoRoute)?;
    route.hops.push(without_delay(gateway));
    Ok(route)
}

/// Three mixes, the own entry gateway and oneself: five hops.
///
/// # Errors
/// [`EdgeError::NoRoute`] if a layer is empty, [`EdgeError::UnknownGateway`] if the document
/// does not list the entry gateway.
pub(crate) fn homeward(
    rng: &mut dyn CryptoRng,
    topology: &Topology,
    home: &Home,
) -> Result<Route, EdgeError> {
    let gateway = gateway(topology, &home.gateway).ok_or(EdgeError::UnknownGateway)?;
    let mut route = mixes(rng, topology)?;
    route.hops.push(without_delay(gateway));
    route.hops.push(Hop {
        address: Address::from(home.handle),
        key: home.key.clone(),
        delay: Duration::ZERO,
    });
    Ok(route)
}

/// Whether packets can be routed by `topology` from a client of `gateway`.
///
/// # Errors
/// [`EdgeError::NoRoute`] or [`EdgeError::UnknownGateway`].
pub(crate) fn check(topology: &Topology, entry: &NodeId) -> Result<(), EdgeError> {
    if (1..=3).any(|layer| topology.layer(layer).is_empty()) {
        return Err(EdgeError::NoRoute);
    }
    gateway(topology, entry)
        .map(|_| ())
        .ok_or(EdgeError::UnknownGateway)
}

/// Whether the document lists this gateway.
pub(crate) fn lists(topology: &Topology, id: &NodeId) -> bool {
    gateway(topology, id).is_some()
}

/// The index by which a client names `mix` to its gateway.
pub(crate) fn first_hop_index(topology: &Topology, mix: &NodeId) -> Option<u16> {
    let place = topology
        .layer(1)
        .iter()
        .position(|relay| relay.id == *mix)?;
    u16::try_from(place).ok()
}

fn mixes(rng: &mut dyn CryptoRng, topology: &Topology) -> Result<Route, EdgeError> {
    let law = topology.parameters().rates.delay;
    let mut hops = Vec::with_capacity(sphinx::Geometry::MAX_HOPS);
    let mut first = None;
    let mut total = Duration::ZERO;
    for mix in topology.draw_mixes(rng).ok_or(EdgeError::NoRoute)? {
        let delay = law.sample(rng);
        first.get_or_insert(mix.id);
        total += delay;
        hops.push(Hop {
            delay,
            ..without_delay(mix)
        });
    }
    Ok(Route {
        first: first.ok_or(EdgeError::NoRoute)?,
        hops,
        delay: total,
    })
}

fn any<'a>(rng: &mut dyn CryptoRng, relays: &'a [Relay]) -> Option<&'a Relay> {
    (!relays.is_empty())
        .then(|| rng.random_range(0..relays.len()))
        .and_then(|place| relays.get(place))
}

fn gateway<'a>(topology: &'a Topology, id: &NodeId) -> Option<&'a Relay> {
    topology.gateways().iter().find(|relay| relay.id == *id)
}

fn without_delay(relay: &Relay) -> Hop {
    Hop {
        address: Address::from(relay.id),
        key: relay.key.clone(),
        delay: Duration::ZERO,
    }
}
