//! The state machine of a mix.
//!
//! Whoever drives it either calls [`Mix::handle_packet`], which runs all stages at once, or runs
//! the pure stages on other threads: [`Mix::receive`], `Opener::open`, [`Mix::admit`],
//! `Admitted::finish`, [`Mix::hold`]. The order of checks is the same.

use std::collections::VecDeque;
use std::sync::Arc;

use directory::{Place, Topology};
use rand::CryptoRng;
use sphinx::{Address, Geometry, Next, Packet, Peeled, SecretKey};
use store::ShortTag;
use traffic::LoopBook;
use wire::{Epoch, Ledger, NodeId, NodeName, Refusal, Time};

use crate::loops::Loops;
use crate::peel::{Admitted, Gate, LogEntry, Opener, Unsealed, Window};
use crate::pool::DelayPool;

/// What a mix is told once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MixLimits {
    /// Replay tags kept of one epoch.
    pub replay_capacity: usize,
    /// Packets held in the delay pool.
    pub pool_capacity: usize,
}

/// 18 million tags (5,000 packets a second for an hour; 270 MB when full) and 16,384 packets
/// (140 MB when full).
impl Default for MixLimits {
    fn default() -> Self {
        Self {
            replay_capacity: 18_000_000,
            pool_capacity: 16_384,
        }
    }
}

/// A mix without clock, randomness, threads or sockets.
pub struct Mix {
    id: NodeId,
    gate: Gate,
    pool: DelayPool<(NodeId, Packet)>,
    loops: Loops,
    /// Own loops on their way out.
    outgoing: VecDeque<(NodeId, Packet)>,
    /// Admitted, not yet in the log.
    unlogged: VecDeque<LogEntry>,
    /// Received and somewhere between the stages.
    in_stages: u64,
    draining: bool,
    ledger: Ledger,
}

impl Mix {
    /// A mix called `id` with no keys and no topology: it refuses everything.
    #[must_use]
    pub fn new(now: Time, id: NodeId, geometry: Geometry, limits: MixLimits) -> Self {
        Self {
            id,
            gate: Gate::new(geometry, limits.replay_capacity),
            pool: DelayPool::new(now, limits.pool_capacity),
            loops: Loops::new(id),
            outgoing: VecDeque::new(),
            unlogged: VecDeque::new(),
            in_stages: 0,
            draining: false,
            ledger: Ledger::default(),
        }
    }

    /// Takes the key of `epoch`, in force during `window`, and the tags that its log holds.
    pub fn set_key(&mut self, epoch: Epoch, window: Window, key: SecretKey, logged: &[ShortTag]) {
        self.gate.set_key(epoch, window, key, logged);
    }

    /// Takes the topology of its epoch for the packets of that epoch.
    pub fn set_topology(&mut self, topology: Arc<Topology>) {
        self.gate.set_topology(topology);
    }

    /// Sends own loops through the topology of `epoch` from now on, if that epoch's key and
    /// topology are here; else sends none.
    pub fn enter_epoch(&mut self, now: Time, rng: &mut dyn CryptoRng, epoch: Epoch) {
        match self.gate.topology(epoch) {
            Some(topology) if self.gate.has_key(epoch) => {
                let topology = Arc::clone(topology);
                self.loops.set_topology(now, rng, topology);
            }
            _ => self.loops.stop(),
        }
    }

    /// Sends no more loops: there is no document to send by.
    pub fn stop_loops(&mut self) {
        self.loops.stop();
    }

    /// Refuses every packet from now on; what is held still leaves.
    pub fn drain(&mut self) {
        self.draining = true;
        self.loops.stop();
    }

    /// All stages for a packet that came in now.
    pub fn handle_packet(&mut self, now: Time, packet: &[u8]) {
        if self.receive(1) == 0 {
            return;
        }
        let unsealed = self.gate.opener().open(now, packet);
        if let Some(admitted) = self.admit(now, unsealed) {
            let arrival = admitted.arrival();
            self.hold(arrival, admitted.finish());
        }
    }

    /// Counts `packets` in and says how many of them may go through the stages: all or none.
    pub fn receive(&mut self, packets: u64) -> u64 {
        self.ledger.received += packets;
        if self.draining {
            (0..packets).for_each(|_| self.ledger.refused.add(Refusal::Draining));
            return 0;
        }
        self.in_stages += packets;
        packets
    }

    /// Ends a packet that was received, for a reason outside the stages: a full queue between
    /// them, or a replay log that could not be written.
    pub fn refuse(&mut self, refusal: Refusal) {
        self.in_stages = self.in_stages.saturating_sub(1);
        self.ledger.refused.add(refusal);
    }

    /// Counts packets that were refused before any stage: by the link's rate, or by a full
    /// queue.
    pub fn refuse_unseen(&mut self, refusal: Refusal, packets: u64) {
        self.ledger.received += packets;
        (0..packets).for_each(|_| self.ledger.refused.add(refusal));
    }

