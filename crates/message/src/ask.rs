//! The asking side: questions and letters out, answers and acknowledgements in
//! (docs/spec/message.md, 2, 6 and 7).

use std::collections::BTreeMap;
use std::time::Duration;

use directory::Topology;
use rand::{CryptoRng, RngExt};
use wire::{
    AnswerClass, Encode, Epoch, GraphHash, Letter, MAX_INPUT_LEN, MAX_LETTER_LEN, Mail,
    MailboxAddress, MessageId, NodeId, Reader, Refusal, Request, RequestId, Response, SurbId, Time,
};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::EdgeError;
use crate::assembly::{Assembled, Assembly, AssemblyBounds};
use crate::exchange::ExchangeSecret;
use crate::expect::Jitter;
use crate::fragment::{Fragment, Shape, Symbols};
use crate::layout::{reply_symbol_len, to_usize};
use crate::repair::{Loss, Plan};
use crate::route::{self, Home};
use crate::sack::{self, Said};
use crate::seal::SealingPublicKey;
use crate::send::{Burst, Outgoing};
use crate::slots::{Job, Kind, Part, Ready, random_identifier};
use crate::surbs::{Outstanding, Purpose, SurbBook};

mod packet;
mod patience;

/// Whom to ask: a mailbox, the gateways that keep it, and the key to seal to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// The gateways that keep the mailbox: packets take them in turn.
    pub gateways: Vec<NodeId>,
    /// The mailbox.
    pub mailbox: MailboxAddress,
    /// The key of whoever owns it.
    pub sealing_key: SealingPublicKey,
}

/// A question before it has reply blocks and keys.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct RequestDraft {
    /// At most one answer an id. Sending a draft again under its id makes another attempt.
    #[zeroize(skip)]
    pub id: RequestId,
    /// Which model is asked.
    #[zeroize(skip)]
    pub model: GraphHash,
    /// The size of answer asked for.
    #[zeroize(skip)]
    pub class: AnswerClass,
    /// The model's input, as [`Request::input`].
    pub input: Vec<u8>,
}

/// A letter of ours: a local number that never leaves the edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LetterId(u64);

/// One attempt that is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flight {
    /// 1 for the first attempt under this id that still is in flight.
    pub attempt: u32,
    /// Packets of the message at first; more follow if some are lost.
    pub packets: u32,
}

/// Why a message had no end but its deadline, or an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// Nothing came in time.
    Timeout,
    /// It would have taken more reply blocks than one edge has out, or than one message may use.
    SurbsExhausted,
    /// The document lists no gateway of the mailbox any more.
    ProviderGone,
}

/// Where the time between question and answer went, as far as the asker knows.
///
/// For messages of several packets: that of the packet that completed the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// From the attempt to the answer.
    pub total: Duration,
    /// Waiting for the own slots.
    pub queued: Duration,
    /// In the mixes on the way there, as chosen.
    pub mixing_out: Duration,
    /// In the mixes on the way back, as chosen.
    pub mixing_back: Duration,
    /// Times that more was sent because something was lost or late.
    pub repeats: u32,
    /// Packets of the message that have left, repair included.
    pub packets: u32,
}

impl Timing {
    /// What is left for links, the gateways' and the provider's slots, and the provider.
    #[must_use]
    pub fn rest(&self) -> Duration {
        self.total
            .saturating_sub(self.queued)
            .saturating_sub(self.mixing_out)
            .saturating_sub(self.mixing_back)
    }
}

/// An attempt, counted for as long as the edge lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct AttemptId(u64);

/// What the asking side needs to know of the world.
pub(crate) struct Surroundings<'a> {
    pub(crate) topology: &'a Topology,
    pub(crate) home: &'a Home,
    pub(crate) jitter: &'a Jitter,
    /// The own rate.
    pub(crate) rate: traffic::Rate,
    /// Packets that wait for slots.
    pub(crate) waiting: usize,
    /// Packets that may wait besides those that do.
    pub(crate) room: usize,
}

/// What became of a message of ours.
pub(crate) enum Ended {
    Answered { response: Response, timing: Timing },
    Unanswered { request: RequestId, why: Failure },
    Delivered { letter: LetterId },
    Undelivered { letter: LetterId, why: Failure },
}

/// Questions and letters in flight.
pub(crate) struct Asking {
    surbs: SurbBook,
    attempts: BTreeMap<AttemptId, Attempt>,
    answers: Assembly<(AttemptId, MessageId)>,
    loss: Loss,
    next: u64,
    late: u64,
}

