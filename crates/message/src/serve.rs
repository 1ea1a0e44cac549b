//! The serving side: a mailbox's items in, answers and acknowledgements out
//! (docs/spec/message.md, 2, 5 and 6).

mod exchange;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use directory::Topology;
use sphinx::Surb;
use wire::{
    AdmissionTag, AnswerClass, Decode, Encode, Epoch, GraphHash, Mail, MailboxAddress, MessageId,
    NodeId, Outcome, Refusal, RequestFailure, RequestId, Response, Time, Writer,
};
use zeroize::Zeroizing;

use crate::EdgeError;
use crate::assembly::{Assembled, Assembly, AssemblyBounds};
use crate::expect::leg_quantile;
use crate::fragment::{Fragment, MAX_PACKETS, Shape};
use crate::layout::{reply_symbol_len, request_symbol_len, sealed_part, to_usize};
use crate::seal::SealingKey;
use crate::slots::Job;
use exchange::{Exchange, Held, State};

/// A question that came to one of our mailboxes.
pub struct OpenedRequest {
    /// At most one answer an id: to a known id belongs the stored answer, over the new way back.
    pub id: RequestId,
    /// Which model is asked.
    pub model: GraphHash,
    /// The size of answer asked for.
    pub class: AnswerClass,
    /// The model's input, as [`wire::Request::input`].
    pub input: Zeroizing<Vec<u8>>,
    /// When its last packet came.
    pub arrived: Time,
    /// The way back, good for one answer.
    pub reply: ReplyPath,
}

/// A letter that came to one of our mailboxes. It is acknowledged already.
pub struct OpenedLetter {
    /// To which mailbox it came.
    pub mailbox: MailboxAddress,
    /// What it says.
    pub body: Zeroizing<Vec<u8>>,
}

/// The way back to whoever asked: consumed by the answer. The edge keeps the reply blocks, those
/// that come later included, and sends more of the answer over them if it is asked again.
pub struct ReplyPath {
    exchange: Name,
    class: AnswerClass,
}

/// A message to a mailbox of ours, or to its door. Parts that come elsewhere are of another
/// message, whoever sent them: what went to two mailboxes tells nobody that they have one owner.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    mailbox: MailboxAddress,
    by_door: bool,
    message: MessageId,
}

/// What an item brought.
#[derive(Default)]
pub(crate) struct Taken {
    /// The message that it made complete.
    pub(crate) mail: Option<Opened>,
    /// What goes back for it.
    pub(crate) jobs: Vec<Job>,
}

/// A message to a mailbox, whole.
pub(crate) enum Opened {
    Request(OpenedRequest),
    Letter(OpenedLetter),
    Knock(OpenedKnock),
}

/// Somebody who was given a mailbox's contact asks for its profile.
pub(crate) struct OpenedKnock {
    pub(crate) mailbox: MailboxAddress,
    pub(crate) id: RequestId,
    pub(crate) reply: ReplyPath,
}

/// A mailbox of ours, and the keys that open what comes for it.
struct Served {
    mailbox: MailboxAddress,
    key: SealingKey,
    /// Opens knocks, and nothing else: whoever has the contact has it too.
    door: Option<SealingKey>,
}

impl Served {
    /// What is sealed in an item, and whether it came by the door.
    fn open(&self, sealed: &[u8]) -> Option<(MailboxAddress, Zeroizing<Vec<u8>>, bool)> {
        let by_key = self.key.open(&self.mailbox, sealed).ok();
        let opened = by_key.map(|body| (body, false)).or_else(|| {
            let body = self.door.as_ref()?.open(&self.mailbox, sealed).ok()?;
            Some((body, true))
        });
        opened.map(|(body, by_door)| (self.mailbox, body, by_door))
    }
}

/// What the serving side needs to know of the world.
pub(crate) struct Place<'a> {
    pub(crate) topology: &'a Topology,
    /// The epoch before, while its keys are accepted.
    pub(crate) former: Option<Epoch>,
    /// Packets that may wait besides those that do.
    pub(crate) room: usize,
}

impl Place<'_> {
    fn lives(&self, epoch: Epoch) -> bool {
        epoch == self.topology.epoch() || Some(epoch) == self.former
    }
}

/// Open mailboxes, and messages in parts.
pub(crate) struct Serving {
    mailboxes: Vec<Served>,
    messages: Assembly<Name>,
    exchanges: BTreeMap<Name, Exchange>,
    /// When to acknowledge what is not complete.
    due: BTreeSet<(Time, Name)>,
    /// Letters that were passed on, so that none is passed on twice.
    letters: BTreeSet<Name>,
    lettered: VecDeque<Name>,
    /// Bytes of answers kept for repeats.
    stored: usize,
    /// Reply blocks kept.
    held: usize,
}

