//! Ballots on their way, sent again until they are taken or come too late.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use wire::{Call, Encode, NodeId, Time};

use crate::ballot::{Ballot, BallotDigest};

/// What has to reach whom, by when. Bounded by what one vote says: lists, reveals and assents of
/// every authority, twice at most, for every other.
#[derive(Default)]
pub(crate) struct Outbox(BTreeMap<(NodeId, BallotDigest), Item>);

struct Item {
    bytes: Arc<Vec<u8>>,
    due: Time,
    until: Time,
}

impl Outbox {
    /// Sends `ballot` to each of `peers` from `now` on, not after `until`.
    pub(crate) fn send(
        &mut self,
        now: Time,
        ballot: &Ballot,
        peers: impl IntoIterator<Item = NodeId>,
        until: Time,
    ) {
        let bytes = Arc::new(ballot.to_bytes());
        let digest = BallotDigest::of(&bytes);
        for peer in peers {
            self.0.entry((peer, digest)).or_insert_with(|| Item {
                bytes: Arc::clone(&bytes),
                due: now,
                until,
            });
        }
    }

    /// `peer` has the ballot with this digest.
    pub(crate) fn taken(&mut self, peer: NodeId, digest: BallotDigest) {
        self.0.remove(&(peer, digest));
    }

    /// What is due; it is due again after `gap`.
    pub(crate) fn take_due(&mut self, now: Time, gap: Duration) -> Vec<(NodeId, Call)> {
        self.0.retain(|_, item| now < item.until);
        let mut calls = Vec::new();
        for ((peer, _), item) in &mut self.0 {
            if item.due <= now {
                item.due = now.after(gap);
                calls.push((*peer, Call::Ballot(item.bytes.to_vec())));
            }
        }
        calls
    }

    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        self.0.values().map(|item| item.due.min(item.until)).min()
    }
}
