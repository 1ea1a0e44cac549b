//! One participant at the edge: everything between its owner and the link to its gateway.

mod receive;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use directory::{Identity, Topology};
use rand::CryptoRng;
use sphinx::{Address, Packet};
use traffic::{LoopBook, LoopCounts, Rate, Slot};
use wire::{
    Attach, Epoch, Ledger, MailboxAddress, NodeId, Refusal, Register, RequestId, Response, SurbId,
    Time,
};

use crate::ask::{Asking, Flight, Recipient, RequestDraft, Surroundings, Timing};
use crate::expect::Jitter;
use crate::layout::carries_requests;
use crate::route::{self, Home};
use crate::seal::SealingKey;
use crate::serve::{self, OpenedRequest, ReplyPath, Serving};
use crate::slots::{Flow, Job, Kind, Ready, Slots, Wanted, random_identifier};
use crate::{EdgeError, mailbox};

/// Where a participant is attached, and how fast it sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EdgeConfig {
    /// The entry gateway.
    pub gateway: NodeId,
    /// Index of the rate class in the signed parameters.
    pub class: u8,
}

/// What the edge tells its owner.
pub enum EdgeEvent {
    /// A question came to a mailbox of ours.
    Request(OpenedRequest),
    /// A question of ours has its answer.
    Response {
        /// The answer.
        response: Response,
        /// Where the time went.
        timing: Timing,
    },
    /// A loop came back.
    Loop {
        /// From its leaving.
        after: Duration,
    },
}

/// What left and came, by kind. Never leaves its participant: on the wire all is alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EdgeCounts {
    /// Packets of requests that left.
    pub requests: u64,
    /// Packets of answers that left.
    pub replies: u64,
    /// Loops that left.
    pub loops: u64,
    /// Drop packets that left.
    pub drops: u64,
    /// Packets of answers that came.
    pub replies_in: u64,
    /// Mailbox items that came.
    pub items_in: u64,
    /// Dummies that came.
    pub dummies_in: u64,
    /// Ticks for which no packet was ready, so that one was made on the spot.
    pub made_late: u64,
    /// Times that ticks were passed over because the caller slept through them.
    pub stalls: u64,
    /// Requests of others given up before they were complete.
    pub abandoned: u64,
}

/// What an edge keeps at the moment, all of it bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EdgeMemory {
    /// Packets that wait for a slot, made or not.
    pub waiting: usize,
    /// Reply blocks that are out.
    pub surbs: usize,
    /// Loops that are out.
    pub loops: usize,
    /// Bytes of messages that are not complete.
    pub partial_bytes: usize,
    /// News that the owner has not taken.
    pub events: usize,
}

/// The core that every client and provider owns: slots, routes, cover, reply blocks,
/// mailboxes, fragments.
pub struct Edge {
    config: EdgeConfig,
    topology: Arc<Topology>,
    home: Home,
    /// The last epoch's, and when it is over.
    former: Option<(Home, Arc<Topology>, Time)>,
    link: Link,
    slots: Slots,
    loops: LoopBook,
    jitter: Jitter,
    asking: Asking,
    serving: Serving,
    events: VecDeque<EdgeEvent>,
    ledger: Ledger,
    counts: EdgeCounts,
    swept: Time,
}

#[derive(PartialEq, Eq)]
enum Link {
    Up,
    Down,
}

impl Edge {
    /// A participant that starts now: clock, handle and keys are drawn from `rng`.
    ///
    /// Its link counts as up; a driver that has yet to dial says [`Self::link_down`].
    ///
    /// # Errors
    /// [`EdgeError`] if the document has no place for it.
    pub fn new(
        now: Time,
        rng: &mut dyn CryptoRng,
        config: EdgeConfig,
        topology: Arc<Topology>,
    ) -> Result<Self, EdgeError> {
        let rate = fitting_rate(&config, &topology)?;
        let mut loops = LoopBook::default();
        loops.watch(topology.nodes());
        Ok(Self {
            home: Home::new(rng, topology.epoch(), config.gateway),
            slots: Slots::new(now, rng, rate),
            config,
            topology,
            former: None,
            link: Link::Up,
            loops,
            jitter: Jitter::UNKNOWN,
            asking: Asking::new(),
            serving: Serving::new(),
            events: VecDeque::new(),
            ledger: Ledger::default(),
            counts: EdgeCounts::default(),
            swept: now,
        })
    }