struct Attempt {
    what: What,
    out: Outgoing,
    began: Time,
    /// It ends then, whatever came.
    deadline: Time,
    /// When something should have been heard; `None` while its packets wait for slots.
    expected_by: Option<Time>,
    /// Times that more was sent.
    repeats: u32,
    answer: Progress,
    /// What it wants to send, and there are no reply blocks for.
    parked: bool,
}

#[derive(Clone, Copy)]
enum What {
    Question {
        request: RequestId,
        class: AnswerClass,
    },
    Letter(LetterId),
}

/// How much of an answer is there.
#[derive(Default)]
struct Progress {
    symbols: u32,
    /// Reply blocks that the other side had left, by its last word.
    held: u16,
}

impl Asking {
    pub(crate) fn new() -> Self {
        Self {
            surbs: SurbBook::default(),
            attempts: BTreeMap::new(),
            answers: Assembly::new(ANSWER_BOUNDS),
            loss: Loss::UNKNOWN,
            next: 0,
            late: 0,
        }
    }

    /// Begins an attempt at a question: its packets to be made.
    ///
    /// # Errors
    /// [`EdgeError`]; then nothing was begun.
    pub(crate) fn ask(
        &mut self,
        now: Time,
        rng: &mut dyn CryptoRng,
        around: &Surroundings<'_>,
        to: &Recipient,
        draft: &RequestDraft,
        deadline: Time,
    ) -> Result<(Vec<Job>, Flight), EdgeError> {
        if draft.input.len() > MAX_INPUT_LEN {
            return Err(EdgeError::RequestTooLarge);
        }
        let mail = Mail::Request(Request {
            id: draft.id,
            model: draft.model,
            class: draft.class,
            input: draft.input.clone(),
        });
        let what = What::Question {
            request: draft.id,
            class: draft.class,
        };
        let attempt = self.in_flight(&draft.id) + 1;
        let jobs = self.begin(now, rng, around, to, &mail, what, deadline)?;
        let packets = u32::try_from(jobs.len()).unwrap_or(u32::MAX);
        Ok((jobs, Flight { attempt, packets }))
    }

    /// Begins to ask an agent for its profile: the packets to be made.
    ///
    /// # Errors
    /// [`EdgeError`]; then nothing was begun.
    pub(crate) fn knock(
        &mut self,
        now: Time,
        rng: &mut dyn CryptoRng,
        around: &Surroundings<'_>,
        to: &Recipient,
        id: RequestId,
        deadline: Time,
    ) -> Result<Vec<Job>, EdgeError> {
        let what = What::Question {
            request: id,
            class: AnswerClass::One,
        };
        self.begin(now, rng, around, to, &Mail::Knock(id), what, deadline)
    }

    /// Begins to send a letter: its packets to be made.
    ///
    /// # Errors
    /// [`EdgeError`]; then nothing was begun.
    pub(crate) fn write(
        &mut self,
        now: Time,
        rng: &mut dyn CryptoRng,
        around: &Surroundings<'_>,
        to: &Recipient,
        body: &[u8],
        deadline: Time,
    ) -> Result<(Vec<Job>, LetterId), EdgeError> {
        if body.len() > MAX_LETTER_LEN {
            return Err(EdgeError::RequestTooLarge);
        }
        let mail = Mail::Letter(Letter {
            body: body.to_vec(),
        });
        let letter = LetterId(self.next);
        let what = What::Letter(letter);
        let jobs = self.begin(now, rng, around, to, &mail, what, deadline)?;
        Ok((jobs, letter))
    }

