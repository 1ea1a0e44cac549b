//! What happens when: a queue ordered by time, and by order of entry within one time.

use std::collections::BTreeMap;

use wire::Time;

/// Future events in the order in which they happen.
///
/// Two events of one time happen in the order in which they were entered, so that a run depends
/// on nothing but its seed.
pub(crate) struct Agenda<E> {
    entries: BTreeMap<(Time, u64), E>,
    entered: u64,
}

impl<E> Default for Agenda<E> {
    fn default() -> Self {
        Self {
            entries: BTreeMap::new(),
            entered: 0,
        }
    }
}

impl<E> Agenda<E> {
    /// Enters an event.
    pub(crate) fn enter(&mut self, at: Time, event: E) {
        self.entries.insert((at, self.entered), event);
        self.entered += 1;
    }

    /// Takes the next event, unless it is after `end`.
    pub(crate) fn next_until(&mut self, end: Time) -> Option<(Time, E)> {
        let first = self.entries.first_entry()?;
        if first.key().0 > end {
            return None;
        }
        let ((at, _), event) = first.remove_entry();
        Some((at, event))
    }

    /// The events still to come.
    pub(crate) fn rest(&self) -> impl Iterator<Item = &E> {
        self.entries.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_one_time_happen_in_the_order_of_entry() {
        let mut agenda = Agenda::default();
        let (soon, later) = (Time::from_nanos(1), Time::from_nanos(2));
        for (at, event) in [(later, "c"), (soon, "a"), (soon, "b")] {
            agenda.enter(at, event);
        }
        let order: Vec<_> = std::iter::from_fn(|| agenda.next_until(Time::MAX)).collect();
        assert_eq!(order, [(soon, "a"), (soon, "b"), (later, "c")]);
    }

    #[test]
    fn nothing_after_the_end_is_taken() {
        let mut agenda = Agenda::default();
        agenda.enter(Time::from_nanos(5), ());
        assert!(agenda.next_until(Time::from_nanos(4)).is_none());
        assert_eq!(agenda.rest().count(), 1);
    }
}