    /// Stage 2, with what stage 1 said. Once its tag was taken from [`Mix::poll_log`] and
    /// logged, the packet goes on to stage 3.
    pub fn admit(&mut self, now: Time, unsealed: Result<Unsealed, Refusal>) -> Option<Admitted> {
        let id = self.id;
        let admitted = if self.unlogged.len() >= MAX_UNLOGGED {
            Err(unsealed.err().unwrap_or(Refusal::ReplayLogFailed))
        } else {
            unsealed.and_then(|unsealed| {
                self.gate
                    .admit(now, unsealed, |topology, next| allows(topology, &id, next))
            })
        };
        match admitted {
            Ok(admitted) => {
                self.unlogged.push_back(admitted.log_entry());
                Some(admitted)
            }
            Err(refusal) => {
                self.refuse(refusal);
                None
            }
        }
    }

    /// Stage 4: holds a packet that came in at `arrival` for its delay, or takes back an own
    /// loop.
    pub fn hold(&mut self, arrival: Time, peeled: Peeled) {
        let outcome = match peeled {
            Peeled::Forward {
                packet,
                next,
                delay,
            } => self
                .pool
                .insert(arrival.after(delay), (NodeId(next.0), packet))
                .map_err(|_| Refusal::Overload),
            Peeled::Deliver { identifier, .. } if self.loops.returned(&identifier) => {
                self.ledger.consumed += 1;
                Ok(())
            }
            Peeled::Deliver { .. } => Err(Refusal::SurbReused),
        };
        match outcome {
            Ok(()) => self.in_stages = self.in_stages.saturating_sub(1),
            Err(refusal) => self.refuse(refusal),
        }
    }

    /// Drops the keys whose time is over, makes the loops that are due, gives up those that did
    /// not come back. Returns whether keys went: the opener is another then.
    pub fn handle_timeout(&mut self, now: Time, rng: &mut dyn CryptoRng) -> bool {
        let expired = self.gate.expire(now);
        self.loops.expire(now);
        while let Some(made) = self.loops.fire(now, rng) {
            self.ledger.made += 1;
            if self.outgoing.len() < MAX_OUTGOING {
                self.outgoing.push_back(made);
            } else {
                self.ledger.refused.add(Refusal::Overload);
            }
        }
        expired
    }

    /// When to call [`Mix::handle_timeout`] and [`Mix::poll_transmit`] next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        let times = [
            self.pool.next_due(),
            self.loops.poll_timeout(),
            self.gate.next_expiry(),
        ];
        times.into_iter().flatten().min()
    }

    /// The next tag that must be in the replay log before its packet leaves.
    pub fn poll_log(&mut self) -> Option<LogEntry> {
        self.unlogged.pop_front()
    }

    /// The next packet to send, and to whom. There is none while tags wait to be logged.
    pub fn poll_transmit(&mut self, now: Time) -> Option<(NodeId, Packet)> {
        if !self.unlogged.is_empty() {
            return None;
        }
        let next = self.outgoing.pop_front();
        let next = next.or_else(|| self.pool.pop_due(now))?;
        self.ledger.sent += 1;
        Some(next)
    }

    /// Takes back that `packets` were sent: the link refused them.
    pub fn unsent(&mut self, packets: u64, refusal: Refusal) {
        self.ledger.sent = self.ledger.sent.saturating_sub(packets);
        (0..packets).for_each(|_| self.ledger.refused.add(refusal));
    }

    /// What stage 1 needs, for other threads. Take it anew after each change of keys.
    #[must_use]
    pub fn opener(&self) -> &Opener {
        self.gate.opener()
    }

    /// Whether packets for `epoch` can be opened.
    #[must_use]
    pub fn has_key(&self, epoch: Epoch) -> bool {
        self.gate.has_key(epoch)
    }

    /// The account of packets.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Packets held: between the stages, in the pool, on the way out.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.in_stages + self.pool.len() as u64 + self.outgoing.len() as u64
    }

    /// Packets in the delay pool.
    #[must_use]
    pub fn pool_len(&self) -> usize {
        self.pool.len()
    }

    /// What became of own loops, and what that says of each node. The test of this mix itself
    /// has all of them.
    #[must_use]
    pub fn loops(&self) -> &LoopBook {
        self.loops.book()
    }

    /// What the document by which loops are sent calls `node`.
    #[must_use]
    pub fn name(&self, node: &NodeId) -> Option<&NodeName> {
        self.loops.topology()?.name(node)
    }

    /// Replay tags held for `epoch`.
    #[must_use]
    pub fn replay_len(&self, epoch: Epoch) -> usize {
        self.gate.replay_len(epoch)
    }
}

/// On to the next layer, or an own loop's end.
fn allows(topology: &Topology, id: &NodeId, next: &Next) -> bool {
    match next {
        Next::Hop { address, .. } => topology.place(id).is_some_and(|place: Place| {
            place != Place::Gateway && topology.allows(place, &NodeId(address.0))
        }),
        Next::Deliver { address, .. } => *address == Address::LOOP,
    }
}

/// Tags that wait to be logged; a driver takes them after each batch of at most 64.
const MAX_UNLOGGED: usize = 4096;
/// Own loops that wait to be sent.
const MAX_OUTGOING: usize = 64;
