//! One participant at the edge: everything between its owner and the link to its gateway.

mod letters;
mod own;
mod receive;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use directory::{Identity, Topology};
use rand::CryptoRng;
use sphinx::{Address, Packet};
use traffic::{LoopBook, LoopCounts, Rate, Slot};
use wire::{
    AdmissionTag, Attach, Ledger, MailboxAddress, NodeId, Refusal, Register, RequestId, Response,
    SurbId, Time,
};

use crate::ask::{
    Asking, Ended, Failure, Flight, LetterId, Recipient, RequestDraft, Surroundings, Timing,
};
use crate::expect::Jitter;
use crate::layout::carries_requests;
use crate::owner::Owner;
use crate::publication::Publication;
use crate::route::{self, Home};
use crate::seal::SealingKey;
use crate::serve::{OpenedLetter, OpenedRequest, Place, ReplyPath, Serving};
use crate::slots::{self, Flow, Job, Kind, Ready, Slots, Wanted, random_identifier};
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
    /// A question of ours is over without an answer.
    Unanswered {
        /// The question.
        request: RequestId,
        /// Why.
        why: Failure,
    },
    /// A letter came to a mailbox of ours.
    Letter(OpenedLetter),
    /// A letter of ours arrived: its receiver said so.
    Delivered {
        /// Which.
        letter: LetterId,
    },
    /// A letter of ours is over, and nobody said that it arrived.
    Undelivered {
        /// Which.
        letter: LetterId,
        /// Why.
        why: Failure,
    },
    /// A loop came back.
    Loop {
        /// From its leaving.
        after: Duration,
    },
    /// The authorities' word on a descriptor that was published through the mixes.
    Verdict(wire::Reply),
}

/// What left and came, by kind. Never leaves its participant: on the wire all is alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EdgeCounts {
    /// Packets of requests that left.
    pub requests: u64,
    /// Packets of answers that left.
    pub replies: u64,
    /// Feeds of mailboxes that left.
    pub feeds: u64,
    /// Parts of descriptors that left.
    pub parts: u64,
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
    /// Messages of others given up before they were complete.
    pub abandoned: u64,
    /// Replies that came when what they answer was over.
    pub late: u64,
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
    /// Reply blocks of others.
    pub held_surbs: usize,
    /// Bytes of answers kept for repeats.
    pub stored_bytes: usize,
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
    /// The next epoch's, as soon as its document is known.
    coming: Option<(Home, Arc<Topology>)>,
    owners: Vec<Owner>,
    publication: Option<Publication>,
    /// The owner has no room for more letters.
    full: bool,
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

/// What the asking side sees of an edge: all but itself.
macro_rules! surroundings {
    ($edge:ident) => {
        Surroundings {
            topology: &$edge.topology,
            home: &$edge.home,
            jitter: &$edge.jitter,
            rate: $edge.slots.rate(),
            waiting: $edge.slots.waiting(),
            room: $edge.slots.room(),
        }
    };
}

/// What the serving side sees of an edge.
macro_rules! place {
    ($edge:ident, $now:expr) => {
        Place {
            topology: &$edge.topology,
            former: $edge
                .former
                .as_ref()
                .filter(|(_, _, over)| *over > $now)
                .map(|(home, _, _)| home.epoch),
            room: $edge.slots.room(),
        }
    };
}

