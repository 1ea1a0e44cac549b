//! Letters of an asker's owner: to agents whose contact it has, and from those to whom it gave its
//! own.
//!
//! Whoever is written to for the first time is asked for its profile; what is to be said waits
//! for that.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use directory::Identity;
use message::{
    AnonymousMailbox, Contact, EdgeError, Failure, LetterId, OpenedLetter, Recipient, read_profile,
};
use rand::{CryptoRng, RngExt};
use traffic::Rate;
use wire::{MAX_LETTER_LEN, MailboxAddress, RequestId, Response, Time};
use zeroize::Zeroizing;

use super::Asker;
use crate::LetterError;

/// One letter that is being sent; a local number that never leaves its asker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct WriteId(u64);

/// Letters on their way, profiles known, and letters that came.
#[derive(Default)]
pub(super) struct Letters {
    writing: BTreeMap<WriteId, Writing>,
    /// Whose profile was asked for, under which id.
    knocks: BTreeMap<RequestId, Contact>,
    profiles: VecDeque<Recipient>,
    ended: VecDeque<(WriteId, Result<(), LetterError>)>,
    inbox: VecDeque<OpenedLetter>,
    next: u64,
}

/// A letter that is being sent. No `Debug`: it holds what is said.
struct Writing {
    to: Contact,
    body: Zeroizing<Vec<u8>>,
    since: Time,
    deadline: Time,
    /// None while its receiver's profile is asked for.
    sent: Option<LetterId>,
}

impl Asker {
    /// Listens at the mailbox of `key`, kept and fed so that nobody can trace it here. The contact
    /// is what to give to those who may write.
    ///
    /// # Errors
    /// [`EdgeError::TooManyMailboxes`] at the bound, [`EdgeError::TooFewGateways`] if the document
    /// lists no two gateways besides the entry gateway.
    pub fn listen(
        &mut self,
        now: Time,
        rng: &mut dyn CryptoRng,
        key: Identity,
    ) -> Result<Contact, EdgeError> {
        let class = self.edge.topology().parameters().class(self.class);
        let slots = class.ok_or(EdgeError::UnknownClass)?;
        let strangers = Rate::from_millihertz(slots.millihertz() / STRANGERS).unwrap_or(slots);
        let key = Arc::new(key);
        let mailbox = AnonymousMailbox { key, strangers };
        self.edge.listen(now, rng, mailbox)
    }

    /// Listens at a mailbox no longer.
    pub fn hang_up(&mut self, mailbox: &MailboxAddress) {
        self.edge.close_mailbox(mailbox);
        self.letters
            .inbox
            .retain(|letter| letter.mailbox != *mailbox);
        self.edge.set_full(self.letters.is_full());
    }

    /// Writes to the owner of a contact until `deadline`; what comes of it is told by
    /// [`Self::poll_written`].
    ///
    /// # Errors
    /// [`LetterError`]; then nothing was queued.
    pub fn write(
        &mut self,
        now: Time,
        rng: &mut dyn CryptoRng,
        to: Contact,
        body: Zeroizing<Vec<u8>>,
        deadline: Time,
    ) -> Result<WriteId, LetterError> {
        let asked = deadline.since(now);
        if asked > Self::MAX_DEADLINE {
            let bound = Self::MAX_DEADLINE;
            return Err(LetterError::DeadlineTooLong { asked, bound });
        }
        if body.len() > MAX_LETTER_LEN {
            let (length, bound) = (body.len(), MAX_LETTER_LEN);
            return Err(LetterError::TooLarge { length, bound });
        }
        if self.letters.writing.len() + self.letters.ended.len() >= MAX_WRITING {
            return Err(LetterError::Overload);
        }
        let id = WriteId(self.letters.next);
        self.letters.next += 1;
        let writing = Writing {
            to,
            body,
            since: now,
            deadline,
            sent: None,
        };
        self.letters.writing.insert(id, writing);
        self.go_on(now, rng, to);
        Ok(id)
    }

