//! The account of packets that must balance at every node.

use crate::Refusal;

/// How many packets were refused, by reason.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RefusalCounts([u64; Refusal::ALL.len()]);

impl RefusalCounts {
    /// Counts one.
    pub fn add(&mut self, refusal: Refusal) {
        if let Some(count) = self.0.get_mut(refusal as usize) {
            *count += 1;
        }
    }

    /// How many were refused for `refusal`.
    #[must_use]
    pub fn of(&self, refusal: Refusal) -> u64 {
        self.0.get(refusal as usize).copied().unwrap_or(0)
    }

    /// How many were refused altogether.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The reasons that occurred, with their counts.
    pub fn iter(&self) -> impl Iterator<Item = (Refusal, u64)> + '_ {
        Refusal::ALL
            .into_iter()
            .zip(self.0)
            .filter(|(_, count)| *count > 0)
    }

    /// Adds another account to this one.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }
}

/// A node's account of Sphinx packets: `received + made = sent + consumed + refused + held (+ lost)`.
///
/// `held` is not kept here: it is what the node's queues hold at the moment of asking.
/// `lost` is above zero only after a crash, and then equal to what was held.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ledger {
    /// Came in over a link.
    pub received: u64,
    /// Made here: cover, requests, replies, dummies.
    pub made: u64,
    /// Went out over a link.
    pub sent: u64,
    /// Ended here as meant: delivered, own loop, drop packet.
    pub consumed: u64,
    /// Went no further, by reason.
    pub refused: RefusalCounts,
    /// Held when the node crashed.
    pub lost: u64,
}

impl Ledger {
    /// Whether the account balances while `held` packets are in the node's queues.
    #[must_use]
    pub fn balances(&self, held: u64) -> bool {
        let came = self.received + self.made;
        let went = self.sent + self.consumed + self.refused.total() + self.lost + held;
        came == went
    }

    /// Adds another account to this one.
    pub fn merge(&mut self, other: &Self) {
        self.received += other.received;
        self.made += other.made;
        self.sent += other.sent;
        self.consumed += other.consumed;
        self.refused.merge(&other.refused);
        self.lost += other.lost;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_place_and_label() {
        let mut labels = std::collections::BTreeSet::new();
        for (place, refusal) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(refusal as usize, place);
            assert!(labels.insert(refusal.label()));
        }
    }

    #[test]
    fn a_missing_packet_is_noticed() {
        let mut ledger = Ledger {
            received: 3,
            sent: 1,
            ..Ledger::default()
        };
        ledger.refused.add(Refusal::Replay);
        assert!(ledger.balances(1));
        assert!(!ledger.balances(0));
    }
}