impl Serving {
    pub(crate) fn new() -> Self {
        Self {
            mailboxes: Vec::new(),
            messages: Assembly::new(MESSAGE_BOUNDS),
            exchanges: BTreeMap::new(),
            due: BTreeSet::new(),
            letters: BTreeSet::new(),
            lettered: VecDeque::new(),
            stored: 0,
            held: 0,
        }
    }

    /// Serves `mailbox` with `key`, which takes the place of an earlier one, and answers knocks
    /// at its door if it has one.
    ///
    /// # Errors
    /// [`EdgeError::TooManyMailboxes`] at the bound.
    pub(crate) fn open(
        &mut self,
        mailbox: MailboxAddress,
        key: SealingKey,
        door: Option<SealingKey>,
    ) -> Result<(), EdgeError> {
        self.close(&mailbox);
        if self.mailboxes.len() >= MAX_MAILBOXES {
            return Err(EdgeError::TooManyMailboxes);
        }
        self.mailboxes.push(Served { mailbox, key, door });
        Ok(())
    }

    /// Serves `mailbox` no longer.
    pub(crate) fn close(&mut self, mailbox: &MailboxAddress) {
        self.mailboxes.retain(|served| served.mailbox != *mailbox);
    }

    /// Takes an item from a mailbox.
    ///
    /// # Errors
    /// [`Refusal::BadLength`], [`Refusal::SealInvalid`], [`Refusal::FragmentInvalid`],
    /// [`Refusal::Malformed`], or [`Refusal::SurbInvalid`] if it brings no usable way back.
    pub(crate) fn item(
        &mut self,
        now: Time,
        place: &Place<'_>,
        knows: impl Fn(&NodeId) -> bool,
        item: &[u8],
    ) -> Result<Taken, Refusal> {
        let geometry = place.topology.geometry();
        let sealed = sealed_part(geometry, item)?;
        let mut mailboxes = self.mailboxes.iter();
        let (mailbox, body, by_door) = mailboxes
            .find_map(|served| served.open(sealed))
            .ok_or(Refusal::SealInvalid)?;
        let fragment = Fragment::from_bytes(&body).map_err(|_| Refusal::Malformed)?;
        let shape = request_symbol_len(geometry, fragment.surbs.len())
            .and_then(|symbol_len| Shape::of(fragment.length, symbol_len))
            .filter(|_| fragment.index < fragment.end && fragment.end <= MAX_PACKETS)
            .ok_or(Refusal::FragmentInvalid)?;
        shape.check(fragment.index, &fragment.symbol)?;
        let surbs = usable(&fragment, place.topology.epoch(), knows);
        if surbs.is_empty() {
            return Err(Refusal::SurbInvalid);
        }

        let name = Name {
            mailbox,
            by_door,
            message: fragment.secret.message(),
        };
        let first = Exchange::new(&fragment, shape, now);
        let exchange = self.exchanges.entry(name).or_insert(first);
        exchange.take(now, shape, &fragment)?;
        if self.letters.contains(&name) {
            exchange.state = State::Letter;
        }
        self.held -= exchange.surbs.len();
        exchange.hold(surbs);
        self.held += exchange.surbs.len();
        let taken = if exchange.state.is_partial() {
            self.symbol(now, place, name, shape, fragment)?
        } else {
            let jobs = self.go_on(place, name);
            Taken { mail: None, jobs }
        };
        self.shrink();
        Ok(taken)
    }

    /// The packets of an answer: as many as its class has, if there are reply blocks for them;
    /// else the rest when more reply blocks come.
    ///
    /// # Errors
    /// [`EdgeError::SurbInvalid`] if the way back is forgotten or leads through no epoch that
    /// lives; [`EdgeError::Overload`] if there is no room now. The answer is kept for repeats.
    pub(crate) fn answer(
        &mut self,
        place: &Place<'_>,
        path: ReplyPath,
        response: &Response,
    ) -> Result<Vec<Job>, EdgeError> {
        let (name, class) = (path.exchange, path.class);
        let shape = Shape::of_class(class, reply_symbol_len(place.topology.geometry()));
        let encoded = fitting(shape, response).ok_or(EdgeError::SmallGeometry)?;
        let exchange = self
            .exchanges
            .get_mut(&name)
            .ok_or(EdgeError::SurbInvalid)?;
        self.stored += encoded.len();
        self.stored -= exchange.answered(path, encoded);
        let held = exchange.surbs.len();
        exchange.surbs.retain(|held| place.lives(held.epoch));
        self.held -= held - exchange.surbs.len();
        let outcome = if exchange.surbs.is_empty() {
            Err(EdgeError::SurbInvalid)
        } else if place.room < class.packets() {
            Err(EdgeError::Overload)
        } else {
            Ok(self.go_on(place, name))
        };
        self.shrink();
        outcome
    }

