//! Epochs in time, and the moments of a vote.

use std::time::Duration;

use wire::{Epoch, Time};

use crate::Parameters;

/// When what happens, the same for all (docs/spec/directory.md, 4).
///
/// Epoch 1 starts at the genesis; its vote and its descriptors come before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    genesis: Time,
    epoch: Duration,
    /// Length of epoch 1.
    first: Duration,
    step: Duration,
}

impl Schedule {
    /// The schedule of a network that begins at `genesis`.
    #[must_use]
    pub fn new(genesis: Time, parameters: &Parameters) -> Self {
        Self {
            genesis,
            epoch: parameters.epoch,
            first: parameters.first_epoch.unwrap_or(parameters.epoch),
            step: parameters.vote_step,
        }
    }

    /// The epoch in force at `now`; `None` before the genesis.
    #[must_use]
    pub fn epoch_at(&self, now: Time) -> Option<Epoch> {
        if now < self.genesis {
            return None;
        }
        let second = self.genesis.after(self.first);
        if now < second {
            return Some(Epoch(1));
        }
        Some(Epoch(
            2 + nanos(now.since(second)) / nanos(self.epoch).max(1),
        ))
    }

    /// When `epoch` starts.
    #[must_use]
    pub fn start(&self, epoch: Epoch) -> Time {
        match epoch.0 {
            0 => self.genesis.before(self.epoch),
            1 => self.genesis,
            number => self.genesis.after(self.first).after(Duration::from_nanos(
                nanos(self.epoch).saturating_mul(number - 2),
            )),
        }
    }

    /// When `epoch` ends, and the next starts.
    #[must_use]
    pub fn end(&self, epoch: Epoch) -> Time {
        self.start(epoch.next())
    }

    /// When nodes publish their descriptors for `epoch`. Authorities take them from the
    /// previous epoch's [`Self::lists_at`] on, so that a late start only misses less.
    #[must_use]
    pub fn publish_at(&self, epoch: Epoch) -> Time {
        self.before_start(epoch, Parameters::PUBLISH_STEPS)
    }

    /// When services publish theirs through the mixes: in the middle of the epoch before, so that
    /// packets that are lost or withheld for a while do not cost them an epoch.
    #[must_use]
    pub fn publish_early_at(&self, epoch: Epoch) -> Time {
        let Some(before) = epoch.previous() else {
            return self.publish_at(epoch);
        };
        let half = self.start(epoch).since(self.start(before)) / 2;
        self.publish_at(epoch).min(self.start(before).after(half))
    }

    /// T1: authorities sign their lists; descriptors for `epoch` come too late from here on.
    #[must_use]
    pub fn lists_at(&self, epoch: Epoch) -> Time {
        self.before_start(epoch, 5)
    }

    /// T2: authorities pass on the lists that they received; newer ones come too late.
    #[must_use]
    pub fn exchange_at(&self, epoch: Epoch) -> Time {
        self.before_start(epoch, 4)
    }

    /// T3: the set is settled; authorities reveal their shares of the beacon.
    #[must_use]
    pub fn reveal_at(&self, epoch: Epoch) -> Time {
        self.before_start(epoch, 3)
    }

    /// T4: authorities pass on the shares that they received; newer ones come too late.
    #[must_use]
    pub fn relay_at(&self, epoch: Epoch) -> Time {
        self.before_start(epoch, 2)
    }

    /// T5: authorities sign the document.
    #[must_use]
    pub fn sign_at(&self, epoch: Epoch) -> Time {
        self.before_start(epoch, 1)
    }

    /// When everybody fetches the document of `epoch`: half a step before it starts.
    #[must_use]
    pub fn fetch_at(&self, epoch: Epoch) -> Time {
        self.start(epoch).before(self.step / 2)
    }

    /// The epoch for which descriptors are taken at `now`: the first whose lists are not
    /// signed yet.
    #[must_use]
    pub fn open_for(&self, now: Time) -> Epoch {
        match self.epoch_at(now.after(self.step * Parameters::VOTE_STEPS)) {
            None => Epoch(1),
            Some(epoch) => epoch.next(),
        }
    }

    /// One step of a vote.
    #[must_use]
    pub const fn step(&self) -> Duration {
        self.step
    }

    fn before_start(&self, epoch: Epoch, steps: u32) -> Time {
        self.start(epoch).before(self.step * steps)
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule() -> Schedule {
        Schedule::new(Time::from_nanos(1_000_000_000_000), &Parameters::demo())
    }

    #[test]
    fn epoch_one_starts_at_the_genesis() {
        let s = schedule();
        assert_eq!(s.epoch_at(Time::from_nanos(999_999_999_999)), None);
        assert_eq!(s.epoch_at(s.start(Epoch(1))), Some(Epoch(1)));
        assert_eq!(s.start(Epoch(1)), Time::from_nanos(1_000_000_000_000));
        assert_eq!(s.epoch_at(s.end(Epoch(1))), Some(Epoch(2)));
        let last = Time::from_nanos(s.end(Epoch(1)).as_nanos() - 1);
        assert_eq!(s.epoch_at(last), Some(Epoch(1)));
    }

    #[test]
    fn a_short_first_epoch_moves_all_others() {
        let parameters = Parameters::demo().with_short_first_epoch();
        let s = Schedule::new(Time::from_nanos(1_000_000_000_000), &parameters);
        let first = Duration::from_secs(12);
        assert_eq!(s.start(Epoch(2)), s.start(Epoch(1)).after(first));
        assert_eq!(s.end(Epoch(2)), s.start(Epoch(2)).after(parameters.epoch));
        for epoch in [Epoch(1), Epoch(2), Epoch(3), Epoch(70)] {
            assert_eq!(s.epoch_at(s.start(epoch)), Some(epoch));
            let before = Time::from_nanos(s.start(epoch).as_nanos() - 1);
            assert_eq!(s.epoch_at(before), epoch.previous().filter(|e| e.0 > 0));
            assert_eq!(s.open_for(s.publish_at(epoch)), epoch);
        }
        assert!(s.publish_at(Epoch(2)) > s.start(Epoch(1)));
    }

    #[test]
    fn descriptors_are_taken_until_the_lists_are_signed() {
        let s = schedule();
        for epoch in [Epoch(1), Epoch(2), Epoch(9)] {
            let lists = s.lists_at(epoch);
            assert_eq!(
                s.open_for(Time::from_nanos(lists.as_nanos() - 1)),
                epoch,
                "one nanosecond before the lists of {epoch}"
            );
            assert_eq!(s.open_for(lists), epoch.next());
            assert_eq!(s.open_for(s.publish_at(epoch)), epoch);
        }
    }

    #[test]
    fn a_vote_runs_in_order() {
        let s = schedule();
        let e = Epoch(3);
        let moments = [
            s.start(Epoch(2)),
            s.publish_early_at(e),
            s.publish_at(e),
            s.lists_at(e),
            s.exchange_at(e),
            s.reveal_at(e),
            s.relay_at(e),
            s.sign_at(e),
            s.fetch_at(e),
            s.start(e),
        ];
        assert!(moments.is_sorted_by(|a, b| a < b));
    }
}