    #[allow(
        clippy::too_many_arguments,
        reason = "what to send, to whom, until when"
    )]
    fn begin(
        &mut self,
        now: Time,
        rng: &mut dyn CryptoRng,
        around: &Surroundings<'_>,
        to: &Recipient,
        mail: &Mail,
        what: What,
        deadline: Time,
    ) -> Result<Vec<Job>, EdgeError> {
        let message = Zeroizing::new(mail.to_bytes());
        let geometry = around.topology.geometry();
        let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
        let plan = Plan::of(geometry, self.loss, length, what.replies())
            .ok_or(EdgeError::RequestTooLarge)?;
        route::one_of(rng, around.topology, &to.gateways)?;
        let packets = to_usize(plan.packets);
        if self.surbs.room() < packets * plan.surbs {
            return Err(EdgeError::SurbsExhausted);
        }
        let kept: usize = self.attempts.values().map(|a| a.out.bytes()).sum();
        if around.room < packets
            || self.attempts.len() >= MAX_ATTEMPTS
            || kept + message.len() > MAX_KEPT
        {
            return Err(EdgeError::Overload);
        }
        let secret = ExchangeSecret::generate(rng);
        let symbols = Symbols::new(plan.shape, message);
        let (out, burst) = Outgoing::new(secret, to.clone(), symbols, plan);
        let id = AttemptId(self.next);
        self.next += 1;
        let attempt = Attempt {
            what,
            out,
            began: now,
            deadline,
            expected_by: None,
            repeats: 0,
            answer: Progress::default(),
            parked: false,
        };
        self.attempts.insert(id, attempt);
        Ok(jobs(id, burst))
    }

    /// Notes that a packet of an attempt left. With its last, the time begins to run in which
    /// something should be heard.
    pub(crate) fn left(
        &mut self,
        now: Time,
        rng: &mut dyn CryptoRng,
        around: &Surroundings<'_>,
        part: Part,
    ) {
        if let Some(attempt) = self.attempts.get_mut(&part.attempt) {
            attempt.out.left(now, part.number);
            attempt.expect(now, rng, around);
        }
    }

    /// Notes that a packet of an attempt will not leave.
    pub(crate) fn dropped(&mut self, part: Part) {
        if let Some(attempt) = self.attempts.get_mut(&part.attempt) {
            attempt.out.dropped(part.number);
        }
    }

    /// The reply block of this identifier, which is thereby used.
    ///
    /// # Errors
    /// [`Refusal::SurbReused`] if none is out.
    pub(crate) fn take_surb(&mut self, id: &SurbId) -> Result<Outstanding, Refusal> {
        self.surbs.take(id)
    }

    /// Takes a reply to `attempt` that came over a reply block of `delay`: packets to be made
    /// for it, and what it ends.
    ///
    /// # Errors
    /// [`Refusal::SealInvalid`], [`Refusal::FragmentInvalid`] or [`Refusal::Malformed`] if it is
    /// not what the attempt's receiver is to send.
    pub(crate) fn reply(
        &mut self,
        now: Time,
        rng: &mut dyn CryptoRng,
        around: &Surroundings<'_>,
        id: AttemptId,
        delay: Duration,
        plaintext: &[u8],
    ) -> Result<(Vec<Job>, Option<Ended>), Refusal> {
        let Some(attempt) = self.attempts.get_mut(&id) else {
            // Answered already: this is repair, or the answer to an earlier attempt.
            self.late += 1;
            return Ok((Vec::new(), None));
        };
        let reply = sack::open(&attempt.out.secret, plaintext)?;
        attempt.answer.held = reply.held;
        match reply.said {
            Said::Sack(sack) => {
                let whole = sack.wanted == 0;
                if let (What::Letter(letter), true) = (attempt.what, whole) {
                    self.end(
                        now,
                        |what| matches!(what, What::Letter(other) if *other == letter),
                    );
                    return Ok((Vec::new(), Some(Ended::Delivered { letter })));
                }
                let room = u32::try_from(around.room).unwrap_or(u32::MAX);
                let burst = attempt.out.acknowledged(&sack, &mut self.loss, room);
                Ok((self.send_burst(id, burst), None))
            }
            Said::Symbol {
                answer,
                length,
                symbol,
            } => {
                let symbol_len = reply_symbol_len(around.topology.geometry());
                let shape = attempt.what.shape(length, symbol_len)?;
                let (name, number) = ((id, answer), reply.number);
                let taken = self.answers.accept(now, name, shape, number, symbol)?;
                if matches!(taken, Assembled::Incomplete) {
                    attempt.answer.symbols += 1;
                    attempt.out.answered();
                    attempt.hurry(now, rng, around, shape);
                }
                let Assembled::Complete(message) = taken else {
                    return Ok((Vec::new(), None));
                };
                let response = unpad(&message)?;
                let What::Question { request, .. } = attempt.what else {
                    return Err(Refusal::Malformed);
                };
                if response.id != request {
                    return Err(Refusal::Malformed);
                }
                let timing = attempt.timing(now, delay);
                self.end_request(now, &request);
                Ok((Vec::new(), Some(Ended::Answered { response, timing })))
            }
        }
    }

    /// Does what is due: sends more where nothing was heard, ends what is over.
    pub(crate) fn attend(
        &mut self,
        now: Time,
        rng: &mut dyn CryptoRng,
        around: &Surroundings<'_>,
    ) -> (Vec<Job>, Vec<Ended>) {
        let mut ended = Vec::new();
        let over: Vec<AttemptId> = self.ids(|attempt| attempt.deadline <= now);
        for id in over {
            ended.extend(self.fail(now, id, None));
        }
        for attempt in self.attempts.values_mut() {
            if attempt.expected_by.is_none() {
                attempt.expect(now, rng, around);
            }
        }
        let mut jobs = Vec::new();
        let due = |attempt: &Attempt| attempt.expected_by.is_some_and(|by| by <= now);
        for id in self.ids(due) {
            let room = if around.waiting + jobs.len() > MOST_BEFORE_REPEATS {
                0
            } else {
                around.room.saturating_sub(jobs.len())
            };
            if self.attempts.get(&id).is_some_and(|a| a.out.is_spent()) {
                ended.extend(self.fail(now, id, Some(Failure::SurbsExhausted)));
            } else {
                jobs.extend(self.send_more(now, id, rng, room));
            }
        }
        (jobs, ended)
    }

    /// When [`Self::attend`] has to be called whatever ticks.
    pub(crate) fn next_deadline(&self) -> Option<Time> {
        self.attempts.values().map(|attempt| attempt.deadline).min()
    }

    /// When a question should have been heard of; `None` if it is over or waits for slots.
    pub(crate) fn expected_by(&self, request: &RequestId) -> Option<Time> {
        let mut attempts = self.attempts.values();
        attempts.find(|a| a.what.is(request))?.expected_by
    }

    /// Goes on by a newer document: ends what it has no way to.
    pub(crate) fn renew(&mut self, now: Time, topology: &Topology) -> Vec<Ended> {
        let is_gone = |attempt: &Attempt| {
            let mut gateways = attempt.out.to.gateways.iter();
            !gateways.any(|id| route::lists(topology, id))
        };
        let mut ended = Vec::new();
        for id in self.ids(is_gone) {
            ended.extend(self.fail(now, id, Some(Failure::ProviderGone)));
        }
        ended
    }

    /// Gives a question up; replies that still come are taken for surplus.
    pub(crate) fn end_request(&mut self, now: Time, request: &RequestId) {
        self.end(now, |what| what.is(request));
    }

    /// Gives a letter up.
    pub(crate) fn end_letter(&mut self, now: Time, letter: LetterId) {
        self.end(
            now,
            |what| matches!(what, What::Letter(other) if *other == letter),
        );
    }

    /// Whether packets of this attempt are still to be made.
    pub(crate) fn goes_on(&self, attempt: AttemptId) -> bool {
        self.attempts.contains_key(&attempt)
    }

    /// Lets all reply blocks expire by `until` that were made by the keys of `epoch`, or earlier
    /// ones: it is over.
    pub(crate) fn retire(&mut self, until: Time, epoch: Epoch) {
        self.surbs.shorten(until, |purpose| match purpose {
            Purpose::Mailbox { epoch: made, .. } => made <= epoch,
            Purpose::Answer(_) | Purpose::Verdict => true,
        });
    }

    /// Forgets what is not expected any more.
    pub(crate) fn expire(&mut self, now: Time) {
        self.answers.expire(now);
        self.surbs.expire(now);
    }

    /// Takes that loops came back or did not.
    pub(crate) fn measure(&mut self) -> &mut Loss {
        &mut self.loss
    }

    /// The book of all reply blocks, those for mailboxes among them.
    pub(crate) fn book(&mut self) -> &mut SurbBook {
        &mut self.surbs
    }

    /// Reply blocks that are out.
    pub(crate) fn surbs_out(&self) -> usize {
        self.surbs.len()
    }

    /// Packets of answers that are awaited.
    pub(crate) fn awaited(&self) -> usize {
        let attempts = self.attempts.values();
        attempts
            .map(|attempt| to_usize(attempt.what.replies()))
            .sum()
    }

    /// Bytes of messages that are not complete, ours and answers.
    pub(crate) fn partial_bytes(&self) -> usize {
        self.answers.bytes()
    }

    /// Replies that came when nobody waited for them any more.
    pub(crate) const fn late(&self) -> u64 {
        self.late
    }

    fn send_more(
        &mut self,
        now: Time,
        id: AttemptId,
        rng: &mut dyn CryptoRng,
        room: usize,
    ) -> Vec<Job> {
        let free = self.surbs.room();
        let Some(attempt) = self.attempts.get_mut(&id) else {
            return Vec::new();
        };
        let replies = attempt.replies_wanted(self.loss);
        // Half the room at most, so that one message does not take it from all others.
        let each = attempt.out.surbs();
        let most = free / each / 2;
        attempt.parked = most == 0;
        if attempt.parked || room < MIN_ROOM {
            let later = Duration::from_secs(1).mul_f64(rng.random_range(0.5..1.0));
            attempt.expected_by = Some(now.after(later));
            return Vec::new();
        }
        let most = u32::try_from(most.min(room) * each).unwrap_or(u32::MAX);
        let burst = attempt.out.unheard(self.loss, replies.min(most));
        self.send_burst(id, Some(burst))
    }

    fn send_burst(&mut self, id: AttemptId, burst: Option<Burst>) -> Vec<Job> {
        let (Some(burst), Some(attempt)) = (burst, self.attempts.get_mut(&id)) else {
            return Vec::new();
        };
        if !burst.is_empty() {
            attempt.repeats += 1;
            attempt.expected_by = None;
        }
        jobs(id, burst)
    }

    fn fail(&mut self, now: Time, id: AttemptId, why: Option<Failure>) -> Option<Ended> {
        let attempt = self.attempts.get(&id)?;
        let why = why.unwrap_or(if attempt.parked {
            Failure::SurbsExhausted
        } else {
            Failure::Timeout
        });
        let what = attempt.what;
        match what {
            What::Question { request, .. } => {
                self.end_request(now, &request);
                Some(Ended::Unanswered { request, why })
            }
            What::Letter(letter) => {
                self.end_letter(now, letter);
                Some(Ended::Undelivered { letter, why })
            }
        }
    }

    fn end(&mut self, now: Time, which: impl Fn(&What) -> bool) {
        let ended = self.ids(|attempt| which(&attempt.what));
        self.attempts.retain(|id, _| !ended.contains(id));
        self.answers.forget(|(attempt, _)| ended.contains(attempt));
        self.surbs
            .shorten(now.after(LINGER), |purpose| match purpose {
                Purpose::Answer(attempt) => ended.contains(&attempt),
                Purpose::Mailbox { .. } | Purpose::Verdict => false,
            });
    }

    fn ids(&self, which: impl Fn(&Attempt) -> bool) -> Vec<AttemptId> {
        let attempts = self.attempts.iter();
        let which = |(id, attempt): (&AttemptId, &Attempt)| which(attempt).then_some(*id);
        attempts.filter_map(which).collect()
    }

    fn in_flight(&self, request: &RequestId) -> u32 {
        let attempts = self.attempts.values();
        let count = attempts.filter(|a| a.what.is(request)).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }
}

