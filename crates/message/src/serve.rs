//! The serving side: a mailbox's items in, answers out (docs/spec/message.md, 2, 5 and 6).

use std::time::Duration;

use directory::Topology;
use rand::CryptoRng;
use sphinx::Surb;
use wire::{
    AnswerClass, BlobKey, Decode, Encode, Epoch, GraphHash, MailboxAddress, MessageId, NodeId,
    Outcome, Refusal, Request, RequestFailure, RequestId, Response, Time, Writer,
};
use zeroize::Zeroizing;

use crate::EdgeError;
use crate::ask::reply_key;
use crate::assembly::{Assembled, Assembly, AssemblyBounds};
use crate::fragment::{Fragment, Shape};
use crate::layout::{reply_symbol_len, request_symbol_len, sealed_part, to_usize};
use crate::seal::SealingKey;
use crate::slots::{Job, random_identifier};

/// A question that came to one of our mailboxes.
pub struct OpenedRequest {
    /// At most one answer an id: to a known id belongs the stored answer, over the new way back.
    pub id: RequestId,
    /// Which model is asked.
    pub model: GraphHash,
    /// The size of answer asked for.
    pub class: AnswerClass,
    /// The model's input, as [`Request::input`].
    pub input: Zeroizing<Vec<u8>>,
    /// When its last packet came.
    pub arrived: Time,
    /// The way back, good for one answer.
    pub reply: ReplyPath,
}

/// The way back to whoever asked: consumed by the answer, and useless after its epoch.
pub struct ReplyPath {
    surbs: Vec<Surb>,
    answer_key: BlobKey,
    class: AnswerClass,
    epoch: Epoch,
}

impl ReplyPath {
    /// Whether there are reply blocks enough for an answer of the class asked for. If not, what
    /// goes back is [`RequestFailure::InsufficientSurbs`], whatever the answer.
    #[must_use]
    pub fn suffices(&self) -> bool {
        self.surbs.len() >= self.class.packets()
    }
}

/// Open mailboxes, and requests in parts.
pub(crate) struct Serving {
    mailboxes: Vec<(MailboxAddress, SealingKey)>,
    requests: Assembly<MessageId>,
}

impl Serving {
    pub(crate) fn new() -> Self {
        Self {
            mailboxes: Vec::new(),
            requests: Assembly::new(REQUEST_BOUNDS),
        }
    }

    /// Serves `mailbox` with `key`, which takes the place of an earlier one.
    ///
    /// # Errors
    /// [`EdgeError::TooManyMailboxes`] at the bound.
    pub(crate) fn open(
        &mut self,
        mailbox: MailboxAddress,
        key: SealingKey,
    ) -> Result<(), EdgeError> {
        self.mailboxes.retain(|(address, _)| *address != mailbox);
        if self.mailboxes.len() >= MAX_MAILBOXES {
            return Err(EdgeError::TooManyMailboxes);
        }
        self.mailboxes.push((mailbox, key));
        Ok(())
    }

    /// Takes an item from a mailbox; the request, if this completes it.
    ///
    /// # Errors
    /// [`Refusal::BadLength`], [`Refusal::SealInvalid`], [`Refusal::FragmentInvalid`],
    /// [`Refusal::Malformed`], or [`Refusal::SurbInvalid`] if it could not be answered.
    pub(crate) fn item(
        &mut self,
        now: Time,
        topology: &Topology,
        knows: impl Fn(&NodeId) -> bool,
        item: &[u8],
    ) -> Result<Option<OpenedRequest>, Refusal> {
        let geometry = topology.geometry();
        let sealed = sealed_part(geometry, item)?;
        let mut mailboxes = self.mailboxes.iter();
        let body = mailboxes
            .find_map(|(address, key)| key.open(address, sealed).ok())
            .ok_or(Refusal::SealInvalid)?;
        let fragment = Fragment::from_bytes(&body).map_err(|_| Refusal::Malformed)?;
        let shape = Shape::of(fragment.length, request_symbol_len(geometry))
            .ok_or(Refusal::FragmentInvalid)?;
        let name = fragment.message;
        match self.requests.accept(now, name, shape, fragment)? {
            Assembled::Complete(message) => {
                opened(now, topology.epoch(), knows, &message).map(Some)
            }
            Assembled::Incomplete | Assembled::Surplus => Ok(None),
        }
    }

    /// Forgets requests that did not complete in time.
    pub(crate) fn expire(&mut self, now: Time) {
        self.requests.expire(now);
    }