    /// Acknowledges messages of which nothing came for a while and some is missing.
    pub(crate) fn attend(&mut self, now: Time, place: &Place<'_>) -> Vec<Job> {
        let mut jobs = Vec::new();
        while let Some((at, name)) = self.due.first().copied()
            && at <= now
            && place.room > jobs.len()
        {
            self.due.remove(&(at, name));
            let received = self.messages.symbols(&name);
            if let Some(exchange) = self.exchanges.get_mut(&name) {
                exchange.due = None;
                if exchange.state.is_partial() {
                    let before = exchange.surbs.len();
                    jobs.extend(exchange.acknowledge(place, received));
                    self.held -= before - exchange.surbs.len();
                }
            }
        }
        jobs
    }

    /// Tags of packets that are to come to `mailbox`, `most` at most: those of messages that are
    /// not complete first, then those of questions that may be repeated. None was shown to the
    /// mailbox's gateway before.
    pub(crate) fn tags(&self, mailbox: &MailboxAddress, most: usize) -> Vec<AdmissionTag> {
        let of = |partial: bool| {
            self.exchanges
                .iter()
                .filter(|(name, _)| name.mailbox == *mailbox)
                .map(|(_, exchange)| exchange)
                .filter(move |exchange| exchange.state.is_partial() == partial)
        };
        let share = most
            .checked_div(of(true).count())
            .unwrap_or_default()
            .max(SMALLEST_SHARE);
        let partial = of(true).flat_map(|exchange| exchange.tags(share));
        let complete = of(false).flat_map(|exchange| exchange.tags(1));
        partial.chain(complete).take(most).collect()
    }

    /// Forgets what did not complete in time, and what nobody will ask for again.
    pub(crate) fn expire(&mut self, now: Time) {
        self.messages.expire(now);
        let over = |(_, exchange): &(&Name, &Exchange)| now.since(exchange.last) >= KEPT;
        let names: Vec<Name> = self
            .exchanges
            .iter()
            .filter(over)
            .map(|(name, _)| *name)
            .collect();
        for name in names {
            self.forget(name);
        }
    }

    /// Bytes of messages that are not complete.
    pub(crate) fn partial_bytes(&self) -> usize {
        self.messages.bytes()
    }

    /// Messages forgotten before they were complete.
    pub(crate) fn abandoned(&self) -> u64 {
        self.messages.abandoned()
    }

    /// Reply blocks kept.
    pub(crate) const fn held(&self) -> usize {
        self.held
    }

    /// Bytes of answers kept for repeats.
    pub(crate) const fn stored(&self) -> usize {
        self.stored
    }

    /// Takes a symbol of a message that is not complete.
    fn symbol(
        &mut self,
        now: Time,
        place: &Place<'_>,
        name: Name,
        shape: Shape,
        fragment: Fragment,
    ) -> Result<Taken, Refusal> {
        let (index, symbol) = (fragment.index, fragment.symbol);
        let assembled = self.messages.accept(now, name, shape, index, symbol);
        let message = match assembled? {
            Assembled::Complete(message) => message,
            Assembled::Incomplete | Assembled::Surplus => {
                self.arm(now, place, name);
                return Ok(Taken::default());
            }
        };
        let Some(exchange) = self.exchanges.get_mut(&name) else {
            return Ok(Taken::default());
        };
        if let Some(at) = exchange.due.take() {
            self.due.remove(&(at, name));
        }
        let Some(mail) = mail(&message, name) else {
            // Nothing more of it is wanted, nor a way back kept.
            self.forget(name);
            return Err(Refusal::Malformed);
        };
        let mailbox = name.mailbox;
        let mail = match mail {
            Mail::Knock(id) => {
                exchange.state = State::Request;
                let reply = ReplyPath {
                    exchange: name,
                    class: AnswerClass::One,
                };
                Opened::Knock(OpenedKnock { mailbox, id, reply })
            }
            Mail::Request(mut request) => {
                exchange.state = State::Request;
                Opened::Request(OpenedRequest {
                    id: request.id,
                    model: request.model,
                    class: request.class,
                    input: Zeroizing::new(std::mem::take(&mut request.input)),
                    arrived: now,
                    reply: ReplyPath {
                        exchange: name,
                        class: request.class,
                    },
                })
            }
            Mail::Letter(mut letter) => {
                exchange.state = State::Letter;
                self.remember(name);
                let body = Zeroizing::new(std::mem::take(&mut letter.body));
                Opened::Letter(OpenedLetter { mailbox, body })
            }
        };
        let jobs = self.go_on(place, name);
        let mail = Some(mail);
        Ok(Taken { mail, jobs })
    }

