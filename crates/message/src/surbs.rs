//! The book of reply blocks that are out: each is good for one reply, until its epoch ends
//! (docs/spec/message.md, 6).

use std::collections::BTreeMap;
use std::time::Duration;

use sphinx::SurbRecovery;
use wire::{Epoch, NodeId, Refusal, SurbId, Time};

use crate::ask::AttemptId;

/// A reply block that is out.
pub(crate) struct Outstanding {
    pub(crate) recovery: SurbRecovery,
    /// What it was made for.
    pub(crate) purpose: Purpose,
    /// Sum of the delays on its route.
    pub(crate) delay: Duration,
    /// Not expected after this.
    pub(crate) until: Time,
}

/// What a reply block was made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// For an answer to this attempt.
    Answer(AttemptId),
    /// For an item of a mailbox that this gateway keeps, by the keys of this epoch.
    Mailbox { gateway: NodeId, epoch: Epoch },
    /// For the authorities' word on a descriptor.
    Verdict,
}

/// Reply blocks by identifier.
#[derive(Default)]
pub(crate) struct SurbBook(BTreeMap<SurbId, Outstanding>);

impl SurbBook {
    /// How many more may be out.
    pub(crate) fn room(&self) -> usize {
        MAX_OUTSTANDING.saturating_sub(self.0.len())
    }

    pub(crate) fn add(&mut self, outstanding: Outstanding) {
        self.0
            .insert(outstanding.recovery.identifier(), outstanding);
    }

    /// The reply block of this identifier, which is thereby used.
    ///
    /// # Errors
    /// [`Refusal::SurbReused`] if there is none: used before, expired, or never made.
    pub(crate) fn take(&mut self, id: &SurbId) -> Result<Outstanding, Refusal> {
        self.0.remove(id).ok_or(Refusal::SurbReused)
    }

    /// Lets the reply blocks made for some purposes expire at `until`, if not before.
    pub(crate) fn shorten(&mut self, until: Time, which: impl Fn(Purpose) -> bool) {
        for outstanding in self.0.values_mut() {
            if which(outstanding.purpose) {
                outstanding.until = outstanding.until.min(until);
            }
        }
    }

    /// Forgets some reply blocks, used or not.
    pub(crate) fn forget(&mut self, ids: &[SurbId]) {
        for id in ids {
            self.0.remove(id);
        }
    }

    /// Forgets what is not expected any more.
    pub(crate) fn expire(&mut self, now: Time) {
        self.0.retain(|_, outstanding| outstanding.until > now);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

/// Most reply blocks out at one time.
pub(crate) const MAX_OUTSTANDING: usize = 8_192;
