//! Loops that are out, what came back of them, and what that says of the nodes on their way.
//!
//! Everybody who sends loops keeps such a book: participants, mixes, gateways. A loop that does
//! not come back in time raises the score of each node on its route, one that does lowers it.

use std::collections::BTreeMap;
use std::time::Duration;

use wire::{NodeId, Time};

use crate::LossTest;

/// How loops fare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LoopCounts {
    /// Left.
    pub sent: u64,
    /// Came back in time.
    pub returned: u64,
    /// Did not come back in time.
    pub lost: u64,
}

/// The way of a loop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoopRoute {
    /// Every node that it passes.
    pub nodes: Vec<NodeId>,
    /// Sum of the delays chosen for it.
    pub delay: Duration,
}

/// A loop that came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Returned {
    /// When it left.
    pub left: Time,
    /// Sum of the delays chosen for it.
    pub delay: Duration,
}

impl Returned {
    /// From leaving to `now`.
    #[must_use]
    pub const fn after(&self, now: Time) -> Duration {
        now.since(self.left)
    }

    /// What links and queues added to the delays chosen, if it came back `now`.
    #[must_use]
    pub const fn excess(&self, now: Time) -> Duration {
        self.after(now).saturating_sub(self.delay)
    }
}

/// Loops by identifier, and a [`LossTest`] for every node of the document in use.
#[derive(Debug, Default)]
pub struct LoopBook {
    out: BTreeMap<[u8; 16], Out>,
    /// The same, by the time at which they are given up.
    due: BTreeMap<(Time, [u8; 16]), ()>,
    tests: BTreeMap<NodeId, LossTest>,
    counts: LoopCounts,
    /// How long the own link was away since the beginning: that time does not count.
    away: Duration,
}

#[derive(Debug)]
struct Out {
    left: Time,
    due: Time,
    route: LoopRoute,
}

impl LoopBook {
    /// What links, queues and gateways' clocks may add to a loop's own delays.
    pub const PATIENCE: Duration = Duration::from_secs(10);
    /// Most loops out; at the bound the one that is due first counts as lost.
    pub const MAX_OUT: usize = 65_536;

    /// Watches these nodes from now on: the score of one that was watched before goes on, of
    /// one that is not among them it is forgotten, whatever its loops still come to.
    pub fn watch(&mut self, nodes: impl IntoIterator<Item = NodeId>) {
        let known = std::mem::take(&mut self.tests);
        let test = |node| (node, known.get(&node).copied().unwrap_or_default());
        self.tests = nodes.into_iter().map(test).collect();
    }

    /// Notes that a loop left which is given up `wait` after the delays chosen for it.
    pub fn leave(&mut self, now: Time, identifier: [u8; 16], route: LoopRoute, wait: Duration) {
        if self.out.len() >= Self::MAX_OUT
            && let Some(((_, first), ())) = self.due.pop_first()
        {
            self.give_up(&first);
        }
        let due = now.before(self.away).after(route.delay).after(wait);
        self.due.insert((due, identifier), ());
        let left = now;
        self.out.insert(identifier, Out { left, due, route });
        self.counts.sent += 1;
    }

    /// The loop of this identifier; `None` if none is out: back before, given up, never made.
    pub fn come_back(&mut self, identifier: &[u8; 16]) -> Option<Returned> {
        let out = self.out.remove(identifier)?;
        self.due.remove(&(out.due, *identifier));
        self.counts.returned += 1;
        self.step(&out.route.nodes, LossTest::returned);
        Some(Returned {
            left: out.left,
            delay: out.route.delay,
        })
    }

    /// Gives up the loops that are due.
    pub fn expire(&mut self, now: Time) {
        let now = now.before(self.away);
        while let Some(first) = self.due.first_entry()
            && first.key().0 <= now
        {
            let ((_, identifier), ()) = first.remove_entry();
            self.give_up(&identifier);
        }
    }