    /// Goes on by a newer document. For a later epoch: new handle, new keys, new routes; what
    /// is under way has the overlap to arrive. For the epoch in use, when its own document
    /// comes after another was used in its grace: new routes alone. Afterwards the gateway is
    /// told [`Self::register`] anew.
    ///
    /// # Errors
    /// [`EdgeError`] if the document has no place for this participant; it keeps the last one.
    pub fn set_topology(
        &mut self,
        now: Time,
        rng: &mut dyn CryptoRng,
        topology: Arc<Topology>,
    ) -> Result<(), EdgeError> {
        if topology.epoch() < self.topology.epoch() {
            return Err(EdgeError::Rollback);
        }
        let rate = fitting_rate(&self.config, &topology)?;
        self.slots.set_rate(now, rate);
        self.loops.watch(topology.nodes());
        let later = topology.epoch() > self.topology.epoch();
        let former = std::mem::replace(&mut self.topology, topology);
        if later {
            let over = now.after(former.parameters().overlap);
            self.asking.retire(over);
            let home = Home::new(rng, self.topology.epoch(), self.config.gateway);
            let home = std::mem::replace(&mut self.home, home);
            self.former = Some((home, former, over));
        }
        let (stale, misled) = self
            .slots
            .renew(|mix| route::first_hop_index(&self.topology, mix).is_some());
        self.refuse_made(Refusal::WrongEpoch, stale);
        self.refuse_made(Refusal::BadFirstHop, misled);
        Ok(())
    }

    /// Takes a frame from the entry gateway: a 2-byte prefix that names the kind of delivery,
    /// and as many bytes as a packet has. What is wrong with it is counted in the ledger.
    pub fn handle_frame(&mut self, now: Time, rng: &mut dyn CryptoRng, frame: &[u8]) {
        let _ = rng;
        self.ledger.received += 1;
        let outcome = match frame.split_first_chunk() {
            Some((prefix, packet)) => self.delivery(now, u16::from_be_bytes(*prefix), packet),
            None => Err(Refusal::BadLength),
        };
        match outcome {
            Ok(()) => self.ledger.consumed += 1,
            Err(refusal) => self.ledger.refused.add(refusal),
        }
    }

    /// Sends what is due: exactly one packet a tick, whatever waits.
    pub fn handle_timeout(&mut self, now: Time, rng: &mut dyn CryptoRng) {
        while self.slots.fire(now) {
            if self.link == Link::Up {
                self.tick(now, rng);
            }
        }
        if now.since(self.swept) >= SWEEP {
            self.sweep(now);
        }
    }

    /// When [`Self::handle_timeout`] is to be called next: at the next tick.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        Some(self.slots.poll_timeout())
    }

    /// A packet for the entry gateway, and the index of the mix of layer 1 that gets it first.
    pub fn poll_transmit(&mut self, now: Time) -> Option<(u16, Packet)> {
        let _ = now;
        loop {
            let ready = self.slots.poll_transmit()?;
            match route::first_hop_index(&self.topology, &ready.first) {
                Some(index) => {
                    self.ledger.sent += 1;
                    return Some((index, ready.packet));
                }
                None => self.ledger.refused.add(Refusal::BadFirstHop),
            }
        }
    }

    /// News for the owner.
    pub fn poll_event(&mut self) -> Option<EdgeEvent> {
        self.events.pop_front()
    }

    /// Makes one packet ahead of the clock; false if enough are ready. To be called between
    /// ticks, so that at a tick nothing is left to do but to send.
    pub fn prepare(&mut self, rng: &mut dyn CryptoRng) -> bool {
        let made = match self.slots.wanted(self.flow()) {
            None => return false,
            Some(Wanted::Real(job)) => self.make(rng, job),
            Some(Wanted::Cover) => self.make_cover(rng),
        };
        match made {
            Some(ready) => {
                self.slots.store(ready);
                true
            }
            None => false,
        }
    }

    /// The link is there and the gateway has taken [`Self::register`].
    pub fn link_up(&mut self) {
        self.link = Link::Up;
    }

    /// The link is gone: the clock runs on unheard, and what waits stays.
    pub fn link_down(&mut self) {
        self.link = Link::Down;
    }

    /// What to tell the entry gateway first of all, on every link and in every epoch.
    #[must_use]
    pub fn register(&self) -> Register {
        Register {
            handle: self.home.handle,
            epoch: self.home.epoch,
            class: self.config.class,
        }
    }

    /// The claim to the mailbox of `key` at the entry gateway, for this epoch's handle.
    ///
    /// `counter` rises with every claim, across restarts too: a time in microseconds will do.
    #[must_use]
    pub fn attach(&self, key: &Identity, counter: u64) -> Attach {
        let home = &self.home;
        mailbox::attach(key, home.gateway, home.handle, home.epoch, counter)
    }
}

