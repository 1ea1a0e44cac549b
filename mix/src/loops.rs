//! Packets that a mix sends to itself, so that it notices when others stop forwarding.
//!
//! A loop takes the layers that follow, a gateway, and comes back: 4 hops, as every forward
//! packet. A tick of a Poisson clock sends one, made ahead so that making it moves nothing.

use std::sync::Arc;
use std::time::Duration;

use directory::{Place, Relay, Topology};
use rand::{CryptoRng, RngExt};
use sphinx::{Address, Hop, Packet};
use traffic::{LoopBook, LoopRoute, PoissonClock};
use wire::{NodeId, Time};

/// The loops of one mix.
pub(crate) struct Loops {
    me: NodeId,
    topology: Option<Arc<Topology>>,
    clock: Option<PoissonClock>,
    prepared: Option<Prepared>,
    book: LoopBook,
}

struct Prepared {
    first: NodeId,
    packet: Packet,
    identifier: [u8; 16],
    route: LoopRoute,
}

impl Loops {
    pub(crate) fn new(me: NodeId) -> Self {
        Self {
            me,
            topology: None,
            clock: None,
            prepared: None,
            book: LoopBook::default(),
        }
    }

    /// Sends loops through `topology` from now on.
    pub(crate) fn set_topology(
        &mut self,
        now: Time,
        rng: &mut dyn CryptoRng,
        topology: Arc<Topology>,
    ) {
        let rate = topology.parameters().rates.mix_loop;
        match &mut self.clock {
            Some(clock) => clock.set_rate(now, rate),
            None => self.clock = Some(PoissonClock::new(now, rng, rate)),
        }
        self.book.watch(topology.nodes());
        self.topology = Some(topology);
        self.prepared = self.prepare(rng);
    }

    /// Sends no more loops until there is another topology.
    pub(crate) fn stop(&mut self) {
        self.topology = None;
        self.clock = None;
        self.prepared = None;
    }

    /// The loop that is due, if one is: call it until there is none.
    pub(crate) fn fire(&mut self, now: Time, rng: &mut dyn CryptoRng) -> Option<(NodeId, Packet)> {
        self.book.expire(now);
        if !self.clock.as_mut()?.fire(now) {
            return None;
        }
        let prepared = self.prepared.take();
        self.prepared = self.prepare(rng);
        let prepared = prepared?;
        let (identifier, route) = (prepared.identifier, prepared.route);
        self.book.leave(now, identifier, route, LoopBook::PATIENCE);
        Some((prepared.first, prepared.packet))
    }

    /// Whether a loop with this identifier was on its way; it is not any more.
    pub(crate) fn returned(&mut self, identifier: &[u8; 16]) -> bool {
        self.book.come_back(identifier).is_some()
    }

    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        let tick = self.clock.as_ref().map(PoissonClock::poll_timeout);
        tick.into_iter().chain(self.book.poll_timeout()).min()
    }

    pub(crate) fn book(&self) -> &LoopBook {
        &self.book
    }

    pub(crate) fn topology(&self) -> Option<&Topology> {
        self.topology.as_deref()
    }

    pub(crate) fn expire(&mut self, now: Time) {
        self.book.expire(now);
    }

    /// `None` while a layer is empty or this node has no place: there is no loop then.
    fn prepare(&self, rng: &mut dyn CryptoRng) -> Option<Prepared> {
        let topology = self.topology.as_ref()?;
        let route = route(rng, topology, &self.me)?;
        let mut identifier = [0; 16];
        rng.fill_bytes(&mut identifier);
        let first = NodeId(route.first()?.address.0);
        let geometry = topology.geometry();
        let packet = Packet::wrap(rng, geometry, &route, Address::LOOP, identifier, &[]).ok()?;
        Some(Prepared {
            first,
            packet,
            identifier,
            route: LoopRoute {
                nodes: route.iter().map(|hop| NodeId(hop.address.0)).collect(),
                delay: route.iter().map(|hop| hop.delay).sum(),
            },
        })
    }
}

/// Through the layers that follow, a gateway, and the layers before, back to `me`.
fn route(rng: &mut dyn CryptoRng, topology: &Topology, me: &NodeId) -> Option<Vec<Hop>> {
    let own = match topology.place(me)? {
        Place::Layer1 => 0,
        Place::Layer2 => 1,
        Place::Layer3 => 2,
        Place::Gateway => return None,
    };
    let law = topology.parameters().rates.delay;
    let mixes = topology.draw_mixes_through(rng, me)?;
    let (before, rest) = mixes.split_at(own);
    let (home, after) = rest.split_first()?;
    let mut route = Vec::with_capacity(HOPS);
    for mix in after {
        route.push(hop(mix, law.sample(rng)));
    }
    route.push(hop(pick(rng, topology.gateways())?, Duration::ZERO));
    for mix in before {
        route.push(hop(mix, law.sample(rng)));
    }
    route.push(hop(home, Duration::ZERO));
    Some(route)
}

fn pick<'a>(rng: &mut dyn CryptoRng, relays: &'a [Relay]) -> Option<&'a Relay> {
    if relays.is_empty() {
        return None;
    }
    relays.get(rng.random_range(0..relays.len()))
}

fn hop(relay: &Relay, delay: Duration) -> Hop {
    Hop {
        address: Address::from(relay.id),
        key: relay.key.clone(),
        delay,
    }
}

/// Hops of a loop: three others and this node.
const HOPS: usize = 4;