    /// Forgets a letter: what is not sent of it is not sent any more.
    pub fn unwrite(&mut self, now: Time, id: WriteId) {
        if let Some(writing) = self.letters.writing.remove(&id)
            && let Some(letter) = writing.sent
        {
            self.edge.abandon_letter(now, letter);
        }
        self.letters.ended.retain(|(ended, _)| *ended != id);
    }

    /// What came of letters: for each exactly one of these.
    pub fn poll_written(&mut self) -> Option<(WriteId, Result<(), LetterError>)> {
        self.letters.ended.pop_front()
    }

    /// The next letter that came to an own mailbox of which `takes` is true. What is not taken
    /// keeps its place, and beyond a bound keeps others out.
    pub fn poll_letter(
        &mut self,
        takes: impl Fn(&MailboxAddress) -> bool,
    ) -> Option<(MailboxAddress, Zeroizing<Vec<u8>>)> {
        let mut inbox = self.letters.inbox.iter();
        let place = inbox.position(|letter| takes(&letter.mailbox))?;
        let letter = self.letters.inbox.remove(place)?;
        self.edge.set_full(self.letters.is_full());
        Some((letter.mailbox, letter.body))
    }

    /// Takes a profile, if one was asked for under this id.
    pub(super) fn on_profile(
        &mut self,
        now: Time,
        rng: &mut dyn CryptoRng,
        response: &Response,
    ) -> bool {
        let Some(contact) = self.letters.knocks.remove(&response.id) else {
            return false;
        };
        match read_profile(&contact.mailbox(), response) {
            Ok(recipient) => self.letters.know(recipient),
            // Not the owner's word: it is asked again, until deadlines end it.
            Err(why) => tracing::debug!(reason = why.label(), "no profile"),
        }
        self.go_on(now, rng, contact);
        true
    }

    /// Takes that nobody answered a knock, if it was one.
    pub(super) fn on_silence(
        &mut self,
        now: Time,
        rng: &mut dyn CryptoRng,
        id: &RequestId,
        why: Failure,
    ) -> bool {
        let Some(contact) = self.letters.knocks.remove(id) else {
            return false;
        };
        if why == Failure::ProviderGone {
            for id in self.letters.waiting_for(&contact.mailbox()) {
                self.letters.end(id, |_| LetterError::Unreachable);
            }
        }
        self.go_on(now, rng, contact);
        true
    }

    pub(super) fn on_letter(&mut self, letter: OpenedLetter) {
        self.letters.inbox.push_back(letter);
        self.edge.set_full(self.letters.is_full());
    }

    pub(super) fn on_delivered(&mut self, letter: LetterId, outcome: Result<(), Failure>) {
        let mut writing = self.letters.writing.iter();
        let Some((id, to)) = writing
            .find(|(_, writing)| writing.sent == Some(letter))
            .map(|(id, writing)| (*id, writing.to.mailbox()))
        else {
            return;
        };
        match outcome {
            Ok(()) => {
                self.letters.writing.remove(&id);
                self.letters.ended.push_back((id, Ok(())));
            }
            Err(why) => {
                // The owner may have moved: the next letter asks again.
                self.letters.profiles.retain(|known| known.mailbox != to);
                let withheld = self.edge.withholds();
                self.letters
                    .end(id, |writing| writing.failed(why, withheld));
            }
        }
    }

    /// Ends the letters that are late and wait for a profile; the edge ends the others.
    pub(super) fn end_late_letters(&mut self, now: Time) {
        let withheld = self.edge.withholds();
        let is_late = |writing: &Writing| writing.sent.is_none() && writing.deadline <= now;
        for id in self.letters.ids(is_late) {
            self.letters
                .end(id, |writing| writing.failed(Failure::Timeout, withheld));
        }
    }

    /// The next moment at which a letter ends.
    pub(super) fn letter_deadline(&self) -> Option<Time> {
        let writing = self.letters.writing.values();
        writing.map(|writing| writing.deadline).min()
    }

