//! The asking side: requests out, answers in (docs/spec/message.md, 2, 6 and 7).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use directory::Topology;
use rand::CryptoRng;
use sphinx::Surb;
use wire::{
    AnswerClass, BlobKey, Decode, Encode, GraphHash, MailboxAddress, MessageId, NodeId, Reader,
    Refusal, Request, RequestId, Response, SURB_LEN, SurbId, Time,
};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::EdgeError;
use crate::assembly::{Assembled, Assembly, AssemblyBounds};
use crate::expect::{Jitter, randomised, shared_slots_quantile, slots_quantile};
use crate::fragment::{Fragment, Shape};
use crate::layout::{REPLY_PREFIX_LEN, reply_symbol_len, request_symbol_len, to_usize};
use crate::route::{self, Home};
use crate::seal::SealingPublicKey;
use crate::slots::{Job, Part, random_identifier};
use crate::surbs::{Outstanding, Purpose, SurbBook};

/// Whom to ask: a mailbox, the gateways that keep it, and the key to seal to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// The gateways that keep the mailbox: one of them is drawn for each attempt.
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

/// One attempt that is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flight {
    /// 1 for the first attempt under this id that still is in flight.
    pub attempt: u32,
    /// If there is no answer by then, something was lost, but for one case in hundreds.
    pub expected_by: Time,
    /// The longest mixing delay that was chosen for a packet of the request.
    pub out_delay: Duration,
    /// The longest mixing delay that was chosen for a packet of the answer.
    pub back_delay: Duration,
    /// Packets of the request.
    pub packets: u32,
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
    /// The rate at which answers come.
    pub(crate) provider_rate: traffic::Rate,
    /// Packets that leave before those of this request.
    pub(crate) waiting: usize,
    /// Packets that may wait besides.
    pub(crate) room: usize,
}

/// Requests in flight.
pub(crate) struct Asking {
    surbs: SurbBook,
    attempts: BTreeMap<AttemptId, Attempt>,
    answers: Assembly<(AttemptId, MessageId)>,
    next: u64,
}

struct Attempt {
    request: RequestId,
    class: AnswerClass,
    answer_key: BlobKey,
    began: Time,
    /// Its reply blocks are dead from then on.
    until: Time,
    /// Packets that are enough.
    source: usize,
    packets: Vec<Outgoing>,
}

struct Outgoing {
    delay: Duration,
    left: Option<Time>,
}

impl Asking {
    pub(crate) fn new() -> Self {
        Self {
            surbs: SurbBook::default(),
            attempts: BTreeMap::new(),
            answers: Assembly::new(ANSWER_BOUNDS),
            next: 0,
        }
    }

    /// Begins an attempt: its packets to be made, and when to expect the answer.
    ///
    /// # Errors
    /// [`EdgeError`]; then nothing was begun.
    pub(crate) fn begin(
        &mut self,
        now: Time,
        rng: &mut dyn CryptoRng,
        around: &Surroundings<'_>,
        to: &Recipient,
        draft: &RequestDraft,
    ) -> Result<(Vec<Job>, Flight), EdgeError> {
        let surbs = draft.class.packets() + spare_surbs(draft.class);
        let shape = request_shape(around.topology, draft, surbs)?;
        let packets = to_usize(shape.packets());
        if self.surbs.room() < surbs || around.room < packets {
            return Err(EdgeError::Overload);
        }
        let gateway = route::one_of(rng, around.topology, &to.gateways)?;
        let routes: Vec<_> = (0..packets)
            .map(|_| route::outward(rng, around.topology, &gateway))
            .collect::<Result<_, _>>()?;
        let id = AttemptId(self.next);
        let (blocks, outstanding) = reply_blocks(rng, around, id, surbs)?;

        let mut answer_key = Zeroizing::new([0; 32]);
        rng.fill_bytes(answer_key.as_mut());
        let message = Zeroizing::new(
            Request {
                id: draft.id,
                model: draft.model,
                class: draft.class,
                answer_key: *answer_key,
                input: draft.input.clone(),
                surbs: blocks,
            }
            .to_bytes(),
        );
        let out_delay = routes.iter().map(|r| r.delay).max().unwrap_or_default();
        let back_delay = outstanding
            .iter()
            .map(|o| o.delay)
            .max()
            .unwrap_or_default();
        let attempt = Attempt {
            request: draft.id,
            class: draft.class,
            answer_key: BlobKey::from_bytes(*answer_key),
            began: now,
            until: Time::MAX,
            source: to_usize(shape.source()),
            packets: routes.iter().map(|r| Outgoing::new(r.delay)).collect(),
        };
        let flight = Flight {
            attempt: self.in_flight(&draft.id) + 1,
            expected_by: now
                .after(out_delay + back_delay)
                .after(randomised(rng, around.others(shape.packets(), draft.class))),
            out_delay,
            back_delay,
            packets: shape.packets(),
        };

        let recipient = Arc::new(to.clone());
        let jobs = shape
            .cut(MessageId(random_identifier(rng)), &message)
            .into_iter()
            .zip(routes)
            .enumerate()
            .map(|(number, (fragment, route))| Job::Request {
                route,
                to: Arc::clone(&recipient),
                body: Zeroizing::new(fragment.to_bytes()),
                part: Part {
                    attempt: id,
                    number,
                },
            })
            .collect();
        self.next += 1;
        self.attempts.insert(id, attempt);
        for surb in outstanding {
            self.surbs.add(surb);
        }
        Ok((jobs, flight))
    }

