//! Keeping up with the directory: when to publish a descriptor, when to fetch a document, and
//! whether the own clock allows either.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use wire::{Call, CallRefused, Epoch, NodeId, Reply, Time};

use crate::{ClockCheck, ClockSkew, DirectoryError, Schedule, Topology, View};

/// A participant's side of the directory, without I/O.
///
/// The schedule is the network's, the same for all: descriptors go out at
/// [`Schedule::publish_at`], documents are fetched at [`Schedule::fetch_at`], and both are
/// tried again at fixed gaps. Clocks are asked for at the start and with each document; nothing is
/// signed before enough of them were heard, or while the own clock is too far off. The driver sends what [`Self::poll_transmit`] says, hands back
/// what comes of it, and calls [`Self::handle_timeout`] when [`Self::poll_timeout`] is due.
pub struct Subscriber {
    view: View,
    schedule: Schedule,
    sources: Vec<NodeId>,
    publishes: bool,
    /// Through the mixes.
    early: bool,
    asked: Epoch,
    publication: Option<Publication>,
    fetch_at: Time,
    attempts: u32,
    clock: ClockCheck,
    hands_on: bool,
    /// When clocks are asked for next, when they were last, and how often in vain.
    clock_at: Time,
    clock_asked: Time,
    clock_attempts: u32,
    skewed: bool,
    calls: VecDeque<(NodeId, Call)>,
    events: VecDeque<SubscriberEvent>,
}

/// What the driver should know or do.
#[non_exhaustive]
pub enum SubscriberEvent {
    /// Make, or find again, the descriptor for this epoch and [`Subscriber::offer`] it.
    NeedDescriptor(Epoch),
    /// Every source has the descriptor for this epoch.
    Published(Epoch),
    /// The time for publishing ended before every source had the descriptor.
    PublishedInPart {
        /// The descriptor's epoch.
        epoch: Epoch,
        /// How many sources lack it.
        missing: usize,
    },
    /// A source will not take the descriptor.
    PublishRefused {
        /// The descriptor's epoch.
        epoch: Epoch,
        /// Who refused.
        by: NodeId,
        /// Why.
        why: CallRefused,
    },
    /// A document was accepted; this is the topology of its own epoch.
    Document(Arc<Topology>),
    /// The own clock was found too far off, or right again.
    Clock(Result<(), ClockSkew>),
    /// A document was offered by this source and refused, or is unsafe.
    DocumentRefused {
        /// Who offered it.
        by: NodeId,
        /// Why it is refused.
        why: DirectoryError,
    },
}

struct Publication {
    epoch: Epoch,
    bytes: Vec<u8>,
    /// Sources that have not taken it, and when each is asked next.
    pending: BTreeMap<NodeId, Time>,
}