    /// Sends what an exchange may send over the reply blocks that it has.
    fn go_on(&mut self, place: &Place<'_>, name: Name) -> Vec<Job> {
        let Some(exchange) = self.exchanges.get_mut(&name) else {
            return Vec::new();
        };
        let before = exchange.surbs.len();
        let jobs = exchange.go_on(place);
        self.held -= before - exchange.surbs.len();
        jobs
    }

    /// Sets when a message that is not complete is acknowledged: once nothing more is to be
    /// expected of what its sender said it sends.
    fn arm(&mut self, now: Time, place: &Place<'_>, name: Name) {
        let parameters = place.topology.parameters();
        let slowest = parameters.classes.iter().map(|rate| rate.mean_gap()).max();
        // The leg to the mailbox is its sender's, the one from there may be ours.
        let grace = leg_quantile(parameters.rates.delay) * 2;
        let Some(exchange) = self.exchanges.get_mut(&name) else {
            return;
        };
        let at = exchange.acknowledge_at(now, grace, slowest.unwrap_or_default());
        let before = std::mem::replace(&mut exchange.due, at);
        if let Some(before) = before {
            self.due.remove(&(before, name));
        }
        if let Some(at) = at {
            self.due.insert((at, name));
        }
    }

    /// Forgets the exchanges that were quiet longest, until the rest is within its bounds.
    fn shrink(&mut self) {
        while self.exchanges.len() > MAX_EXCHANGES
            || self.held > MAX_HELD
            || self.stored > MAX_STORED
        {
            let quietest = self.exchanges.iter().min_by_key(|(_, e)| e.last);
            let Some(name) = quietest.map(|(name, _)| *name) else {
                return;
            };
            self.forget(name);
        }
    }

    fn forget(&mut self, name: Name) {
        if let Some(exchange) = self.exchanges.remove(&name) {
            self.held -= exchange.surbs.len();
            self.stored -= exchange.stored();
            if let Some(at) = exchange.due {
                self.due.remove(&(at, name));
            }
            self.messages.give_up(&name);
        }
    }

    fn remember(&mut self, letter: Name) {
        self.letters.insert(letter);
        self.lettered.push_back(letter);
        if self.lettered.len() > MAX_LETTERS
            && let Some(first) = self.lettered.pop_front()
        {
            self.letters.remove(&first);
        }
    }
}

/// The mail that `message` is; `None` if it is none, or none for the key that opened it.
fn mail(message: &[u8], name: Name) -> Option<Mail> {
    let mail = Mail::from_bytes(message).ok()?;
    (matches!(mail, Mail::Knock(_)) == name.by_door).then_some(mail)
}

/// The reply blocks of a fragment that are some, and lead to a mix that we may hand them to.
fn usable(fragment: &Fragment, epoch: Epoch, knows: impl Fn(&NodeId) -> bool) -> Vec<Held> {
    let each = u32::try_from(fragment.surbs.len()).unwrap_or(u32::MAX);
    let first = fragment.index.saturating_mul(each);
    let numbered = (first..).zip(&fragment.surbs);
    numbered
        .filter_map(|(number, bytes)| {
            let surb = Box::new(Surb::from_bytes(bytes).ok()?);
            knows(&NodeId(surb.first_hop().0)).then_some(Held {
                number,
                surb,
                epoch,
            })
        })
        .collect()
}

/// The encoded response, or that it is too large; `None` if not even that fits.
fn fitting(shape: Shape, response: &Response) -> Option<Zeroizing<Vec<u8>>> {
    let too_large = || Response {
        id: response.id,
        compute: response.compute,
        held: response.held,
        outcome: Outcome::Failed(RequestFailure::AnswerTooLarge),
    };
    let framed = |response: &Response| {
        let mut writer = Writer::default();
        writer.bytes(&response.to_bytes());
        let bytes = Zeroizing::new(writer.into_bytes());
        (bytes.len() <= to_usize(shape.length())).then_some(bytes)
    };
    framed(response).or_else(|| framed(&too_large()))
}

/// Mailboxes that one edge serves.
const MAX_MAILBOXES: usize = 4;

/// Messages to our mailboxes, complete or not, of which something is kept.
const MAX_EXCHANGES: usize = 4_096;

/// Reply blocks kept, of all exchanges: 14 MB.
const MAX_HELD: usize = 32_768;

/// Bytes of answers kept for repeats.
const MAX_STORED: usize = 64 << 20;

/// Letters of which the name is remembered.
const MAX_LETTERS: usize = 65_536;

/// How long an exchange is kept after its last packet: as long as a question may take.
const KEPT: Duration = Duration::from_secs(300);

/// Tags announced of one message, however many there are.
const SMALLEST_SHARE: usize = 4;

const MESSAGE_BOUNDS: AssemblyBounds = AssemblyBounds {
    bytes: 64 << 20,
    messages: 4_096,
    time: Duration::from_secs(120),
    remembered: 0,
};