/// The asking side.
impl Edge {
    /// Sends a question; sending it again under its id makes another attempt, on fresh routes,
    /// with fresh keys and reply blocks. The first answer to any of them ends all.
    ///
    /// # Errors
    /// [`EdgeError`]; then nothing was queued.
    pub fn send_request(
        &mut self,
        now: Time,
        rng: &mut dyn CryptoRng,
        to: &Recipient,
        draft: &RequestDraft,
    ) -> Result<Flight, EdgeError> {
        let parameters = self.topology.parameters();
        let rate = self.slots.rate();
        let around = Surroundings {
            topology: &self.topology,
            home: &self.home,
            jitter: &self.jitter,
            rate,
            provider_rate: parameters.class(parameters.provider_class).unwrap_or(rate),
            waiting: self.slots.waiting(),
            room: self.slots.room(),
        };
        let (jobs, flight) = self.asking.begin(now, rng, &around, to, draft)?;
        for job in jobs {
            self.slots.push(job);
        }
        Ok(flight)
    }

    /// Gives a question up: its packets that are not made yet are not sent, and an answer that
    /// still comes is taken for surplus.
    pub fn abandon(&mut self, now: Time, request: &RequestId) {
        let ended = self.asking.end(now, request);
        self.slots.withdraw(|attempt| ended.contains(&attempt));
    }
}

/// The serving side.
impl Edge {
    /// Serves `mailbox`, to which senders seal with the public half of `key`.
    ///
    /// # Errors
    /// [`EdgeError::TooManyMailboxes`] at the bound.
    pub fn open_mailbox(
        &mut self,
        mailbox: MailboxAddress,
        key: SealingKey,
    ) -> Result<(), EdgeError> {
        self.serving.open(mailbox, key)
    }

    /// Answers a question: always with exactly as many packets as its class has. An answer that
    /// does not fit goes back as [`wire::RequestFailure::AnswerTooLarge`].
    ///
    /// # Errors
    /// [`EdgeError::SurbInvalid`] if the way back is no longer open, [`EdgeError::Overload`] if
    /// the queue is full.
    pub fn send_response(
        &mut self,
        now: Time,
        rng: &mut dyn CryptoRng,
        path: ReplyPath,
        response: &Response,
    ) -> Result<(), EdgeError> {
        let lives = |epoch| self.lives(now, epoch);
        let room = self.slots.room();
        let jobs = serve::answer(rng, &self.topology, lives, room, path, response)?;
        for job in jobs {
            self.slots.push(job);
        }
        Ok(())
    }
}

/// What it knows of itself.
impl Edge {
    /// The document by which it sends.
    #[must_use]
    pub fn topology(&self) -> &Arc<Topology> {
        &self.topology
    }

    /// The account of its packets.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Packets made and not yet gone.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.slots.held()
    }

    /// How its loops fare. Never leaves its participant.
    #[must_use]
    pub fn loops(&self) -> LoopCounts {
        self.loops.counts()
    }

    /// Whether packets get lost on the way through some node, so that nothing real leaves
    /// until loops are healthy again. Cover goes on: nobody outside can tell.
    #[must_use]
    pub fn withholds(&self) -> bool {
        self.loops.alarms()
    }

    /// What left and came, by kind.
    #[must_use]
    pub fn counts(&self) -> EdgeCounts {
        EdgeCounts {
            stalls: self.slots.stalls(),
            abandoned: self.serving.abandoned(),
            ..self.counts
        }
    }

    /// What it keeps.
    #[must_use]
    pub fn memory(&self) -> EdgeMemory {
        EdgeMemory {
            waiting: self.slots.waiting(),
            surbs: self.asking.surbs_out(),
            loops: self.loops.len(),
            partial_bytes: self.asking.partial_bytes() + self.serving.partial_bytes(),
            events: self.events.len(),
        }
    }
}