pub(crate) use {place, surroundings};

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
            coming: None,
            owners: Vec::new(),
            publication: None,
            full: false,
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
            self.asking.retire(over, former.epoch());
            let epoch = self.topology.epoch();
            let coming = self.coming.take().filter(|(home, _)| home.epoch == epoch);
            let home = match coming {
                Some((home, _)) => home,
                None => Home::new(rng, epoch, self.config.gateway),
            };
            let home = std::mem::replace(&mut self.home, home);
            self.former = Some((home, former, over));
            for owner in &mut self.owners {
                owner.turn(epoch);
                // With too few gateways it stays where it was: those may come back.
                let _ = owner.place(now, rng, &self.topology, self.config.gateway);
            }
        }
        let (stale, misled) = self
            .slots
            .renew(|mix| route::first_hop_index(&self.topology, mix).is_some());
        self.refuse_made(Refusal::WrongEpoch, stale);
        self.refuse_made(Refusal::BadFirstHop, misled.len() as u64);
        for kind in misled {
            if let Kind::Request(part) = kind {
                self.asking.dropped(part);
            }
        }
        let ended = self.asking.renew(now, &self.topology);
        self.settle(Vec::new(), ended);
        Ok(())
    }

    /// Takes a frame from the entry gateway: a 2-byte prefix that names the kind of delivery,
    /// and as many bytes as a packet has. What is wrong with it is counted in the ledger.
    pub fn handle_frame(&mut self, now: Time, rng: &mut dyn CryptoRng, frame: &[u8]) {
        self.ledger.received += 1;
        let outcome = match frame.split_first_chunk() {
            Some((prefix, packet)) => self.delivery(now, rng, u16::from_be_bytes(*prefix), packet),
            None => Err(Refusal::BadLength),
        };
        match outcome {
            Ok(()) => self.ledger.consumed += 1,
            Err(refusal) => self.ledger.refused.add(refusal),
        }
    }

    /// Sends what is due: exactly one packet a tick, whatever waits.
    pub fn handle_timeout(&mut self, now: Time, rng: &mut dyn CryptoRng) {
        self.tend(now, rng);
        while self.slots.fire(now) {
            if self.link == Link::Up {
                self.tick(now, rng);
            }
        }
        self.attend(now, rng);
        if now.since(self.swept) >= SWEEP {
            self.sweep(now);
        }
    }

    /// When [`Self::handle_timeout`] is to be called next: at the next tick, or the end of a
    /// deadline.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        let deadline = self.asking.next_deadline();
        Some(
            deadline
                .map_or(Time::MAX, |at| at)
                .min(self.slots.poll_timeout()),
        )
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
            // A job that makes nothing is gone all the same.
            Some(Wanted::Real(job)) => match self.make(rng, job) {
                Some(ready) => Some(ready),
                None => return true,
            },
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
    /// Sends a question. Whatever is lost on its way or on the answer's is sent again, as often
    /// as it takes until `deadline`; then, at the latest, the question is over, and one event
    /// says how. Sending it again under its id makes another attempt, with fresh keys; the first
    /// answer to any of them ends all.
    ///
    /// # Errors
    /// [`EdgeError`]; then nothing was queued.
    pub fn send_request(
        &mut self,
        now: Time,
        rng: &mut dyn CryptoRng,
        to: &Recipient,
        draft: &RequestDraft,
        deadline: Time,
    ) -> Result<Flight, EdgeError> {
        let around = surroundings!(self);
        let asked = self.asking.ask(now, rng, &around, to, draft, deadline);
        let (jobs, flight) = asked?;
        self.push(jobs);
        Ok(flight)
    }

    /// When something should have been heard of a question, but for one case in hundreds; `None`
    /// if it is over, or its packets have not all left.
    #[must_use]
    pub fn expected_by(&self, request: &RequestId) -> Option<Time> {
        self.asking.expected_by(request)
    }

    /// Gives a question up: its packets that are not made yet are not sent, and an answer that
    /// still comes is taken for surplus.
    pub fn abandon(&mut self, now: Time, request: &RequestId) {
        self.asking.end_request(now, request);
        self.slots.withdraw(|attempt| self.asking.goes_on(attempt));
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
        self.serving.open(mailbox, key, None)
    }

    /// Answers a question: with as many packets as its class has, whatever it says. An answer
    /// that does not fit goes back as [`wire::RequestFailure::AnswerTooLarge`]. It is kept for a
    /// while: who asks again gets more of it.
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
        let _ = rng;
        let place = place!(self, now);
        let jobs = self.serving.answer(&place, path, response)?;
        self.push(jobs);
        Ok(())
    }

    /// Tags of packets that are to come to one of our mailboxes, `most` at most: for the
    /// mailbox's gateway to let them in before those of strangers. Each is good for one packet.
    #[must_use]
    pub fn tags_to_announce(&self, mailbox: &MailboxAddress, most: usize) -> Vec<AdmissionTag> {
        self.serving.tags(mailbox, most)
    }
}

