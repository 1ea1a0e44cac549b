//! Service descriptors that come through the mixes in parts (docs/spec/message.md, 11).
//!
//! Whole ones are passed on to the authorities like those that come over a link; the verdict
//! goes back under a reply block that came with a part.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use sphinx::Surb;
use wire::{MessageId, PublicationPart, Refusal, Time};

/// A descriptor that is with the authorities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PublicationTicket(u64);

/// Descriptors in parts, and verdicts to come.
#[derive(Default)]
pub(crate) struct Publications {
    partial: BTreeMap<MessageId, Partial>,
    /// Whole or given up: later parts are surplus.
    past: VecDeque<MessageId>,
    complete: VecDeque<(PublicationTicket, Vec<u8>)>,
    pending: BTreeMap<PublicationTicket, Surb>,
    next: u64,
}

struct Partial {
    began: Time,
    count: u8,
    parts: BTreeMap<u8, Vec<u8>>,
    bytes: usize,
}

impl Publications {
    /// Takes a part with its reply block; a complete descriptor then waits in [`Self::poll`].
    ///
    /// # Errors
    /// [`Refusal::FragmentInvalid`] if it contradicts another part, or is too much;
    /// [`Refusal::Overload`] if too many descriptors wait for their verdict.
    pub(crate) fn take(
        &mut self,
        now: Time,
        part: PublicationPart,
        surb: Surb,
    ) -> Result<(), Refusal> {
        self.expire(now);
        if self.past.contains(&part.id) {
            return Ok(());
        }
        if self.pending.len() >= MAX_PENDING {
            return Err(Refusal::Overload);
        }
        self.make_room(&part.id);
        let partial = self.partial.entry(part.id).or_insert_with(|| Partial {
            began: now,
            count: part.count,
            parts: BTreeMap::new(),
            bytes: 0,
        });
        let bytes = partial.bytes + part.bytes.len();
        let fits = partial.count == part.count
            && !partial.parts.contains_key(&part.index)
            && bytes <= MAX_BYTES;
        if !fits {
            return Err(Refusal::FragmentInvalid);
        }
        partial.bytes = bytes;
        partial.parts.insert(part.index, part.bytes);
        if partial.parts.len() == usize::from(partial.count) {
            self.complete(&part.id, surb);
        }
        Ok(())
    }

    /// The next descriptor to pass on.
    pub(crate) fn poll(&mut self) -> Option<(PublicationTicket, Vec<u8>)> {
        self.complete.pop_front()
    }

    /// The reply block for the verdict, once.
    pub(crate) fn settle(&mut self, ticket: PublicationTicket) -> Option<Surb> {
        self.pending.remove(&ticket)
    }

    fn complete(&mut self, id: &MessageId, surb: Surb) {
        let Some(partial) = self.partial.remove(id) else {
            return;
        };
        self.forget(*id);
        let ticket = PublicationTicket(self.next);
        self.next += 1;
        let descriptor = partial.parts.into_values().flatten().collect();
        self.complete.push_back((ticket, descriptor));
        self.pending.insert(ticket, surb);
    }

    fn expire(&mut self, now: Time) {
        self.partial
            .retain(|_, partial| now.since(partial.began) < PATIENCE);
    }

    /// At the bound, the descriptor that began first is given up.
    fn make_room(&mut self, id: &MessageId) {
        if self.partial.contains_key(id) || self.partial.len() < MAX_PARTIAL {
            return;
        }
        let oldest = self.partial.iter().min_by_key(|(_, partial)| partial.began);
        if let Some(id) = oldest.map(|(id, _)| *id) {
            self.partial.remove(&id);
            self.forget(id);
        }
    }

    fn forget(&mut self, id: MessageId) {
        self.past.push_back(id);
        if self.past.len() > MAX_PAST {
            self.past.pop_front();
        }
    }
}

/// Descriptors in parts.
const MAX_PARTIAL: usize = 64;

/// Descriptors that wait for their verdict.
const MAX_PENDING: usize = 64;

/// Descriptors remembered after they were whole.
const MAX_PAST: usize = 256;

/// The longest descriptor (docs/spec/directory.md, 5).
const MAX_BYTES: usize = 60 << 10;

/// For all parts to come.
const PATIENCE: Duration = Duration::from_secs(60);