impl Edge {
    fn flow(&self) -> Flow {
        if self.loops.alarms() {
            Flow::CoverOnly
        } else {
            Flow::All
        }
    }

    fn tick(&mut self, now: Time, rng: &mut dyn CryptoRng) {
        let flow = self.flow();
        let ready = self.slots.take_ready(flow).or_else(|| {
            self.counts.made_late += 1;
            match self.slots.take_job(flow) {
                Some(job) => self.make(rng, job),
                None => self.make_cover(rng),
            }
        });
        // Nothing is ready and nothing can be made only if a document without mixes was taken,
        // which none is.
        let Some(ready) = ready else { return };
        match ready.kind {
            Kind::Request(part) => {
                self.counts.requests += 1;
                self.asking.left(now, part);
            }
            Kind::Reply => self.counts.replies += 1,
            Kind::Loop { id, ref route } => {
                self.counts.loops += 1;
                let wait = LoopBook::PATIENCE + self.answers_wait();
                self.loops.leave(now, id.0, route.clone(), wait);
            }
            Kind::Drop => self.counts.drops += 1,
        }
        self.slots.leave(ready);
    }

    /// How long answers that are under way may keep a loop waiting at the gateway, which
    /// delivers in the order of arrival.
    fn answers_wait(&self) -> Duration {
        let packets = u32::try_from(self.asking.awaited()).unwrap_or(u32::MAX);
        let delivery = self.slots.rate().mean_gap() / 2;
        delivery.saturating_mul(packets)
    }

    fn make(&mut self, rng: &mut dyn CryptoRng, job: Job) -> Option<Ready> {
        let ready = job.make(rng, self.topology.geometry())?;
        self.ledger.made += 1;
        Some(ready)
    }

    fn make_cover(&mut self, rng: &mut dyn CryptoRng) -> Option<Ready> {
        let slot = Slot::choose(0, &self.topology.parameters().rates, rng);
        let identifier = random_identifier(rng);
        let (route, destination, kind) = match slot {
            Slot::Loop => {
                let route = route::homeward(rng, &self.topology, &self.home).ok()?;
                let way = route.way();
                let id = SurbId(identifier);
                (route, Address::LOOP, Kind::Loop { id, route: way })
            }
            Slot::Real | Slot::Drop => {
                let route = route::anywhere(rng, &self.topology).ok()?;
                (route, Address::DROP, Kind::Drop)
            }
        };
        let geometry = self.topology.geometry();
        let packet = Packet::wrap(rng, geometry, &route.hops, destination, identifier, &[]).ok()?;
        self.ledger.made += 1;
        Some(Ready {
            first: route.first,
            packet,
            kind,
        })
    }

    fn tell(&mut self, event: EdgeEvent) -> Result<(), Refusal> {
        if self.events.len() >= MAX_EVENTS {
            return Err(Refusal::Overload);
        }
        self.events.push_back(event);
        Ok(())
    }

    fn sweep(&mut self, now: Time) {
        if self.link == Link::Down {
            self.loops.excuse(now.since(self.swept));
        }
        self.swept = now;
        self.former = self.former.take().filter(|(_, _, over)| *over > now);
        self.loops.expire(now);
        self.asking.expire(now);
        self.serving.expire(now);
    }

    fn lives(&self, now: Time, epoch: Epoch) -> bool {
        let former = self.former.as_ref().filter(|(_, _, over)| *over > now);
        epoch == self.home.epoch || former.is_some_and(|(home, _, _)| home.epoch == epoch)
    }

    fn refuse_made(&mut self, refusal: Refusal, count: u64) {
        for _ in 0..count {
            self.ledger.refused.add(refusal);
        }
    }
}

/// The rate of the class, if the document has a place for such a participant.
fn fitting_rate(config: &EdgeConfig, topology: &Topology) -> Result<Rate, EdgeError> {
    route::check(topology, &config.gateway)?;
    if !carries_requests(topology.geometry()) {
        return Err(EdgeError::SmallGeometry);
    }
    let rate = topology.parameters().class(config.class);
    rate.ok_or(EdgeError::UnknownClass)
}

/// News that wait for the owner.
const MAX_EVENTS: usize = 1_024;

/// How often what is over is looked for.
const SWEEP: Duration = Duration::from_secs(1);
