//! Which feeds of a mailbox are news.
//!
//! Feeds overtake each other in the mixes, so that a lower counter is not stale by itself: those
//! taken last are remembered one by one, and what is below all of them is too old.

use std::collections::BTreeSet;

#[derive(Default)]
pub(super) struct Counters {
    taken: BTreeSet<u64>,
    /// Nothing up to here is taken any more.
    floor: u64,
}

impl Counters {
    pub(super) fn is_news(&self, counter: u64) -> bool {
        counter > self.floor && !self.taken.contains(&counter)
    }

    /// Takes a counter, if it is news.
    pub(super) fn take(&mut self, counter: u64) -> bool {
        if !self.is_news(counter) {
            return false;
        }
        self.taken.insert(counter);
        while self.taken.len() > REMEMBERED {
            self.floor = self.taken.pop_first().unwrap_or(self.floor);
        }
        true
    }

    /// What is below `counter` is stale from now on; whether it was not before.
    pub(super) fn close_below(&mut self, counter: u64) -> bool {
        let floor = counter.saturating_sub(1);
        let rises = floor > self.floor;
        if rises {
            self.floor = floor;
            self.taken.retain(|taken| *taken >= counter);
        }
        rises
    }
}

/// Feeds under way at one time that may overtake each other.
const REMEMBERED: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn feeds_overtake_each_other_and_are_taken_once() {
        let mut counters = Counters::default();
        for counter in [5, 3, 9, 4] {
            assert!(counters.take(counter));
        }
        for counter in [5, 3, 9, 4, 0] {
            assert!(!counters.take(counter), "{counter}");
        }
    }

    #[test]
    fn what_is_older_than_all_that_is_remembered_is_stale() {
        let mut counters = Counters::default();
        let last = REMEMBERED as u64 * 2;
        for counter in 1..=last {
            assert!(counters.take(counter * 10));
        }
        assert!(!counters.take(15));
        assert!(counters.take(last * 10 - 5));
    }

    #[test]
    fn a_discard_makes_all_before_it_stale() {
        let mut counters = Counters::default();
        assert!(counters.take(8) && counters.take(20));
        assert!(counters.close_below(20));
        assert!(!counters.close_below(20) && !counters.close_below(5));
        assert!(!counters.take(9) && !counters.take(20));
        assert!(counters.take(21));
    }
}
