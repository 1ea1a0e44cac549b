//! One Poisson clock, and what leaves on its ticks (docs/spec/message.md, 1).
//!
//! The clock has a random stream of its own and is asked by nobody whether to tick. Packets
//! are made between ticks; a tick that finds none ready makes one on the spot, which is
//! counted, since it takes a moment longer.

use std::collections::VecDeque;

use rand::CryptoRng;
use sphinx::{Geometry, Packet, Surb};
use traffic::{LoopRoute, PoissonClock, Rate};
use wire::{NodeId, SurbId, Time};

use crate::ask::AttemptId;
use crate::owner::FeedOrder;
use crate::route::Route;

/// The clock, and the queues behind it.
pub(crate) struct Slots {
    clock: PoissonClock,
    /// What is to be sent, not yet made into packets.
    jobs: VecDeque<Job>,
    /// Made from the head of `jobs`.
    real: VecDeque<Ready>,
    cover: VecDeque<Ready>,
    leaving: VecDeque<Ready>,
}

/// A packet to be made.
pub(crate) enum Job {
    /// A packet of a message to a mailbox: route, reply blocks and seal are its maker's.
    Request(Part),
    /// What goes back, sealed: to be put on its reply block.
    Reply { surb: Box<Surb>, payload: Vec<u8> },
    /// A feed, ordered at this moment: its edge makes it.
    Feed { order: FeedOrder, at: Time },
    /// A part of a descriptor.
    Part { route: Route, payload: Vec<u8> },
}

/// Which packet of which attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) attempt: AttemptId,
    pub(crate) number: u32,
}

/// A packet that is made.
pub(crate) struct Ready {
    pub(crate) first: NodeId,
    pub(crate) packet: Packet,
    pub(crate) kind: Kind,
}

/// What a packet is, known to its maker alone.
pub(crate) enum Kind {
    Request(Part),
    Reply,
    Feed,
    Part,
    Loop { id: SurbId, route: LoopRoute },
    Drop,
}

/// What may leave at a tick.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    /// The queue's head, else cover.
    All,
    /// Cover: what is real waits.
    CoverOnly,
}

/// What is made next, ahead of the clock.
pub(crate) enum Wanted {
    Real(Job),
    Cover,
}

impl Slots {
    pub(crate) fn new(now: Time, rng: &mut dyn CryptoRng, rate: Rate) -> Self {
        Self {
            clock: PoissonClock::new(now, rng, rate),
            jobs: VecDeque::new(),
            real: VecDeque::new(),
            cover: VecDeque::new(),
            leaving: VecDeque::new(),
        }
    }

    /// True once for each tick that is due.
    pub(crate) fn fire(&mut self, now: Time) -> bool {
        self.clock.fire(now)
    }

    pub(crate) fn poll_timeout(&self) -> Time {
        self.clock.poll_timeout()
    }

    pub(crate) fn set_rate(&mut self, now: Time, rate: Rate) {
        self.clock.set_rate(now, rate);
    }

    pub(crate) fn rate(&self) -> Rate {
        self.clock.rate()
    }

    /// Ticks passed over because the caller slept through them.
    pub(crate) fn stalls(&self) -> u64 {
        self.clock.stalls()
    }

    /// Packets, made or not, that wait for a slot.
    pub(crate) fn waiting(&self) -> usize {
        self.jobs.len() + self.real.len()
    }

    /// How many more may wait: as many as leave in a minute, within bounds.
    pub(crate) fn room(&self) -> usize {
        let minute = PoissonClock::rate(&self.clock).millihertz() / 1_000 * 60;
        let bound = usize::try_from(minute).unwrap_or(MAX_WAITING);
        bound
            .clamp(MIN_WAITING, MAX_WAITING)
            .saturating_sub(self.waiting())
    }

    /// Appends to the queue; the caller has asked for [`Self::room`].
    pub(crate) fn push(&mut self, job: Job) {
        self.jobs.push_back(job);
    }

    /// Puts what keeps a mailbox alive before all else: it is little, and without it nothing comes.
    pub(crate) fn push_feed(&mut self, job: Job) {
        self.jobs.push_front(job);
    }

    /// Feeds that wait.
    pub(crate) fn feeds(&self) -> usize {
        let jobs = self.jobs.iter();
        jobs.filter(|job| matches!(job, Job::Feed { .. })).count()
    }

