//! The asking core: questions on their way, each with its deadline. Each has one end: its answer,
//! passed on once and only if it fits the model, or why there is none. What is lost the edge
//! sends again.
//!
//! Requests leave on a Poisson clock of their own: at each tick the question that has waited
//! longest, else a dummy, which is sealed, sized and repeated as a question is, and whose answer
//! nobody gets (docs/spec/message.md, 13). So how much is asked shows nowhere but at providers.

mod letters;

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use directory::Topology;
use message::{Edge, EdgeConfig, EdgeError, EdgeEvent, Failure, Participant, Timing};
use rand::{CryptoRng, RngExt};
use sphinx::Packet;
use traffic::{PoissonClock, Rate};
use wire::{Ledger, Outcome, Register, RequestId, Response, Time};

use crate::question::Listing;
use crate::{Answer, DummyInputs, Latency, ProofStatus, QueryError, Question};
use letters::Letters;
pub use letters::WriteId;

/// How an [`Asker`] is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AskerConfig {
    /// Entry gateway and rate class.
    pub edge: EdgeConfig,
    /// Most questions at once, answers not yet polled included.
    pub max_questions: usize,
}

/// One question of an [`Asker`]; a local number that never leaves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct QueryId(u64);

/// What an [`Asker`] has to tell: for each question exactly one of these.
pub struct AskerEvent {
    /// The question.
    pub id: QueryId,
    /// Its answer, or why there is none.
    pub result: Result<Answer, QueryError>,
}

/// What an asker counted since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AskerCounts {
    /// Questions asked.
    pub asked: u64,
    /// Questions sent.
    pub sent: u64,
    /// Times that more of a question was sent, because something was lost or late, until it was
    /// answered.
    pub repeated: u64,
    /// Questions with an answer.
    pub answered: u64,
    /// Questions that ended in an error.
    pub failed: u64,
    /// Answers to questions that were over; not passed on.
    pub late: u64,
    /// Dummies sent.
    pub dummies: u64,
    /// Dummies with an answer.
    pub dummies_answered: u64,
    /// Ticks of the request clock that passed with nothing sent: there was no link, packets get
    /// lost on the way, requests of many packets still wait for slots, or nothing is on offer.
    pub passed: u64,
}

/// The asking side of a client. Sans-IO: `now` and `rng` are arguments.
pub struct Asker {
    edge: Edge,
    max_questions: usize,
    asked: BTreeMap<QueryId, Asked>,
    ids: BTreeMap<RequestId, QueryId>,
    events: VecDeque<AskerEvent>,
    next: u64,
    counts: AskerCounts,
    clock: PoissonClock,
    class: u8,
    linked: bool,
    inputs: Arc<DummyInputs>,
    dummies: BTreeMap<RequestId, Asked>,
    letters: Letters,
}

struct Asked {
    question: Question,
    request: RequestId,
    since: Time,
    /// When it was sent for the first time.
    sent: Option<Time>,
    deadline: Time,
    /// Until it is sent it waits from then on for a tick of the request clock.
    due: Time,
}

impl Asker {
    /// Longest deadline: providers recognise a repeated id at least this long.
    pub const MAX_DEADLINE: Duration = Duration::from_secs(300);

    /// An asker on `topology`.
    ///
    /// # Errors
    /// [`EdgeError`] if gateway or class are not of this topology.
    pub fn new(
        now: Time,
        rng: &mut dyn CryptoRng,
        config: AskerConfig,
        topology: Arc<Topology>,
    ) -> Result<Self, EdgeError> {
        let rate = request_rate(&topology, config.edge.class)?;
        let edge = Edge::new(now, rng, config.edge, topology)?;
        Ok(Self {
            edge,
            clock: PoissonClock::new(now, rng, rate),
            class: config.edge.class,
            linked: true,
            inputs: Arc::default(),
            dummies: BTreeMap::new(),
            letters: Letters::default(),
            max_questions: config.max_questions,
            asked: BTreeMap::new(),
            ids: BTreeMap::new(),
            events: VecDeque::new(),
            next: 0,
            counts: AskerCounts::default(),
        })
    }

    /// Takes what dummies ask from `inputs`; without any, it is drawn from models' ranges.
    pub fn set_dummy_inputs(&mut self, inputs: Arc<DummyInputs>) {
        self.inputs = inputs;
    }

