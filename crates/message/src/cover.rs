//! Loops that are out, and what came back of them (docs/spec/message.md, 1).

use std::collections::BTreeMap;
use std::time::Duration;

use wire::{Refusal, SurbId, Time};

/// How a client's loops fare. Never leaves the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LoopCounts {
    /// Left.
    pub sent: u64,
    /// Came back.
    pub returned: u64,
    /// Did not come back in time.
    pub lost: u64,
}

/// Loops that left and are not back.
#[derive(Default)]
pub(crate) struct LoopBook {
    out: BTreeMap<SurbId, Out>,
    counts: LoopCounts,
}

struct Out {
    left: Time,
    delay: Duration,
}

/// A loop that came back.
pub(crate) struct Returned {
    /// From leaving to coming back.
    pub(crate) after: Duration,
    /// What the network added to the delays chosen.
    pub(crate) excess: Duration,
}

impl LoopBook {
    /// Notes that a loop left whose delays add up to `delay`.
    pub(crate) fn leave(&mut self, now: Time, id: SurbId, delay: Duration) {
        self.out.insert(id, Out { left: now, delay });
        self.counts.sent += 1;
    }

    /// The loop of this identifier, if it was out.
    ///
    /// # Errors
    /// [`Refusal::SurbReused`] if not: back before, given up, or never made.
    pub(crate) fn come_back(&mut self, now: Time, id: &SurbId) -> Result<Returned, Refusal> {
        let out = self.out.remove(id).ok_or(Refusal::SurbReused)?;
        self.counts.returned += 1;
        let after = now.since(out.left);
        Ok(Returned {
            after,
            excess: after.saturating_sub(out.delay),
        })
    }

    /// Gives up loops that are out for too long.
    pub(crate) fn expire(&mut self, now: Time) {
        let before = self.out.len();
        self.out.retain(|_, out| now.since(out.left) < PATIENCE);
        self.counts.lost += (before - self.out.len()) as u64;
    }

    pub(crate) fn counts(&self) -> LoopCounts {
        self.counts
    }

    pub(crate) fn len(&self) -> usize {
        self.out.len()
    }
}

/// Longer than any loop takes: three delays at their bound of about a second each, and the
/// slowest network.
const PATIENCE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    const ID: SurbId = SurbId([1; 16]);

    #[test]
    fn a_loop_comes_back_once() {
        let mut book = LoopBook::default();
        book.leave(Time::ZERO, ID, Duration::from_millis(150));
        let now = Time::ZERO.after(Duration::from_millis(180));
        let returned = book.come_back(now, &ID).unwrap();
        assert_eq!(returned.after, Duration::from_millis(180));
        assert_eq!(returned.excess, Duration::from_millis(30));
        assert_eq!(book.come_back(now, &ID).err(), Some(Refusal::SurbReused));
    }

    #[test]
    fn a_loop_that_stays_out_is_lost() {
        let mut book = LoopBook::default();
        book.leave(Time::ZERO, ID, Duration::ZERO);
        book.expire(Time::ZERO.after(PATIENCE));
        let counts = LoopCounts {
            sent: 1,
            returned: 0,
            lost: 1,
        };
        assert_eq!((book.counts(), book.len()), (counts, 0));
    }
}