impl What {
    /// Packets that come back, unless something is lost.
    fn replies(self) -> u32 {
        match self {
            Self::Question { class, .. } => u32::try_from(class.packets()).unwrap_or(u32::MAX),
            Self::Letter(_) => 1,
        }
    }

    fn is(&self, id: &RequestId) -> bool {
        matches!(self, Self::Question { request, .. } if request == id)
    }

    /// The shape of an answer of `length` bytes, if one of that length may come.
    fn shape(self, length: u32, symbol_len: u16) -> Result<Shape, Refusal> {
        let Self::Question { class, .. } = self else {
            return Err(Refusal::Malformed);
        };
        let shape = Shape::of_class(class, symbol_len);
        let fits = shape.length() == length;
        fits.then_some(shape).ok_or(Refusal::FragmentInvalid)
    }
}

fn jobs(attempt: AttemptId, burst: Burst) -> Vec<Job> {
    let job = |number| Job::Request(Part { attempt, number });
    burst.map(job).collect()
}

fn unpad(message: &[u8]) -> Result<Response, Refusal> {
    let mut reader = Reader::new(message);
    reader
        .bytes(message.len())
        .and_then(<Response as wire::Decode>::from_bytes)
        .map_err(|_| Refusal::Malformed)
}

/// Messages of ours at one time, and bytes of them.
const MAX_ATTEMPTS: usize = 4_096;
const MAX_KEPT: usize = 64 << 20;

/// With more packets waiting nothing that was unheard is sent again: it takes slots that are
/// idle, and none from what is new, however much is lost.
const MOST_BEFORE_REPEATS: usize = 8;

/// Room in the queue below which nothing is sent again.
const MIN_ROOM: usize = 16;

/// How long replies are still taken after the answer is there or given up.
const LINGER: Duration = Duration::from_secs(60);

const ANSWER_BOUNDS: AssemblyBounds = AssemblyBounds {
    bytes: 32 << 20,
    messages: 1_024,
    time: Duration::from_secs(300),
    remembered: 1_024,
};