    /// Asks `question` until `deadline`, from the next tick of the request clock on that no
    /// earlier question takes; what comes of it is an event.
    ///
    /// # Errors
    /// [`QueryError::Overload`] at the bound of questions, [`QueryError::DeadlineTooLong`]
    /// beyond [`Self::MAX_DEADLINE`].
    pub fn ask(
        &mut self,
        now: Time,
        rng: &mut dyn CryptoRng,
        question: Question,
        deadline: Time,
    ) -> Result<QueryId, QueryError> {
        let asked = deadline.since(now);
        if asked > Self::MAX_DEADLINE {
            let bound = Self::MAX_DEADLINE;
            return Err(QueryError::DeadlineTooLong { asked, bound });
        }
        if self.asked.len() + self.events.len() >= self.max_questions {
            return Err(QueryError::Overload);
        }
        let asked = Asked::new(now, rng, question, deadline);
        let id = QueryId(self.next);
        self.next += 1;
        self.counts.asked += 1;
        self.ids.insert(asked.request, id);
        self.asked.insert(id, asked);
        Ok(id)
    }

    /// Forgets a question: no event, no repeat; packets that are not made yet are not sent.
    pub fn forget(&mut self, now: Time, id: QueryId) {
        self.remove(now, id);
        self.events.retain(|event| event.id != id);
    }

    /// What was counted so far.
    #[must_use]
    pub const fn counts(&self) -> AskerCounts {
        self.counts
    }

    /// The account of its packets.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        self.edge.ledger()
    }

    /// Packets made and not yet gone.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.edge.held()
    }

    /// How many questions are under way.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.asked.len()
    }

    /// Ends what is over.
    fn end_late(&mut self, now: Time) {
        let is_over = |(_, asked): &(&QueryId, &Asked)| asked.deadline <= now;
        let over: Vec<QueryId> = self
            .asked
            .iter()
            .filter(is_over)
            .map(|(id, _)| *id)
            .collect();
        for id in over {
            self.fail(now, id, Failure::Timeout);
        }
        while let Some((id, _)) = self.dummies.iter().find(|(_, asked)| asked.deadline <= now) {
            self.end_dummy(now, *id);
        }
    }

    /// Passes on what the edge says.
    fn take_news(&mut self, now: Time, rng: &mut dyn CryptoRng) {
        while let Some(event) = self.edge.poll_event() {
            match event {
                EdgeEvent::Response { response, timing } => {
                    let is_profile = self.on_profile(now, rng, &response);
                    if !is_profile {
                        self.on_response(now, &response, &timing);
                    }
                }
                EdgeEvent::Unanswered { request, why } => {
                    if let Some(id) = self.ids.get(&request).copied() {
                        self.fail(now, id, why);
                    } else if !self.on_silence(now, rng, &request, why) {
                        self.dummies.remove(&request);
                    }
                }
                EdgeEvent::Letter(letter) => self.on_letter(letter),
                EdgeEvent::Delivered { letter } => self.on_delivered(letter, Ok(())),
                EdgeEvent::Undelivered { letter, why } => {
                    self.on_delivered(letter, Err(why));
                }
                // Loops are the edge's affair, and an asker publishes and answers nothing.
                _ => {}
            }
        }
    }

    fn fail(&mut self, now: Time, id: QueryId, why: Failure) {
        let withheld = self.edge.withholds();
        self.finish(now, id, |asked| Err(asked.failed(why, withheld)));
    }

    /// A tick of the request clock: what is asked and has waited longest, else a dummy.
    fn request(&mut self, now: Time, rng: &mut dyn CryptoRng) {
        let busy = self.edge.memory().waiting >= MAX_BACKLOG;
        if !self.linked || busy || self.edge.withholds() {
            self.counts.passed += 1;
            return;
        }
        let waiting = |(id, asked): (&QueryId, &Asked)| {
            (asked.sent.is_none() && asked.due <= now).then_some((asked.due, *id))
        };
        if let Some((_, id)) = self.asked.iter().filter_map(waiting).min() {
            return self.send(now, rng, id);
        }
        let topology = Arc::clone(self.edge.topology());
        let dummy = Question::dummy(rng, &topology, &self.inputs)
            .map(|question| Asked::new(now, rng, question, now.after(DUMMY_DEADLINE)));
        let sent = dummy.and_then(|mut dummy| {
            dummy.send(now, rng, &mut self.edge).ok()?;
            Some(dummy)
        });
        match sent {
            Some(dummy) => {
                self.counts.dummies += 1;
                self.keep_dummy(now, dummy);
            }
            None => self.counts.passed += 1,
        }
    }

    /// Sends a question of the book. Where the queue has no room, it waits for a later tick.
    fn send(&mut self, now: Time, rng: &mut dyn CryptoRng, id: QueryId) {
        let Some(asked) = self.asked.get_mut(&id) else {
            return;
        };
        match asked.send(now, rng, &mut self.edge) {
            Ok(()) => self.counts.sent += 1,
            Err(QueryError::Overload) => self.counts.passed += 1,
            Err(why) => self.finish(now, id, |_| Err(why)),
        }
    }

    fn keep_dummy(&mut self, now: Time, dummy: Asked) {
        if self.dummies.len() >= MAX_DUMMIES
            && let Some(oldest) = self.dummies.values().min_by_key(|asked| asked.since)
        {
            self.end_dummy(now, oldest.request);
        }
        self.dummies.insert(dummy.request, dummy);
    }

    fn end_dummy(&mut self, now: Time, id: RequestId) {
        self.dummies.remove(&id);
        self.edge.abandon(now, &id);
    }

    fn on_response(&mut self, now: Time, response: &Response, timing: &Timing) {
        if self.dummies.contains_key(&response.id) {
            self.counts.dummies_answered += 1;
            return self.end_dummy(now, response.id);
        }
        let Some(id) = self.ids.get(&response.id).copied() else {
            self.counts.late += 1;
            return;
        };
        self.counts.repeated += u64::from(timing.repeats);
        self.finish(now, id, |asked| asked.answer(now, response, timing));
    }

    /// Ends a question: it leaves the books, and its one event goes out.
    fn finish(
        &mut self,
        now: Time,
        id: QueryId,
        end: impl FnOnce(&Asked) -> Result<Answer, QueryError>,
    ) {
        let Some(asked) = self.remove(now, id) else {
            return;
        };
        let result = end(&asked);
        match result {
            Ok(_) => self.counts.answered += 1,
            Err(_) => self.counts.failed += 1,
        }
        self.events.push_back(AskerEvent { id, result });
    }

    fn remove(&mut self, now: Time, id: QueryId) -> Option<Asked> {
        let asked = self.asked.remove(&id)?;
        self.ids.remove(&asked.request);
        self.edge.abandon(now, &asked.request);
        Some(asked)
    }
}