    /// Notes that a packet of an attempt left.
    pub(crate) fn left(&mut self, now: Time, part: Part) {
        let attempt = self.attempts.get_mut(&part.attempt);
        if let Some(packet) = attempt.and_then(|a| a.packets.get_mut(part.number)) {
            packet.left = Some(now);
        }
    }

    /// The reply block of this identifier, which is thereby used.
    ///
    /// # Errors
    /// [`Refusal::SurbReused`] if none is out.
    pub(crate) fn take_surb(&mut self, id: &SurbId) -> Result<Outstanding, Refusal> {
        self.surbs.take(id)
    }

    /// Takes a reply to `attempt` that came over a reply block of `delay`; if it completes the
    /// answer, that, and the attempts that it ends.
    ///
    /// # Errors
    /// [`Refusal::SealInvalid`], [`Refusal::FragmentInvalid`] or [`Refusal::Malformed`] if it is
    /// not what the attempt's provider is to send.
    pub(crate) fn reply(
        &mut self,
        now: Time,
        topology: &Topology,
        attempt: AttemptId,
        delay: Duration,
        plaintext: &[u8],
    ) -> Result<Option<(Response, Timing, Vec<AttemptId>)>, Refusal> {
        let id = attempt;
        let Some(attempt) = self.attempts.get(&id) else {
            // Answered already: this is repair, or the answer to an earlier attempt.
            return Ok(None);
        };
        let symbol_len = reply_symbol_len(topology.geometry());
        let fragment = open_reply(&attempt.answer_key, plaintext)?;
        let shape = AnswerClass::ALL
            .into_iter()
            .filter(|class| *class <= attempt.class)
            .map(|class| Shape::of_class(class, symbol_len))
            .find(|shape| shape.length() == fragment.length)
            .ok_or(Refusal::FragmentInvalid)?;
        let name = (id, fragment.message);
        let message = match self.answers.accept(now, name, shape, fragment)? {
            Assembled::Complete(message) => message,
            Assembled::Incomplete | Assembled::Surplus => return Ok(None),
        };
        let response = unpad(&message)?;
        if response.id != attempt.request {
            return Err(Refusal::Malformed);
        }
        let timing = attempt.timing(now, delay);
        let ended = self.end(now, &response.id);
        Ok(Some((response, timing, ended)))
    }

    /// Ends all attempts of a request; replies that still come are taken for surplus.
    pub(crate) fn end(&mut self, now: Time, request: &RequestId) -> Vec<AttemptId> {
        let ended: Vec<AttemptId> = self
            .attempts
            .iter()
            .filter(|(_, attempt)| attempt.request == *request)
            .map(|(id, _)| *id)
            .collect();
        self.attempts.retain(|id, _| !ended.contains(id));
        self.answers.forget(|(attempt, _)| ended.contains(attempt));
        self.surbs
            .shorten(now.after(LINGER), |purpose| match purpose {
                Purpose::Answer(attempt) => ended.contains(&attempt),
            });
        ended
    }

    /// Lets everything expire by `until` that was made before now: its epoch is over.
    pub(crate) fn retire(&mut self, until: Time) {
        self.surbs.shorten(until, |_| true);
        for attempt in self.attempts.values_mut() {
            attempt.until = attempt.until.min(until);
        }
    }

    /// Forgets what is not expected any more.
    pub(crate) fn expire(&mut self, now: Time) {
        self.answers.expire(now);
        self.surbs.expire(now);
        self.attempts.retain(|_, attempt| attempt.until > now);
    }

    /// Reply blocks that are out.
    pub(crate) fn surbs_out(&self) -> usize {
        self.surbs.len()
    }

    /// Packets of answers that are awaited.
    pub(crate) fn awaited(&self) -> usize {
        let attempts = self.attempts.values();
        attempts.map(|attempt| attempt.class.packets()).sum()
    }

    /// Bytes of answers that are not complete.
    pub(crate) fn partial_bytes(&self) -> usize {
        self.answers.bytes()
    }

    fn in_flight(&self, request: &RequestId) -> u32 {
        let attempts = self.attempts.values();
        let count = attempts.filter(|a| a.request == *request).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }
}

impl Attempt {
    fn timing(&self, now: Time, mixing_back: Duration) -> Timing {
        // The packet that made the request complete, had none been lost.
        let mut sent: Vec<(Time, Duration)> = self
            .packets
            .iter()
            .filter_map(|packet| packet.left.map(|left| (left, packet.delay)))
            .collect();
        sent.sort_by_key(|(left, delay)| left.after(*delay));
        let last = sent.get(self.source.saturating_sub(1)).or(sent.last());
        let (left, mixing_out) = last.copied().unwrap_or((self.began, Duration::ZERO));
        Timing {
            total: now.since(self.began),
            queued: left.since(self.began),
            mixing_out,
            mixing_back,
        }
    }
}

