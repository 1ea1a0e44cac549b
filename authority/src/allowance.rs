//! How often those who are no authorities may call.

use std::collections::BTreeMap;
use std::time::Duration;

use link::Peer;
use wire::{Call, Time};

/// A token bucket a peer, and one for all of them together.
#[derive(Default)]
pub(crate) struct Allowances {
    peers: BTreeMap<Peer, Allowance>,
    all: Allowance,
}

/// Calls saved up, as the time that they took to earn.
#[derive(Clone, Copy, Default)]
struct Allowance {
    spent_until: Time,
}

impl Allowances {
    /// Whether `from` may make this call now; takes it from its allowance if so.
    pub(crate) fn take(&mut self, now: Time, from: Peer, call: &Call) -> bool {
        let price = price(call);
        let (gap, burst) = match from {
            Peer::Node(_) => NODE,
            Peer::Guest(_) => GUEST,
        };
        if self.peers.len() >= MAX_PEERS && !self.peers.contains_key(&from) {
            return false;
        }
        let peer = self.peers.entry(from).or_default();
        if !peer.covers(now, gap * price, gap * burst)
            || !self.all.covers(now, ALL.0 * price, ALL.0 * ALL.1)
        {
            return false;
        }
        peer.spend(now, gap * price);
        self.all.spend(now, ALL.0 * price);
        true
    }

    /// Forgets a peer that has gone.
    pub(crate) fn forget(&mut self, peer: &Peer) {
        self.peers.remove(peer);
    }
}

impl Allowance {
    fn covers(self, now: Time, price: Duration, burst: Duration) -> bool {
        self.spent_until.max(now).after(price) <= now.after(burst)
    }

    fn spend(&mut self, now: Time, price: Duration) {
        self.spent_until = self.spent_until.max(now).after(price);
    }
}

/// A descriptor costs signature and key checks, a document bytes, the rest next to nothing.
const fn price(call: &Call) -> u32 {
    match call {
        Call::Publish(_) | Call::NewestDocument | Call::Document(_) => 2,
        _ => 1,
    }
}

/// Time in which one unit is earned, and how many units are saved up at most.
type Law = (Duration, u32);

/// A node: gateways also pass on what their clients publish.
const NODE: Law = (Duration::from_millis(50), 256);
const GUEST: Law = (Duration::from_millis(250), 32);
const ALL: Law = (Duration::from_millis(1), 8192);
/// Most peers remembered; a mesh has no more connections.
const MAX_PEERS: usize = 8192;

#[cfg(test)]
mod tests {
    use super::*;
    use link::GuestId;

    const CALL: Call = Call::NewestDocument;

    #[test]
    fn a_guest_is_held_to_its_rate_and_others_are_not() {
        let mut allowances = Allowances::default();
        let now = Time::from_nanos(1_000_000_000_000);
        let (one, two) = (Peer::Guest(GuestId(1)), Peer::Guest(GuestId(2)));
        let at_once = (0..100).filter(|_| allowances.take(now, one, &CALL));
        assert_eq!(at_once.count(), 16);
        assert!(allowances.take(now, two, &CALL));
        let later = now.after(Duration::from_secs(1));
        let then = (0..100).filter(|_| allowances.take(later, one, &CALL));
        assert_eq!(then.count(), 2);
    }

    #[test]
    fn guests_together_are_held_to_a_rate() {
        let mut allowances = Allowances::default();
        let now = Time::from_nanos(1_000_000_000_000);
        let guests = (0..8000).map(|number| Peer::Guest(GuestId(number)));
        let taken = guests.filter(|guest| allowances.take(now, *guest, &CALL));
        assert_eq!(taken.count(), 4096);
    }
}