    /// When [`Self::expire`] has something to do next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        let (due, _) = self.due.first_key_value()?.0;
        Some(due.after(self.away))
    }

    /// The own link was away for `span`: loops that are out have so much longer to come back.
    pub fn excuse(&mut self, span: Duration) {
        self.away += span;
    }

    /// Forgets the loops that are out, which counts neither for nor against anybody: there is
    /// no way left by which they could come back.
    pub fn forgive(&mut self) {
        self.out.clear();
        self.due.clear();
    }

    /// What became of the loops.
    #[must_use]
    pub const fn counts(&self) -> LoopCounts {
        self.counts
    }

    /// How many are out.
    #[must_use]
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// Whether none is out.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// Whether any node's test alarms.
    #[must_use]
    pub fn alarms(&self) -> bool {
        self.tests.values().any(LossTest::alarms)
    }

    /// The test of every node watched, by identity.
    pub fn tests(&self) -> impl Iterator<Item = (&NodeId, &LossTest)> {
        self.tests.iter()
    }

    fn give_up(&mut self, identifier: &[u8; 16]) {
        if let Some(out) = self.out.remove(identifier) {
            self.counts.lost += 1;
            self.step(&out.route.nodes, LossTest::lost);
        }
    }

    fn step(&mut self, nodes: &[NodeId], by: fn(&mut LossTest)) {
        for node in nodes {
            if let Some(test) = self.tests.get_mut(node) {
                by(test);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: NodeId = NodeId([1; 32]);
    const B: NodeId = NodeId([2; 32]);
    const DELAY: Duration = Duration::from_millis(150);

    fn book() -> LoopBook {
        let mut book = LoopBook::default();
        book.watch([A, B]);
        book
    }

    fn route(nodes: &[NodeId]) -> LoopRoute {
        let nodes = nodes.to_vec();
        LoopRoute {
            nodes,
            delay: DELAY,
        }
    }

    fn at(millis: u64) -> Time {
        Time::ZERO.after(Duration::from_millis(millis))
    }

    fn score(book: &LoopBook, node: NodeId) -> u8 {
        let mut tests = book.tests();
        tests.find(|(id, _)| **id == node).unwrap().1.score()
    }

    #[test]
    fn a_loop_comes_back_once() {
        let mut book = book();
        book.leave(at(0), [1; 16], route(&[A]), LoopBook::PATIENCE);
        let returned = book.come_back(&[1; 16]).unwrap();
        assert_eq!(returned.after(at(180)), Duration::from_millis(180));
        assert_eq!(returned.excess(at(180)), Duration::from_millis(30));
        assert_eq!(book.come_back(&[1; 16]), None);
        assert_eq!(book.counts().returned, 1);
    }

    #[test]
    fn a_lost_loop_counts_against_each_node_on_its_way_and_no_other() {
        let mut book = book();
        book.leave(at(0), [1; 16], route(&[A]), LoopBook::PATIENCE);
        book.leave(at(0), [2; 16], route(&[A, B]), LoopBook::PATIENCE);
        let due = at(150).after(LoopBook::PATIENCE);
        assert_eq!(book.poll_timeout(), Some(due));
        book.expire(due.before(Duration::from_nanos(1)));
        assert_eq!(book.len(), 2);
        book.expire(due);
        assert_eq!((score(&book, A), score(&book, B)), (10, 5));
        assert_eq!((book.counts().lost, book.len()), (2, 0));
        assert_eq!(book.come_back(&[1; 16]), None);
    }

    #[test]
    fn time_without_a_link_does_not_count() {
        let mut book = book();
        book.leave(at(0), [1; 16], route(&[A]), LoopBook::PATIENCE);
        book.excuse(Duration::from_secs(60));
        book.expire(at(70_000));
        assert_eq!(book.len(), 1);
        book.leave(at(70_000), [2; 16], route(&[A]), LoopBook::PATIENCE);
        book.expire(at(70_150));
        assert_eq!((book.len(), score(&book, A)), (1, 5));
        assert_eq!(book.poll_timeout(), Some(at(80_150)));
    }

    #[test]
    fn a_node_that_is_not_listed_any_more_cannot_alarm() {
        let mut book = book();
        for number in 0..20 {
            book.leave(at(0), [number; 16], route(&[A, B]), LoopBook::PATIENCE);
        }
        book.expire(at(20_000));
        assert!(book.alarms());
        book.leave(at(20_000), [99; 16], route(&[A]), LoopBook::PATIENCE);
        book.watch([B]);
        book.expire(at(40_000));
        assert_eq!(book.tests().count(), 1);
        assert_eq!(score(&book, B), LossTest::THRESHOLD);
        book.watch([]);
        assert!(!book.alarms());
    }

    #[test]
    fn at_the_bound_the_oldest_counts_as_lost() {
        let mut book = book();
        for number in 0..=LoopBook::MAX_OUT {
            let mut identifier = [0; 16];
            identifier[..8].copy_from_slice(&number.to_be_bytes());
            book.leave(at(0), identifier, route(&[A]), LoopBook::PATIENCE);
        }
        assert_eq!((book.len(), book.counts().lost), (LoopBook::MAX_OUT, 1));
    }

    #[test]
    fn forgiven_loops_count_neither_way() {
        let mut book = book();
        book.leave(at(0), [1; 16], route(&[A]), LoopBook::PATIENCE);
        book.forgive();
        book.expire(at(60_000));
        assert_eq!((score(&book, A), book.len()), (0, 0));
        assert_eq!(book.poll_timeout(), None);
    }

    #[test]
    fn whatever_happens_each_loop_ends_once() {
        bolero::check!()
            .with_type::<Vec<(u8, u8)>>()
            .for_each(|steps| {
                let mut book = book();
                let (mut now, mut forgiven) = (at(0), 0);
                for (kind, value) in steps {
                    now = now.after(Duration::from_millis(u64::from(*value) * 50));
                    match kind % 6 {
                        0 | 1 => {
                            let fresh = [*value; 16];
                            if !book.out.contains_key(&fresh) {
                                let wait = Duration::from_millis(u64::from(*value) * 100);
                                book.leave(now, fresh, route(&[A, B]), wait);
                            }
                        }
                        2 => drop(book.come_back(&[*value; 16])),
                        3 => book.expire(now),
                        4 => book.excuse(Duration::from_millis(u64::from(*value))),
                        _ => {
                            forgiven += book.len() as u64;
                            book.forgive();
                        }
                    }
                    let LoopCounts {
                        sent,
                        returned,
                        lost,
                    } = book.counts();
                    assert_eq!(sent, returned + lost + forgiven + book.len() as u64);
                    assert_eq!(book.out.len(), book.due.len());
                    assert!(
                        book.tests()
                            .all(|(_, test)| test.score() <= LossTest::THRESHOLD)
                    );
                }
            });
    }
}