    /// Bytes of requests that are not complete.
    pub(crate) fn partial_bytes(&self) -> usize {
        self.requests.bytes()
    }

    /// Requests forgotten before they were complete.
    pub(crate) fn abandoned(&self) -> u64 {
        self.requests.abandoned()
    }
}

/// The packets of an answer: exactly as many as its class has.
///
/// # Errors
/// [`EdgeError::SurbInvalid`] if the way back leads through no epoch that `lives`, or has no
/// reply block; [`EdgeError::Overload`] if there is no room.
pub(crate) fn answer(
    rng: &mut dyn CryptoRng,
    topology: &Topology,
    lives: impl Fn(Epoch) -> bool,
    room: usize,
    path: ReplyPath,
    response: &Response,
) -> Result<Vec<Job>, EdgeError> {
    let class = path.class_that_fits().ok_or(EdgeError::SurbInvalid)?;
    if !lives(path.epoch) {
        return Err(EdgeError::SurbInvalid);
    }
    if room < class.packets() {
        return Err(EdgeError::Overload);
    }
    let shape = Shape::of_class(class, reply_symbol_len(topology.geometry()));
    let failure = if path.suffices() {
        RequestFailure::AnswerTooLarge
    } else {
        RequestFailure::InsufficientSurbs
    };
    let message = (path.suffices())
        .then(|| padded(shape, response))
        .flatten()
        .or_else(|| padded(shape, &failed(response, failure)))
        .ok_or(EdgeError::SmallGeometry)?;

    let id = MessageId(random_identifier(rng));
    let key = reply_key(&path.answer_key, &id);
    let fragments = shape.cut(id, &message);
    Ok(fragments
        .iter()
        .zip(path.surbs)
        .map(|(fragment, surb)| Job::Reply {
            surb: Box::new(surb),
            payload: sealed_reply(&key, fragment),
        })
        .collect())
}

impl ReplyPath {
    fn class_that_fits(&self) -> Option<AnswerClass> {
        let fits =
            |class: &AnswerClass| *class <= self.class && class.packets() <= self.surbs.len();
        AnswerClass::ALL.into_iter().rev().find(fits)
    }
}

fn opened(
    now: Time,
    epoch: Epoch,
    knows: impl Fn(&NodeId) -> bool,
    message: &[u8],
) -> Result<OpenedRequest, Refusal> {
    let mut request = Request::from_bytes(message).map_err(|_| Refusal::Malformed)?;
    let surbs: Vec<Surb> = request
        .surbs
        .iter()
        .filter_map(|bytes| Surb::from_bytes(bytes).ok())
        .filter(|surb| knows(&NodeId(surb.first_hop().0)))
        .collect();
    if surbs.is_empty() {
        return Err(Refusal::SurbInvalid);
    }
    Ok(OpenedRequest {
        id: request.id,
        model: request.model,
        class: request.class,
        input: Zeroizing::new(std::mem::take(&mut request.input)),
        arrived: now,
        reply: ReplyPath {
            surbs,
            answer_key: BlobKey::from_bytes(request.answer_key),
            class: request.class,
            epoch,
        },
    })
}

/// Length, response, zeros to the shape's end; `None` if it does not fit.
fn padded(shape: Shape, response: &Response) -> Option<Zeroizing<Vec<u8>>> {
    let mut writer = Writer::default();
    writer.bytes(&response.to_bytes());
    let mut message = Zeroizing::new(writer.into_bytes());
    let length = to_usize(shape.length());
    (message.len() <= length).then(|| {
        message.resize(length, 0);
        message
    })
}

fn failed(response: &Response, failure: RequestFailure) -> Response {
    Response {
        id: response.id,
        compute: response.compute,
        held: response.held,
        outcome: Outcome::Failed(failure),
    }
}

fn sealed_reply(key: &BlobKey, fragment: &Fragment) -> Vec<u8> {
    let mut writer = Writer::default();
    fragment.message.encode(&mut writer);
    writer.u32(fragment.index);
    let mut payload = writer.into_bytes();
    let mut body = Zeroizing::new(fragment.length.to_be_bytes().to_vec());
    body.extend_from_slice(&fragment.symbol);
    let sealed = key.seal(fragment.index.into(), &payload, &body);
    payload.extend_from_slice(&sealed);
    payload
}

/// Mailboxes that one edge serves.
const MAX_MAILBOXES: usize = 4;

const REQUEST_BOUNDS: AssemblyBounds = AssemblyBounds {
    bytes: 64 << 20,
    messages: 4_096,
    time: Duration::from_secs(120),
    remembered: 65_536,
};