/// What it knows of itself.
impl Edge {
    /// Its entry gateway.
    #[must_use]
    pub fn gateway(&self) -> NodeId {
        self.config.gateway
    }

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
            late: self.asking.late(),
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
            held_surbs: self.serving.held(),
            stored_bytes: self.serving.stored(),
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

    /// Does what is due besides ticks. Nothing here moves the clock.
    fn attend(&mut self, now: Time, rng: &mut dyn CryptoRng) {
        let around = surroundings!(self);
        let (jobs, ended) = self.asking.attend(now, rng, &around);
        self.settle(jobs, ended);
        let place = place!(self, now);
        let jobs = self.serving.attend(now, &place);
        self.push(jobs);
    }

    /// Queues packets, and tells what is over.
    fn settle(&mut self, jobs: Vec<Job>, ended: Vec<Ended>) {
        self.push(jobs);
        if ended.is_empty() {
            return;
        }
        self.slots.withdraw(|attempt| self.asking.goes_on(attempt));
        for ended in ended {
            // Beyond its bound the owner learns by its own clock that nothing came.
            let _ = self.tell(ended.into());
        }
    }

    fn push(&mut self, jobs: Vec<Job>) {
        for job in jobs {
            self.slots.push(job);
        }
    }

    fn tick(&mut self, now: Time, rng: &mut dyn CryptoRng) {
        let flow = self.flow();
        let mut ready = self.slots.take_ready(flow);
        if ready.is_none() {
            self.counts.made_late += 1;
            while ready.is_none()
                && let Some(job) = self.slots.take_job(flow)
            {
                ready = self.make(rng, job);
            }
        }
        let ready = ready.or_else(|| self.make_cover(rng));
        // Nothing is ready and nothing can be made only if a document without mixes was taken,
        // which none is.
        let Some(ready) = ready else { return };
        match ready.kind {
            Kind::Request(part) => {
                self.counts.requests += 1;
                let around = surroundings!(self);
                self.asking.left(now, rng, &around, part);
            }
            Kind::Reply => self.counts.replies += 1,
            Kind::Feed => self.counts.feeds += 1,
            Kind::Part => self.counts.parts += 1,
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
        let ready = match job {
            Job::Request(part) => {
                let around = surroundings!(self);
                let made = self.asking.make(rng, &around, part);
                if made.is_none() {
                    self.asking.dropped(part);
                }
                made?
            }
            Job::Reply { surb, payload } => {
                slots::make_reply(*surb, &payload, self.topology.geometry())?
            }
            Job::Feed { order, at } => self.make_feed(rng, &order, at)?,
            Job::Part { route, payload } => own::make_part(rng, &self.topology, &route, &payload)?,
        };
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
        let lost = self.loops.counts().lost;
        self.loops.expire(now);
        for _ in lost..self.loops.counts().lost {
            self.asking.measure().lost();
        }
        self.asking.expire(now);
        self.serving.expire(now);
    }

    fn refuse_made(&mut self, refusal: Refusal, count: u64) {
        for _ in 0..count {
            self.ledger.refused.add(refusal);
        }
    }
}

impl From<Ended> for EdgeEvent {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Answered { response, timing } => Self::Response { response, timing },
            Ended::Unanswered { request, why } => Self::Unanswered { request, why },
            Ended::Delivered { letter } => Self::Delivered { letter },
            Ended::Undelivered { letter, why } => Self::Undelivered { letter, why },
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