/// An asker has no owner but its caller: questions come by [`Asker::ask`], not as commands.
impl Participant for Asker {
    type Command = Infallible;
    type Event = AskerEvent;

    fn edge(&self) -> &Edge {
        &self.edge
    }

    fn edge_mut(&mut self) -> &mut Edge {
        &mut self.edge
    }

    fn handle_command(&mut self, _: Time, _: &mut dyn CryptoRng, command: Infallible) {
        match command {}
    }

    fn handle_frame(&mut self, now: Time, rng: &mut dyn CryptoRng, frame: &[u8]) {
        self.edge.handle_frame(now, rng, frame);
        self.take_news(now, rng);
    }

    fn handle_timeout(&mut self, now: Time, rng: &mut dyn CryptoRng) {
        while self.clock.fire(now) {
            self.request(now, rng);
        }
        self.edge.handle_timeout(now, rng);
        self.take_news(now, rng);
        self.end_late(now);
        self.end_late_letters(now);
    }

    fn poll_timeout(&self) -> Option<Time> {
        let asked = self.asked.values().chain(self.dummies.values());
        let own = asked.map(|asked| asked.deadline);
        let clocks = [Some(self.clock.poll_timeout()), self.edge.poll_timeout()];
        own.chain(clocks.into_iter().flatten())
            .chain(self.letter_deadline())
            .min()
    }

    fn poll_transmit(&mut self, now: Time) -> Option<(u16, Packet)> {
        self.edge.poll_transmit(now)
    }

    fn poll_event(&mut self) -> Option<AskerEvent> {
        self.events.pop_front()
    }

    fn prepare(&mut self, rng: &mut dyn CryptoRng) -> bool {
        self.edge.prepare(rng)
    }