    /// The packet made ahead for this tick: the head of the queue, else cover.
    pub(crate) fn take_ready(&mut self, flow: Flow) -> Option<Ready> {
        if flow == Flow::All && self.waiting() > 0 {
            self.real.pop_front()
        } else {
            self.cover.pop_front()
        }
    }

    /// The head of the queue, not yet made.
    pub(crate) fn take_job(&mut self, flow: Flow) -> Option<Job> {
        match flow {
            Flow::All => self.jobs.pop_front(),
            Flow::CoverOnly => None,
        }
    }

    /// Hands a packet to the link.
    pub(crate) fn leave(&mut self, ready: Ready) {
        self.leaving.push_back(ready);
    }

    pub(crate) fn poll_transmit(&mut self) -> Option<Ready> {
        self.leaving.pop_front()
    }

    /// What is to be made ahead, if anything: real packets first.
    pub(crate) fn wanted(&mut self, flow: Flow) -> Option<Wanted> {
        if flow == Flow::All
            && self.real.len() < READY_REAL
            && let Some(job) = self.jobs.pop_front()
        {
            return Some(Wanted::Real(job));
        }
        (self.cover.len() < READY_COVER).then_some(Wanted::Cover)
    }

    /// Puts a packet where its kind is made ahead.
    pub(crate) fn store(&mut self, ready: Ready) {
        match ready.kind {
            Kind::Request(_) | Kind::Reply | Kind::Feed | Kind::Part => self.real.push_back(ready),
            Kind::Loop { .. } | Kind::Drop => self.cover.push_back(ready),
        }
    }

    /// Takes back the packets, not made yet, of all attempts that do not go on.
    pub(crate) fn withdraw(&mut self, goes_on: impl Fn(AttemptId) -> bool) {
        self.jobs.retain(|job| match job {
            Job::Request(part) => goes_on(part.attempt),
            Job::Reply { .. } | Job::Feed { .. } | Job::Part { .. } => true,
        });
    }

    /// Takes out what a new document makes useless: all cover, and what was to go first to a
    /// mix that `keeps` does not know. Returns how much cover was made for nothing, and what
    /// else.
    pub(crate) fn renew(&mut self, keeps: impl Fn(&NodeId) -> bool) -> (u64, Vec<Kind>) {
        let cover = self.cover.len() as u64;
        self.cover.clear();
        self.jobs.retain(|job| match job {
            Job::Request(_) | Job::Feed { .. } => true,
            Job::Reply { surb, .. } => keeps(&NodeId(surb.first_hop().0)),
            Job::Part { route, .. } => keeps(&route.first),
        });
        let mut misled = Vec::new();
        for queue in [&mut self.real, &mut self.leaving] {
            let (kept, gone): (VecDeque<_>, VecDeque<_>) = std::mem::take(queue)
                .into_iter()
                .partition(|ready| keeps(&ready.first));
            *queue = kept;
            misled.extend(gone.into_iter().map(|ready| ready.kind));
        }
        (cover, misled)
    }

    /// Packets made and not yet gone.
    pub(crate) fn held(&self) -> u64 {
        (self.real.len() + self.cover.len() + self.leaving.len()) as u64
    }
}

/// Puts what goes back on its reply block; `None` never happens with payloads of this crate.
pub(crate) fn make_reply(surb: Surb, payload: &[u8], geometry: Geometry) -> Option<Ready> {
    let first = NodeId(surb.first_hop().0);
    let packet = surb.reply(geometry, payload).ok()?;
    Some(Ready {
        first,
        packet,
        kind: Kind::Reply,
    })
}

/// An identifier that nobody else draws. Never zero.
pub(crate) fn random_identifier(rng: &mut dyn CryptoRng) -> [u8; 16] {
    let mut identifier = [0; 16];
    while identifier == [0; 16] {
        rng.fill_bytes(&mut identifier);
    }
    identifier
}

/// Real packets made ahead.
const READY_REAL: usize = 8;

/// Cover packets made ahead.
const READY_COVER: usize = 8;

/// Room for the largest message, whatever the rate.
const MIN_WAITING: usize = 512;

/// 34 MiB of packets, were they all made.
const MAX_WAITING: usize = 4_096;
