//! Packets that a mix sends to itself, so that it notices when others stop forwarding.
//!
//! A loop takes the layers that follow, a gateway, and comes back: 4 hops, as every forward
//! packet. A tick of a Poisson clock sends one, made ahead so that making it moves nothing.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use directory::{Place, Relay, Topology};
use rand::{CryptoRng, RngExt};
use sphinx::{Address, Hop, Packet};
use traffic::PoissonClock;
use wire::{NodeId, Time};

use crate::loss::LossTest;

/// What became of this node's loops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LoopCounts {
    /// Sent.
    pub sent: u64,
    /// Came back in time.
    pub returned: u64,
    /// Did not come back in time.
    pub lost: u64,
}

/// The loops of one mix.
pub(crate) struct Loops {
    me: NodeId,
    topology: Option<Arc<Topology>>,
    clock: Option<PoissonClock>,
    prepared: Option<Prepared>,
    /// By identifier, so that each comes back once.
    outstanding: BTreeMap<[u8; 16], Time>,
    /// In the order in which they were sent; those that came back are skipped.
    deadlines: VecDeque<(Time, [u8; 16])>,
    counts: LoopCounts,
    test: LossTest,
}

struct Prepared {
    first: NodeId,
    packet: Packet,
    identifier: [u8; 16],
    /// The delays on the way, and what queues and links may add.
    patience: Duration,
}

impl Loops {
    pub(crate) fn new(me: NodeId) -> Self {
        Self {
            me,
            topology: None,
            clock: None,
            prepared: None,
            outstanding: BTreeMap::new(),
            deadlines: VecDeque::new(),
            counts: LoopCounts::default(),
            test: LossTest::default(),
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
        self.expire(now);
        if !self.clock.as_mut()?.fire(now) {
            return None;
        }
        let prepared = self.prepared.take();
        self.prepared = self.prepare(rng);
        let prepared = prepared?;
        if self.deadlines.len() >= MAX_OUTSTANDING {
            self.give_up_oldest();
        }
        let deadline = now.after(prepared.patience);
        self.outstanding.insert(prepared.identifier, deadline);
        self.deadlines.push_back((deadline, prepared.identifier));
        self.counts.sent += 1;
        Some((prepared.first, prepared.packet))
    }

    /// Whether a loop with this identifier was on its way; it is not any more.
    pub(crate) fn returned(&mut self, identifier: &[u8; 16]) -> bool {
        let ours = self.outstanding.remove(identifier).is_some();
        if ours {
            self.counts.returned += 1;
            self.test.returned();
        }
        ours
    }

    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        let tick = self.clock.as_ref().map(PoissonClock::poll_timeout);
        let loss = self.deadlines.front().map(|(deadline, _)| *deadline);
        tick.into_iter().chain(loss).min()
    }

    pub(crate) fn counts(&self) -> LoopCounts {
        self.counts
    }

    pub(crate) fn test(&self) -> &LossTest {
        &self.test
    }

    pub(crate) fn expire(&mut self, now: Time) {
        while let Some((deadline, _)) = self.deadlines.front()
            && *deadline <= now
        {
            self.give_up_oldest();
        }
    }

    fn give_up_oldest(&mut self) {
        let oldest = self.deadlines.pop_front();
        if oldest.is_some_and(|(_, id)| self.outstanding.remove(&id).is_some()) {
            self.counts.lost += 1;
            self.test.lost();
        }
    }

    /// `None` while a layer is empty or this node has no place: there is no loop then.
    fn prepare(&self, rng: &mut dyn CryptoRng) -> Option<Prepared> {
        let topology = self.topology.as_ref()?;
        let route = route(rng, topology, &self.me)?;
        let mixing: Duration = route.iter().map(|hop| hop.delay).sum();
        let mut identifier = [0; 16];
        rng.fill_bytes(&mut identifier);
        let first = NodeId(route.first()?.address.0);
        let geometry = topology.geometry();
        let packet = Packet::wrap(rng, geometry, &route, Address::LOOP, identifier, &[]).ok()?;
        Some(Prepared {
            first,
            packet,
            identifier,
            patience: mixing + SLACK,
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
/// What links, queues and the gateway's own clock may add to the delays of a loop.
const SLACK: Duration = Duration::from_secs(10);
/// Loops on their way; at the bound the oldest counts as lost.
const MAX_OUTSTANDING: usize = 4096;
