//! One message to a mailbox of ours: which packets came, the ways back that they brought, and
//! what goes back over them.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use sphinx::Surb;
use wire::{AdmissionTag, Epoch, Refusal, Time};
use zeroize::Zeroizing;

use super::{Place, ReplyPath};
use crate::exchange::ExchangeSecret;
use crate::fragment::{Fragment, MAX_PACKETS, Shape, Symbols};
use crate::layout::reply_symbol_len;
use crate::sack::{Sack, seal_sack, seal_symbol};
use crate::slots::Job;

/// What is kept of a message, from its first packet until long after its last.
pub(super) struct Exchange {
    secret: ExchangeSecret,
    shape: Shape,
    seen: BTreeSet<u32>,
    /// The sender has sent, or is about to send, the packets below this index.
    end: u32,
    /// The end of the burst that was acknowledged.
    acknowledged: u32,
    first: Time,
    pub(super) last: Time,
    pub(super) due: Option<Time>,
    pub(super) surbs: VecDeque<Held>,
    pub(super) state: State,
}

/// A way back for one packet.
pub(super) struct Held {
    pub(super) number: u32,
    pub(super) surb: Box<Surb>,
    /// In which it came.
    pub(super) epoch: Epoch,
}

pub(super) enum State {
    /// Symbols are missing.
    Partial,
    /// A question that is not answered yet.
    Request,
    /// A question with its answer.
    Answered(Answer),
    /// A letter.
    Letter,
}

pub(super) struct Answer {
    path: ReplyPath,
    /// The response's length and the response.
    encoded: Zeroizing<Vec<u8>>,
    /// Packets that may still go for the burst that asked last.
    allowed: usize,
    /// The end of that burst.
    end: u32,
}

impl State {
    pub(super) const fn is_partial(&self) -> bool {
        matches!(self, Self::Partial)
    }
}

impl Exchange {
    pub(super) fn new(fragment: &Fragment, shape: Shape, now: Time) -> Self {
        Self {
            secret: fragment.secret.duplicate(),
            shape,
            seen: BTreeSet::new(),
            end: 0,
            acknowledged: 0,
            first: now,
            last: now,
            due: None,
            surbs: VecDeque::new(),
            state: State::Partial,
        }
    }

    /// Notes that a packet came.
    ///
    /// # Errors
    /// [`Refusal::FragmentInvalid`] if it came before, or is of a message of another shape.
    pub(super) fn take(
        &mut self,
        now: Time,
        shape: Shape,
        fragment: &Fragment,
    ) -> Result<(), Refusal> {
        if shape != self.shape || !self.seen.insert(fragment.index) {
            return Err(Refusal::FragmentInvalid);
        }
        self.end = self.end.max(fragment.end);
        self.last = now;
        Ok(())
    }

    /// Keeps reply blocks; the oldest make room.
    pub(super) fn hold(&mut self, surbs: Vec<Held>) {
        self.surbs.extend(surbs);
        let over = self.surbs.len().saturating_sub(MOST_HELD);
        self.surbs.drain(..over);
    }

    /// Keeps an answer, in place of an earlier one; the bytes of that.
    pub(super) fn answered(&mut self, path: ReplyPath, encoded: Zeroizing<Vec<u8>>) -> usize {
        let before = self.stored();
        self.state = State::Answered(Answer {
            allowed: path.class.packets(),
            path,
            encoded,
            end: self.end,
        });
        before
    }

    /// Bytes of the answer kept.
    pub(super) fn stored(&self) -> usize {
        match &self.state {
            State::Answered(answer) => answer.encoded.len(),
            _ => 0,
        }
    }