    fn set_topology(
        &mut self,
        now: Time,
        rng: &mut dyn CryptoRng,
        topology: Arc<Topology>,
    ) -> Result<(), EdgeError> {
        let rate = request_rate(&topology, self.class)?;
        self.edge.set_topology(now, rng, Arc::clone(&topology))?;
        self.clock.set_rate(now, rate);
        self.take_news(now, rng);
        let mut gone = Vec::new();
        for (id, asked) in &mut self.asked {
            if asked.question.refresh(&topology) == Listing::Gone {
                gone.push(*id);
            }
        }
        for id in gone {
            self.fail(now, id, Failure::ProviderGone);
        }
        Ok(())
    }

    fn link_up(&mut self) {
        self.linked = true;
        self.edge.link_up();
    }

    fn link_down(&mut self) {
        self.linked = false;
        self.edge.link_down();
    }

    fn register(&self) -> Register {
        self.edge.register()
    }
}

impl Asked {
    fn new(now: Time, rng: &mut dyn CryptoRng, question: Question, deadline: Time) -> Self {
        Self {
            question,
            request: RequestId(rng.random()),
            since: now,
            sent: None,
            deadline,
            due: now,
        }
    }

    /// Sends the question.
    fn send(
        &mut self,
        now: Time,
        rng: &mut dyn CryptoRng,
        edge: &mut Edge,
    ) -> Result<(), QueryError> {
        let draft = self.question.draft(self.request);
        let sent = edge.send_request(now, rng, self.question.to(), &draft, self.deadline);
        self.due = now.after(AFTER_OVERLOAD);
        match sent {
            Ok(_) => {
                self.sent = Some(now);
                Ok(())
            }
            Err(EdgeError::Overload) => Err(QueryError::Overload),
            // Answers that come make room for it.
            Err(EdgeError::SurbsExhausted) => Err(QueryError::Overload),
            Err(EdgeError::RequestTooLarge) => Err(QueryError::TooLarge {
                model: self.question.model().to_owned(),
            }),
            Err(why) => Err(QueryError::NoRoute(why)),
        }
    }

    fn failed(&self, why: Failure, withheld: bool) -> QueryError {
        let after = self.deadline.since(self.since);
        match why {
            Failure::SurbsExhausted => QueryError::SurbsExhausted,
            Failure::ProviderGone => QueryError::ProviderGone {
                model: self.question.model().to_owned(),
            },
            _ if withheld => QueryError::Withheld { after },
            _ => QueryError::Timeout { after },
        }
    }

    fn answer(
        &self,
        now: Time,
        response: &Response,
        timing: &Timing,
    ) -> Result<Answer, QueryError> {
        let output = match &response.outcome {
            Outcome::Output(bytes) => self.question.read(bytes)?,
            Outcome::Failed(why) => return Err(QueryError::ProviderFailed(*why)),
            _ => return Err(self.question.bad_answer()),
        };
        let clock_wait = self.sent.unwrap_or(now).since(self.since);
        let tick_wait = response.held.saturating_sub(response.compute);
        Ok(Answer {
            label: self.question.label(&output),
            output,
            model: self.question.model().to_owned(),
            graph_hash: self.question.graph_hash(),
            latency: Latency::split(
                now.since(self.since),
                timing.mixing_out + timing.mixing_back,
                clock_wait + timing.queued + tick_wait,
                response.compute,
            ),
            attempts: 1 + timing.repeats,
            packets: timing.packets,
            proof: ProofStatus::NotAsked,
        })
    }
}

/// The rate of requests in a class.
///
/// # Errors
/// [`EdgeError::UnknownClass`] if the document has no such class.
fn request_rate(topology: &Topology, class: u8) -> Result<Rate, EdgeError> {
    let parameters = topology.parameters();
    let rate = parameters.class(class).ok_or(EdgeError::UnknownClass)?;
    Ok(parameters.rates.requests(rate))
}

/// How long a dummy's answer is waited for.
const DUMMY_DEADLINE: Duration = Duration::from_secs(30);

/// Dummies without an answer that are remembered; then the oldest is forgotten.
const MAX_DUMMIES: usize = 1_024;

/// With so many packets waiting for slots no request is added: those of large models would
/// fill the queue, for a minute, before anything that is asked.
const MAX_BACKLOG: usize = 24;

/// When to try again what the sending queue had no room for.
const AFTER_OVERLOAD: Duration = Duration::from_secs(1);
