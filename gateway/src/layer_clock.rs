//! The gateway's own clock into layer 1: a packet that passes through and an item for a mailbox's
//! owner in turn, else a loop of its own.
//!
//! What a gateway sends into the mixes by itself leaves on this clock alone, so that nobody who
//! watches its links can tell the two apart. Loops are built ahead, between ticks.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use directory::{Relay, Topology};
use rand::CryptoRng;
use sphinx::{Address, Hop, Packet};
use traffic::{LoopBook, LoopRoute, PoissonClock};
use wire::{Epoch, NodeId, Time};

/// What a tick sends, and the mix of layer 1 that it goes to.
pub(crate) enum Slot {
    /// A packet that waited: it passes through, or is an item under a reply block.
    Through(NodeId, Packet),
    /// A loop of the gateway's own.
    Own(NodeId, Packet),
    /// Nothing: the gateway has no place in the topology.
    Idle,
}

/// The clock, what waits for it, and the loops under way.
pub(crate) struct LayerClock {
    own: NodeId,
    running: Option<(PoissonClock, Arc<Topology>)>,
    waiting: VecDeque<(NodeId, Packet)>,
    /// Items under reply blocks, built ahead.
    items: VecDeque<(NodeId, Packet)>,
    /// Whose turn it is when both wait.
    turn: Turn,
    ready: VecDeque<OwnLoop>,
    book: LoopBook,
}

/// Neither kind keeps the other from leaving.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    Passing,
    Item,
}

/// A loop that was built and not yet sent.
struct OwnLoop {
    first: NodeId,
    packet: Packet,
    identifier: [u8; 16],
    route: LoopRoute,
}

impl LayerClock {
    pub(crate) fn new(own: NodeId) -> Self {
        Self {
            own,
            running: None,
            waiting: VecDeque::new(),
            items: VecDeque::new(),
            turn: Turn::Passing,
            ready: VecDeque::new(),
            book: LoopBook::default(),
        }
    }

    /// Goes by this topology from now on: its rate, and loops over its mixes.
    pub(crate) fn set_topology(
        &mut self,
        now: Time,
        rng: &mut dyn CryptoRng,
        topology: Arc<Topology>,
    ) {
        let rate = topology.parameters().rates.gateway_loop;
        self.ready.clear();
        self.book.watch(topology.nodes());
        match &mut self.running {
            Some((clock, current)) => {
                clock.set_rate(now, rate);
                *current = topology;
            }
            None => self.running = Some((PoissonClock::new(now, rng, rate), topology)),
        }
        self.prepare(now, rng);
    }

    /// Sends nothing until there is another topology.
    pub(crate) fn stop(&mut self) {
        self.running = None;
        self.ready.clear();
    }

    /// Holds a packet for the clock, unless `bound` packets are held already.
    pub(crate) fn hold(&mut self, bound: usize, mix: NodeId, packet: Packet) -> bool {
        let room = self.waiting.len() < bound;
        if room {
            self.waiting.push_back((mix, packet));
        }
        room
    }

    /// Whether to build another item ahead.
    pub(crate) fn wants_item(&self) -> bool {
        self.items.len() < ITEMS
    }

    /// Holds an item that was asked for.
    pub(crate) fn hold_item(&mut self, mix: NodeId, packet: Packet) {
        self.items.push_back((mix, packet));
    }

    /// The epoch by whose topology it sends.
    pub(crate) fn epoch(&self) -> Option<Epoch> {
        self.running.as_ref().map(|(_, topology)| topology.epoch())
    }

    /// What leaves now; `None` if no tick is due.
    pub(crate) fn fire(&mut self, now: Time, rng: &mut dyn CryptoRng) -> Option<Slot> {
        let (clock, _) = self.running.as_mut()?;
        if !clock.fire(now) {
            return None;
        }
        Some(match self.take_waiting() {
            Some((mix, packet)) => Slot::Through(mix, packet),
            None => self.own_loop(now, rng),
        })
    }

    /// Builds a loop ahead if one is missing, and gives up those that are overdue.
    pub(crate) fn prepare(&mut self, now: Time, rng: &mut dyn CryptoRng) {
        if self.ready.len() < READY {
            let built = self.build(rng);
            self.ready.extend(built);
        }
        self.book.expire(now);
    }

    /// Whether a loop with this identifier was on its way; it is not any more.
    pub(crate) fn returned(&mut self, identifier: &[u8; 16]) -> bool {
        self.book.come_back(identifier).is_some()
    }

    /// The next tick.
    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        self.running.as_ref().map(|(clock, _)| clock.poll_timeout())
    }

    pub(crate) fn book(&self) -> &LoopBook {
        &self.book
    }

    /// The topology by which it sends.
    pub(crate) fn topology(&self) -> Option<&Topology> {
        self.running.as_ref().map(|(_, topology)| &**topology)
    }

    /// How many packets wait for the clock.
    pub(crate) fn held(&self) -> u64 {
        (self.waiting.len() + self.items.len()) as u64
    }

    /// Lets go of what waits; how many packets that were.
    pub(crate) fn empty(&mut self) -> u64 {
        (self.waiting.drain(..).count() + self.items.drain(..).count()) as u64
    }

    fn take_waiting(&mut self) -> Option<(NodeId, Packet)> {
        let (first, second) = match self.turn {
            Turn::Passing => (&mut self.waiting, &mut self.items),
            Turn::Item => (&mut self.items, &mut self.waiting),
        };
        self.turn = match self.turn {
            Turn::Passing => Turn::Item,
            Turn::Item => Turn::Passing,
        };
        first.pop_front().or_else(|| second.pop_front())
    }

    fn own_loop(&mut self, now: Time, rng: &mut dyn CryptoRng) -> Slot {
        let ready = self.ready.pop_front();
        let Some(own) = ready.or_else(|| self.build(rng)) else {
            return Slot::Idle;
        };
        let (identifier, route) = (own.identifier, own.route);
        self.book.leave(now, identifier, route, LoopBook::PATIENCE);
        Slot::Own(own.first, own.packet)
    }

    fn build(&self, rng: &mut dyn CryptoRng) -> Option<OwnLoop> {
        let (_, topology) = self.running.as_ref()?;
        let route = route(rng, topology, &self.own)?;
        let first = NodeId(route.first()?.address.0);
        let mut identifier = [0; 16];
        rng.fill_bytes(&mut identifier);
        let geometry = topology.geometry();
        let packet = Packet::wrap(rng, geometry, &route, Address::LOOP, identifier, &[]).ok()?;
        Some(OwnLoop {
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

/// Through one mix of each layer and back here: 4 hops, as every packet.
fn route(rng: &mut dyn CryptoRng, topology: &Topology, own: &NodeId) -> Option<Vec<Hop>> {
    let home = topology.gateways().iter().find(|relay| relay.id == *own)?;
    let law = topology.parameters().rates.delay;
    let mut route = Vec::with_capacity(4);
    for mix in topology.draw_mixes(rng)? {
        route.push(hop(mix, law.sample(rng)));
    }
    route.push(hop(home, Duration::ZERO));
    Some(route)
}

fn hop(relay: &Relay, delay: Duration) -> Hop {
    Hop {
        address: relay.id.into(),
        key: relay.key.clone(),
        delay,
    }
}

/// Items built ahead.
const ITEMS: usize = 4;

/// Loops built ahead.
const READY: usize = 2;