    /// Sends what may be sent: packets of the answer, as many as a burst of the asker's may
    /// bring, or one acknowledgement of a letter for each burst.
    pub(super) fn go_on(&mut self, place: &Place<'_>) -> Vec<Job> {
        self.surbs.retain(|held| place.lives(held.epoch));
        let end = self.end;
        match &mut self.state {
            State::Partial | State::Request => Vec::new(),
            State::Letter if self.acknowledged >= end || place.room == 0 => Vec::new(),
            State::Letter => self.acknowledge(place, 0).into_iter().collect(),
            State::Answered(answer) => {
                if end > answer.end {
                    answer.end = end;
                    answer.allowed = answer.path.class.packets();
                }
                let count = answer.allowed.min(self.surbs.len());
                if count > place.room {
                    return Vec::new();
                }
                answer.allowed -= count;
                let surbs: Vec<Held> = self.surbs.drain(..count).collect();
                let left = self.surbs.len();
                let symbol_len = reply_symbol_len(place.topology.geometry());
                answer.packets(&self.secret, symbol_len, surbs, left)
            }
        }
    }

    /// One acknowledgement, if there is a way back for it; `received` symbols are kept.
    pub(super) fn acknowledge(&mut self, place: &Place<'_>, received: usize) -> Option<Job> {
        self.surbs.retain(|held| place.lives(held.epoch));
        let held = self.surbs.pop_front()?;
        self.acknowledged = self.end;
        let source = self.shape.source();
        let (received, wanted) = match self.state {
            State::Partial => {
                let received = u32::try_from(received).unwrap_or(u32::MAX);
                // All that are enough but for bad luck, and they were not: one more.
                (received, source.saturating_sub(received).max(1))
            }
            _ => (source, 0),
        };
        let sack = Sack {
            received,
            wanted,
            seen: Sack::bits(self.seen.iter()),
        };
        let left = u16::try_from(self.surbs.len()).unwrap_or(u16::MAX);
        Some(Job::Reply {
            payload: seal_sack(&self.secret, held.number, left, &sack),
            surb: held.surb,
        })
    }

    /// When to say what is missing: after `grace`, and the time that the rest of the burst
    /// takes at the pace of what came; `None` if that was said.
    pub(super) fn acknowledge_at(
        &self,
        now: Time,
        grace: Duration,
        slowest: Duration,
    ) -> Option<Time> {
        if self.acknowledged >= self.end {
            return None;
        }
        let (lowest, highest) = (self.seen.first()?, self.seen.last()?);
        let gap = match highest - lowest {
            0 => slowest,
            steps => (self.last.since(self.first) / steps).min(slowest),
        };
        let rest = self.end - highest - 1;
        Some(now.after(grace + gap.mul_f64(1.5) * rest))
    }

    /// The tags of the next packets, `most` at most.
    pub(super) fn tags(&self, most: usize) -> impl Iterator<Item = AdmissionTag> {
        // Packets overtake each other: what is below the highest may still come.
        let highest = self.seen.last().copied().unwrap_or_default();
        let from = if self.state.is_partial() {
            highest.saturating_sub(OVERTAKEN)
        } else {
            highest
        };
        (from..MAX_PACKETS)
            .filter(|index| !self.seen.contains(index))
            .map(|index| self.secret.tag(index))
            .take(most)
    }
}

impl Answer {
    /// Each symbol of the answer has the number of the reply block that brings it: no number
    /// comes twice, so that all that arrive, of whichever sending, complete one answer.
    fn packets(
        &self,
        secret: &ExchangeSecret,
        symbol_len: u16,
        surbs: Vec<Held>,
        left: usize,
    ) -> Vec<Job> {
        let shape = Shape::of_class(self.path.class, symbol_len);
        let mut symbols = Symbols::new(shape, self.encoded.clone());
        let name = secret.reply(&self.encoded);
        let after = (0..surbs.len()).rev();
        surbs
            .into_iter()
            .zip(after)
            .map(|(held, after)| {
                let symbol = symbols.symbol(held.number);
                let left = u16::try_from(left + after).unwrap_or(u16::MAX);
                let (number, length) = (held.number, shape.length());
                Job::Reply {
                    payload: seal_symbol(secret, &name, number, left, length, &symbol),
                    surb: held.surb,
                }
            })
            .collect()
    }
}

/// Reply blocks kept for one exchange: the largest answer and half of it again.
const MOST_HELD: usize = 96;

/// Packets by which one may be overtaken.
const OVERTAKEN: u32 = 16;