impl Outgoing {
    fn new(delay: Duration) -> Self {
        Self { delay, left: None }
    }
}

impl Surroundings<'_> {
    /// What slots and links may add to the delays chosen.
    fn others(&self, packets: u32, class: AnswerClass) -> Duration {
        let answer = u32::try_from(class.packets()).unwrap_or(u32::MAX);
        let waiting = u32::try_from(self.waiting).unwrap_or(u32::MAX);
        let twice =
            |rate: traffic::Rate| traffic::Rate::new(rate.per_second() * 2.0).unwrap_or(rate);
        slots_quantile(self.rate, waiting.saturating_add(packets))
            + shared_slots_quantile(twice(self.provider_rate), packets)
            + self.topology.parameters().answer_tick * 2
            + shared_slots_quantile(self.provider_rate, answer)
            + shared_slots_quantile(twice(self.rate), answer)
            + self.jitter.bound() * 2
    }
}

fn request_shape(
    topology: &Topology,
    draft: &RequestDraft,
    surbs: usize,
) -> Result<Shape, EdgeError> {
    let length = REQUEST_FIXED_LEN + draft.input.len() + surbs * SURB_LEN;
    let length = u32::try_from(length).map_err(|_| EdgeError::RequestTooLarge)?;
    (draft.input.len() <= wire::MAX_INPUT_LEN)
        .then(|| Shape::of(length, request_symbol_len(topology.geometry())))
        .flatten()
        .ok_or(EdgeError::RequestTooLarge)
}

/// Reply blocks on routes of their own, as the request carries them and as the book keeps them.
fn reply_blocks(
    rng: &mut dyn CryptoRng,
    around: &Surroundings<'_>,
    attempt: AttemptId,
    count: usize,
) -> Result<(Vec<[u8; SURB_LEN]>, Vec<Outstanding>), EdgeError> {
    let mut blocks = Vec::with_capacity(count);
    let mut outstanding = Vec::with_capacity(count);
    for _ in 0..count {
        let route = route::homeward(rng, around.topology, around.home)?;
        let id = SurbId(random_identifier(rng));
        let (surb, recovery) =
            Surb::create(rng, &route.hops, id).map_err(|_| EdgeError::NoRoute)?;
        blocks.push(surb.to_bytes());
        outstanding.push(Outstanding {
            recovery,
            purpose: Purpose::Answer(attempt),
            delay: route.delay,
            until: Time::MAX,
        });
    }
    Ok((blocks, outstanding))
}

/// The fragment in a reply packet's plaintext.
fn open_reply(answer_key: &BlobKey, plaintext: &[u8]) -> Result<Fragment, Refusal> {
    let mut reader = Reader::new(plaintext);
    let mut prefix = || Ok((MessageId::decode(&mut reader)?, reader.u32()?));
    let (message, index) = prefix().map_err(|_: wire::DecodeError| Refusal::Malformed)?;
    let context = plaintext.get(..REPLY_PREFIX_LEN).unwrap_or_default();
    let sealed = plaintext.get(REPLY_PREFIX_LEN..).unwrap_or_default();
    let body = reply_key(answer_key, &message)
        .open(index.into(), context, sealed)
        .map(Zeroizing::new)
        .map_err(|_| Refusal::SealInvalid)?;
    let (length, symbol) = body.split_first_chunk().ok_or(Refusal::Malformed)?;
    Ok(Fragment {
        message,
        length: u32::from_be_bytes(*length),
        index,
        symbol: Zeroizing::new(symbol.to_vec()),
    })
}

/// The key for one sending of an answer. A request that reaches its provider twice is answered
/// twice; with a key of its own for each, no number is used twice under one key.
pub(crate) fn reply_key(answer_key: &BlobKey, message: &MessageId) -> BlobKey {
    let name: String = message.0.iter().map(|byte| format!("{byte:02x}")).collect();
    answer_key.derive(&name)
}

fn unpad(message: &[u8]) -> Result<Response, Refusal> {
    let mut reader = Reader::new(message);
    reader
        .bytes(message.len())
        .and_then(Response::from_bytes)
        .map_err(|_| Refusal::Malformed)
}

/// Reply blocks beyond those that an answer takes, in case one cannot be used.
const fn spare_surbs(class: AnswerClass) -> usize {
    match class {
        AnswerClass::One => 1,
        AnswerClass::Four | AnswerClass::Sixteen | AnswerClass::SixtyFour => 2,
    }
}

/// An encoded request without input and reply blocks.
const REQUEST_FIXED_LEN: usize = RequestId::LEN + GraphHash::LEN + 1 + 32 + 4 + 4;

/// How long replies are still taken after the answer is there or given up.
const LINGER: Duration = Duration::from_secs(60);

const ANSWER_BOUNDS: AssemblyBounds = AssemblyBounds {
    bytes: 32 << 20,
    messages: 1_024,
    time: Duration::from_secs(300),
    remembered: 1_024,
};