impl Subscriber {
    /// Follows the documents from `sources`: authorities, or a client's gateway.
    ///
    /// The first fetch is due at `now`.
    #[must_use]
    pub fn new(now: Time, view: View, sources: Vec<NodeId>) -> Self {
        let schedule = view.network().schedule();
        let clock = ClockCheck::new(Arc::clone(view.network()));
        Self {
            view,
            schedule,
            sources,
            publishes: false,
            early: false,
            asked: Epoch(0),
            publication: None,
            fetch_at: now,
            attempts: 0,
            clock,
            hands_on: false,
            clock_at: now,
            clock_asked: now,
            clock_attempts: 0,
            skewed: false,
            calls: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// As [`Self::new`], and publishes a descriptor to every source each epoch.
    #[must_use]
    pub fn publishing(now: Time, view: View, sources: Vec<NodeId>) -> Self {
        Self {
            publishes: true,
            ..Self::new(now, view, sources)
        }
    }

    /// Publishes earlier in the epoch, at [`Schedule::publish_early_at`]: for who publishes through
    /// the mixes.
    #[must_use]
    pub const fn publishing_early(mut self) -> Self {
        self.early = true;
        self
    }

    /// Asks for clocks so often that it can hand on what they show: for gateways.
    #[must_use]
    pub const fn handing_on_clocks(mut self) -> Self {
        self.hands_on = true;
        self
    }

    /// Follows other sources from now on: what is not published yet goes to them, and the next
    /// fetch asks them.
    pub fn set_sources(&mut self, now: Time, sources: Vec<NodeId>) {
        if let Some(publication) = &mut self.publication {
            publication.pending = sources.iter().map(|source| (*source, now)).collect();
        }
        self.sources = sources;
        self.attempts = 0;
        self.calls.clear();
        if self.wanted(now).is_some() {
            self.fetch_at = now;
        }
    }

    /// Takes the encoded [`crate::Descriptor`] for `epoch`, to publish from `now` on.
    ///
    /// Within an epoch always the same bytes: two descriptors cost a node the epoch. The driver
    /// keeps them on disk before it offers them.
    pub fn offer(&mut self, now: Time, epoch: Epoch, descriptor: Vec<u8>) {
        self.publication = Some(Publication {
            epoch,
            bytes: descriptor,
            pending: self.sources.iter().map(|source| (*source, now)).collect(),
        });
        self.handle_timeout(now);
    }

    /// Queues the calls and events that are due.
    pub fn handle_timeout(&mut self, now: Time) {
        self.ask_for_descriptor(now);
        self.publish(now);
        self.fetch(now);
        self.ask_for_clocks(now);
    }

    /// Asks for clocks again: the machine may have slept while there was no link.
    pub const fn doubt_clock(&mut self, now: Time) {
        self.clock_at = now;
    }

    /// Takes the reply of `from` to `call`.
    pub fn handle_reply(&mut self, now: Time, from: NodeId, call: &Call, reply: Reply) {
        match (call, reply) {
            (Call::Publish(bytes), reply) => self.published(from, bytes, &reply),
            (Call::NewestDocument | Call::Document(_), Reply::Document(bytes)) => {
                self.fetched(now, from, &bytes);
            }
            (Call::Clocks, Reply::Clocks(bytes)) => self.hear_clocks(now, from, &bytes),
            // Anything else is answered by asking again at the next gap.
            _ => {}
        }
    }

    /// When [`Self::handle_timeout`] is due next.
    #[must_use]
    pub fn poll_timeout(&self) -> Time {
        let publish = self
            .publication
            .iter()
            .flat_map(|p| p.pending.values().copied())
            .min();
        let ask = self
            .may_sign()
            .then(|| self.descriptor_at(self.asked.next()));
        [publish, ask]
            .into_iter()
            .flatten()
            .fold(self.fetch_at.min(self.clock_at), Time::min)
    }

    /// The next call to make.
    pub fn poll_transmit(&mut self) -> Option<(NodeId, Call)> {
        self.calls.pop_front()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<SubscriberEvent> {
        self.events.pop_front()
    }

    /// What is believed so far.
    #[must_use]
    pub const fn view(&self) -> &View {
        &self.view
    }

    /// Accepts a consensus from elsewhere, a state directory for one.
    ///
    /// # Errors
    /// As [`View::accept`].
    pub fn accept(&mut self, now: Time, bytes: &[u8]) -> Result<Arc<Topology>, DirectoryError> {
        let accepted = self.view.accept(now, bytes);
        self.plan_fetch(now);
        accepted
    }

    /// The topology to send by; see [`View::current`].
    ///
    /// # Errors
    /// As [`View::current`]; and [`DirectoryError::ClockSkew`].
    pub fn current(&self, now: Time) -> Result<Arc<Topology>, DirectoryError> {
        self.clock.check()?;
        self.view.current(now)
    }

    /// What the authorities' clocks showed of late, encoded, for whoever asks.
    #[must_use]
    pub fn clock_readings(&self, now: Time) -> Vec<u8> {
        self.clock.readings(now)
    }

    fn may_sign(&self) -> bool {
        self.publishes && self.clock.knows(Time::ZERO) && self.clock.check().is_ok()
    }

    fn ask_for_clocks(&mut self, now: Time) {
        if now < self.clock_at {
            return;
        }
        let ask = |source: &NodeId| (*source, Call::Clocks);
        self.calls.extend(self.sources.iter().map(ask));
        self.clock_asked = now;
        self.clock_at = now.after(gap(&self.schedule, self.clock_attempts));
        self.clock_attempts = self.clock_attempts.saturating_add(1);
    }

    fn hear_clocks(&mut self, now: Time, from: NodeId, bytes: &[u8]) {
        self.clock.hear(now, &from, bytes);
        let right = self.clock.check();
        if right.is_err() != self.skewed {
            self.skewed = right.is_err();
            self.events.push_back(SubscriberEvent::Clock(right));
        }
        if self.clock.knows(self.clock_asked) {
            self.clock_attempts = 0;
            self.clock_at = if self.hands_on || self.skewed {
                self.clock_asked
                    .after(CLOCK_GAP)
                    .max(now.after(CLOCK_GAP / 2))
            } else {
                self.after_this(now)
            };
        }
        self.ask_for_descriptor(now);
    }

    /// The next time at which everybody fetches a document.
    fn after_this(&self, now: Time) -> Time {
        let next = self.schedule.open_for(now);
        let soon = self.schedule.fetch_at(next);
        if soon > now {
            soon
        } else {
            self.schedule.fetch_at(next.next())
        }
    }

    fn descriptor_at(&self, epoch: Epoch) -> Time {
        if self.early {
            self.schedule.publish_early_at(epoch)
        } else {
            self.schedule.publish_at(epoch)
        }
    }

    fn ask_for_descriptor(&mut self, now: Time) {
        let open = self.schedule.open_for(now);
        if !self.may_sign() || open <= self.asked {
            return;
        }
        if now >= self.descriptor_at(open) {
            self.asked = open;
            self.events.push_back(SubscriberEvent::NeedDescriptor(open));
        } else {
            // Started between two windows: the next one to wait for is this epoch's.
            self.asked = Epoch(open.0.saturating_sub(1));
        }
    }

    fn publish(&mut self, now: Time) {
        let Some(publication) = &mut self.publication else {
            return;
        };
        let epoch = publication.epoch;
        if now >= self.schedule.lists_at(epoch) {
            let missing = publication.pending.len();
            self.publication = None;
            self.events
                .push_back(SubscriberEvent::PublishedInPart { epoch, missing });
            return;
        }
        let retry = now.after(gap(&self.schedule, 0));
        for (source, due) in &mut publication.pending {
            if *due <= now {
                *due = retry;
                let call = Call::Publish(publication.bytes.clone());
                self.calls.push_back((*source, call));
            }
        }
    }

    fn published(&mut self, from: NodeId, bytes: &[u8], reply: &Reply) {
        let Some(publication) = &mut self.publication else {
            return;
        };
        if publication.bytes != bytes {
            return;
        }
        let epoch = publication.epoch;
        match reply {
            Reply::Done => {
                publication.pending.remove(&from);
            }
            Reply::Refused(
                why
                @ (CallRefused::Invalid | CallRefused::WrongEpoch | CallRefused::NotForThisNode),
            ) => {
                publication.pending.remove(&from);
                self.events.push_back(SubscriberEvent::PublishRefused {
                    epoch,
                    by: from,
                    why: *why,
                });
            }
            // Busy, or not yet: the retry that is planned stands.
            _ => {}
        }
        if publication.pending.is_empty() {
            self.publication = None;
            self.events.push_back(SubscriberEvent::Published(epoch));
        }
    }

    fn fetch(&mut self, now: Time) {
        if now < self.fetch_at || self.sources.is_empty() {
            return;
        }
        let Some(wanted) = self.wanted(now) else {
            self.plan_fetch(now);
            return;
        };
        let place = usize::try_from(self.attempts).unwrap_or(0) % self.sources.len();
        if let Some(source) = self.sources.get(place) {
            let behind = self
                .view
                .newest()
                .is_none_or(|(held, _)| held.next() < wanted);
            let call = if behind {
                Call::NewestDocument
            } else {
                Call::Document(wanted)
            };
            self.calls.push_back((*source, call));
        }
        self.fetch_at = now.after(gap(&self.schedule, self.attempts));
        self.attempts = self.attempts.saturating_add(1);
    }

    fn fetched(&mut self, now: Time, from: NodeId, bytes: &[u8]) {
        let before = self.view.newest().map(|(epoch, _)| epoch);
        match self.view.accept(now, bytes) {
            Ok(topology) if before.is_none_or(|held| topology.epoch() > held) => {
                self.events.push_back(SubscriberEvent::Document(topology));
            }
            Ok(_) => {}
            Err(why) => self
                .events
                .push_back(SubscriberEvent::DocumentRefused { by: from, why }),
        }
        if self.wanted(now).is_none() {
            self.plan_fetch(now);
        }
    }

    /// The epoch whose document should be here by `now` and is not.
    fn wanted(&self, now: Time) -> Option<Epoch> {
        let next = self
            .schedule
            .epoch_at(now)
            .map_or(Epoch(1), |epoch| epoch.next());
        let due = if now >= self.schedule.fetch_at(next) {
            next
        } else {
            next.previous().filter(|epoch| epoch.0 > 0)?
        };
        match self.view.newest() {
            Some((held, _)) if held >= due => None,
            _ => Some(due),
        }
    }

    /// Nothing is missing now: the next fetch is for the document after the newest.
    fn plan_fetch(&mut self, now: Time) {
        if self.wanted(now).is_none() {
            let held = self.view.newest().map_or(Epoch(0), |(epoch, _)| epoch);
            self.attempts = 0;
            self.fetch_at = self.schedule.fetch_at(held.next());
        }
    }
}

/// The gap after the attempt with this number: a quarter of a step at first, a step from the
/// ninth on.
fn gap(schedule: &Schedule, attempt: u32) -> Duration {
    if attempt < 8 {
        schedule.step() / 4
    } else {
        schedule.step()
    }
}

/// Between two looks at the clocks, for whoever hands them on or is too far off.
const CLOCK_GAP: Duration = Duration::from_secs(30);
