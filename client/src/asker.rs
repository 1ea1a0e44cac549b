//! The asking core: questions on their way, each with its deadline. A question without an answer
//! is asked again under its id; an answer is passed on once, and only if it fits the model.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use directory::Topology;
use message::{Edge, EdgeConfig, EdgeError, EdgeEvent, Participant, Timing};
use rand::{CryptoRng, RngExt};
use sphinx::Packet;
use wire::{Ledger, Outcome, Register, RequestId, Response, Time};

use crate::{Answer, Latency, ProofStatus, QueryError, Question};

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
    /// Questions sent again because no answer came in time.
    pub repeated: u64,
    /// Questions with an answer.
    pub answered: u64,
    /// Questions that ended in an error.
    pub failed: u64,
    /// Answers to questions that were over; not passed on.
    pub late: u64,
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
}

struct Asked {
    question: Question,
    request: RequestId,
    since: Time,
    deadline: Time,
    repeat_at: Time,
    attempts: u32,
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
        Ok(Self {
            edge: Edge::new(now, rng, config.edge, topology)?,
            max_questions: config.max_questions,
            asked: BTreeMap::new(),
            ids: BTreeMap::new(),
            events: VecDeque::new(),
            next: 0,
            counts: AskerCounts::default(),
        })
    }

    /// Asks `question` until `deadline`; what comes of it is an event.
    ///
    /// # Errors
    /// [`QueryError::Overload`] at the bound of questions or of the sending queue,
    /// [`QueryError::DeadlineTooLong`] beyond [`Self::MAX_DEADLINE`].
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
        let mut asked = Asked {
            question,
            request: RequestId(rng.random()),
            since: now,
            deadline,
            repeat_at: now,
            attempts: 0,
        };
        asked.send(now, rng, &mut self.edge)?;
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
            self.finish(now, id, |asked| {
                let after = asked.deadline.since(asked.since);
                Err(QueryError::Timeout { after })
            });
        }
    }

    /// Repeats what has no answer yet. Where the queue has no room, it is tried again later.
    fn repeat_unanswered(&mut self, now: Time, rng: &mut dyn CryptoRng) {
        for asked in self
            .asked
            .values_mut()
            .filter(|asked| asked.repeat_at <= now)
        {
            if asked.send(now, rng, &mut self.edge).is_ok() {
                self.counts.repeated += 1;
            }
        }
    }

    fn on_response(&mut self, now: Time, response: &Response, timing: &Timing) {
        let Some(id) = self.ids.get(&response.id).copied() else {
            self.counts.late += 1;
            return;
        };
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

    fn handle_command(&mut self, _: Time, _: &mut dyn CryptoRng, command: Infallible) {
        match command {}
    }

    fn handle_frame(&mut self, now: Time, rng: &mut dyn CryptoRng, frame: &[u8]) {
        self.edge.handle_frame(now, rng, frame);
        while let Some(event) = self.edge.poll_event() {
            // An asker has no mailbox, and its loops are the edge's affair.
            if let EdgeEvent::Response { response, timing } = event {
                self.on_response(now, &response, &timing);
            }
        }
    }

    fn handle_timeout(&mut self, now: Time, rng: &mut dyn CryptoRng) {
        self.end_late(now);
        self.repeat_unanswered(now, rng);
        self.edge.handle_timeout(now, rng);
    }

    fn poll_timeout(&self) -> Option<Time> {
        let own = self.asked.values().map(|a| a.deadline.min(a.repeat_at));
        own.chain(self.edge.poll_timeout()).min()
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
        self.edge.set_topology(now, rng, Arc::clone(&topology))?;
        for asked in self.asked.values_mut() {
            asked.question.refresh(&topology);
        }
        Ok(())
    }

    fn link_up(&mut self) {
        self.edge.link_up();
    }

    fn link_down(&mut self) {
        self.edge.link_down();
    }

    fn register(&self) -> Register {
        self.edge.register()
    }
}

impl Asked {
    /// Sends the question once more, on fresh routes with fresh reply blocks.
    fn send(
        &mut self,
        now: Time,
        rng: &mut dyn CryptoRng,
        edge: &mut Edge,
    ) -> Result<(), QueryError> {
        let draft = self.question.draft(self.request);
        let sent = edge.send_request(now, rng, self.question.to(), &draft);
        let retry = now.after(AFTER_OVERLOAD);
        self.repeat_at = sent
            .as_ref()
            .map_or(retry, |flight| flight.expected_by.max(retry));
        match sent {
            Ok(_) => {
                self.attempts += 1;
                Ok(())
            }
            Err(EdgeError::Overload) => Err(QueryError::Overload),
            Err(EdgeError::RequestTooLarge) => Err(QueryError::TooLarge {
                model: self.question.model().to_owned(),
            }),
            Err(why) => Err(QueryError::NoRoute(why)),
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
        let tick_wait = response.held.saturating_sub(response.compute);
        Ok(Answer {
            label: self.question.label(&output),
            output,
            model: self.question.model().to_owned(),
            graph_hash: self.question.graph_hash(),
            latency: Latency::split(
                now.since(self.since),
                timing.mixing_out + timing.mixing_back,
                timing.queued + tick_wait,
                response.compute,
            ),
            attempts: self.attempts,
            proof: ProofStatus::NotAsked,
        })
    }
}

/// When to try again what the sending queue had no room for.
const AFTER_OVERLOAD: Duration = Duration::from_secs(1);