    /// Sends what waits for the owner of `contact`, or asks it for its profile.
    fn go_on(&mut self, now: Time, rng: &mut dyn CryptoRng, contact: Contact) {
        let mailbox = contact.mailbox();
        let waits = self.letters.waiting_for(&mailbox);
        let mut profiles = self.letters.profiles.iter();
        let known = profiles.find(|known| known.mailbox == mailbox);
        let Some(to) = known.cloned() else {
            return self.ask_for_profile(now, rng, contact, &waits);
        };
        for id in waits {
            let Some(writing) = self.letters.writing.get_mut(&id) else {
                continue;
            };
            let (body, deadline) = (&writing.body, writing.deadline);
            match self.edge.send_letter(now, rng, &to, body, deadline) {
                Ok(letter) => writing.sent = Some(letter),
                Err(why) => self.letters.end(id, |_| why.into()),
            }
        }
    }

    /// Asks for a profile, if letters wait for it and it is not asked for.
    fn ask_for_profile(
        &mut self,
        now: Time,
        rng: &mut dyn CryptoRng,
        contact: Contact,
        waits: &[WriteId],
    ) {
        let mailbox = contact.mailbox();
        let writing = waits.iter().filter_map(|id| self.letters.writing.get(id));
        let deadline = writing.map(|writing| writing.deadline).max();
        let mut asked = self.letters.knocks.values();
        let Some(deadline) = deadline.filter(|deadline| *deadline > now) else {
            return;
        };
        if asked.any(|asked| asked.mailbox() == mailbox) {
            return;
        }
        let id = RequestId(rng.random());
        match self.edge.knock(now, rng, &contact, id, deadline) {
            Ok(()) => drop(self.letters.knocks.insert(id, contact)),
            Err(why) => {
                for id in waits {
                    self.letters.end(*id, |_| why.into());
                }
            }
        }
    }
}

impl Letters {
    fn is_full(&self) -> bool {
        let bytes: usize = self.inbox.iter().map(|letter| letter.body.len()).sum();
        self.inbox.len() >= MAX_INBOX || bytes >= MAX_INBOX_BYTES
    }

    fn know(&mut self, recipient: Recipient) {
        self.profiles
            .retain(|known| known.mailbox != recipient.mailbox);
        self.profiles.push_back(recipient);
        if self.profiles.len() > MAX_PROFILES {
            self.profiles.pop_front();
        }
    }

    fn waiting_for(&self, mailbox: &MailboxAddress) -> Vec<WriteId> {
        self.ids(|writing| writing.sent.is_none() && writing.to.mailbox() == *mailbox)
    }

    fn ids(&self, which: impl Fn(&Writing) -> bool) -> Vec<WriteId> {
        let writing = self.writing.iter();
        let which = writing.filter(|(_, writing)| which(writing));
        which.map(|(id, _)| *id).collect()
    }

    fn end(&mut self, id: WriteId, why: impl FnOnce(&Writing) -> LetterError) {
        if let Some(writing) = self.writing.remove(&id) {
            self.ended.push_back((id, Err(why(&writing))));
        }
    }
}

impl Writing {
    fn failed(&self, why: Failure, withheld: bool) -> LetterError {
        let after = self.deadline.since(self.since);
        match why {
            Failure::SurbsExhausted => LetterError::SurbsExhausted,
            Failure::ProviderGone => LetterError::Unreachable,
            _ if withheld => LetterError::Withheld { after },
            _ => LetterError::Timeout { after },
        }
    }
}

/// One in so many of an agent's slots is the rate of strangers' packets at each gateway.
const STRANGERS: u32 = 4;

/// Letters on their way at once, ends that are not polled included.
const MAX_WRITING: usize = 256;

/// Letters that nobody has read, and bytes of them: then none is let in.
const MAX_INBOX: usize = 64;
const MAX_INBOX_BYTES: usize = 16 << 20;

/// Profiles remembered.
const MAX_PROFILES: usize = 256;
