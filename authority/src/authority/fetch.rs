//! Fetching what others have: listed descriptors, documents to continue, missed consensus.

use std::collections::BTreeSet;
use std::sync::Arc;

use directory::{Consensus, DescriptorHash, Document, DocumentHash};
use wire::{Call, Decode, Encode, Epoch, NodeId, Time};

use super::Authority;
use crate::ballot::Ballot;
use crate::vote::Vote;

impl Authority {
    pub(super) fn fetch_descriptors(&mut self, now: Time) {
        let again = now.after(self.retry_gap());
        let Some(vote) = self.votes.values().next().filter(|v| v.takes_part()) else {
            return;
        };
        let (calls, network) = (&mut self.calls, &self.network);
        self.fetches.retain(|peer, due| {
            if *due > now {
                return true;
            }
            let wanted = vote.wanted_of(peer, network);
            if wanted.is_empty() {
                return false;
            }
            *due = again;
            let ballot = Ballot::FetchDescriptors(wanted);
            calls.push_back((*peer, Call::Ballot(ballot.to_bytes())));
            true
        });
    }

    pub(super) fn take_descriptors(&mut self, now: Time, from: NodeId, bodies: &[Vec<u8>]) {
        let network = Arc::clone(&self.network);
        let Some(mut entry) = self.votes.first_entry() else {
            return;
        };
        let vote = entry.get_mut();
        let wanted = vote.wanted_of(&from, &network);
        let mut shown = BTreeSet::new();
        let mut evidence = Vec::new();
        for bytes in bodies {
            let named = DescriptorHash::of_bytes(bytes);
            if !wanted.contains(&named) {
                continue;
            }
            if let Some((hash, doubled)) = vote.pool.take_fetched(bytes, &network) {
                shown.insert(hash);
                evidence.extend(doubled);
            }
        }
        vote.fetched(from, &wanted, &shown, &network);
        self.fetches.insert(from, now);
        for found in evidence {
            self.convict(Some(found));
        }
    }

    pub(super) fn fetch_document(&mut self, now: Time) {
        let Some(hash) = self.missing_document() else {
            return;
        };
        if now >= self.document_fetch.due
            && let Some(peer) = self.document_fetch.peer(&self.network, self.id)
        {
            self.document_fetch.due = now.after(self.retry_gap());
            let ballot = Ballot::FetchDocument(hash);
            self.calls
                .push_back((peer, Call::Ballot(ballot.to_bytes())));
        }
    }

    pub(super) fn take_document(&mut self, bytes: &[u8]) {
        if self.missing_document() != Some(DocumentHash::of_bytes(bytes)) {
            return;
        }
        // Its hash has a quorum behind it, so that the bytes are a document's.
        if let Ok(document) = Document::from_bytes(bytes) {
            self.keep_document(document);
            self.complete();
        }
    }

    /// A document that a quorum signed and that is not here: to be continued, or to be served.
    pub(super) fn missing_document(&self) -> Option<DocumentHash> {
        let threshold = self.network.threshold();
        let continued = self.votes.values().filter_map(Vote::previous);
        let agreed = self.votes.values().filter_map(|v| v.quorum(threshold));
        continued
            .map(|previous| previous.hash)
            .chain(agreed.map(|(hash, _)| hash))
            .find(|hash| !self.documents.contains_key(hash))
    }

    pub(super) fn fetch_consensus(&mut self, now: Time) {
        if now < self.sync.due {
            return;
        }
        let due = self.due_epoch(now);
        if due <= self.chain.newest_epoch() {
            self.plan_sync(now);
            return;
        }
        // A document that failed its vote does not come by asking often.
        let gap = if self.sync.attempts < 16 {
            self.retry_gap()
        } else {
            self.schedule.step() * 4
        };
        self.sync.due = now.after(gap);
        if let Some(peer) = self.sync.peer(&self.network, self.id)
            && let Some(epoch) = due
        {
            // The newest where the one that is due may not exist.
            let call = if self.sync.attempts.is_multiple_of(2) {
                Call::Document(epoch)
            } else {
                Call::NewestDocument
            };
            self.calls.push_back((peer, call));
        }
    }

    pub(super) fn take_consensus(&mut self, now: Time, bytes: &[u8]) {
        // Signatures may differ where the document does not: only news is verified.
        let Ok(offered) = Consensus::from_bytes(bytes) else {
            return;
        };
        let epoch = offered.document.epoch;
        let news = Some(epoch) >= self.chain.newest_epoch()
            && now >= self.schedule.sign_at(epoch)
            && !self.chain.holds(&offered.document);
        if news && offered.verify(&self.network).is_ok() {
            self.adopt(offered);
        }
    }

    /// The epoch whose document should be here by now.
    pub(super) fn due_epoch(&self, now: Time) -> Option<Epoch> {
        let current = self.schedule.epoch_at(now);
        let next = current.map_or(Epoch(1), |epoch| epoch.next());
        if now >= self.schedule.fetch_at(next) {
            Some(next)
        } else {
            current
        }
    }

    /// Nothing is missing: look again when the next document is due.
    pub(super) fn plan_sync(&mut self, now: Time) {
        let current = self.schedule.epoch_at(now);
        let next = current.map_or(Epoch(1), |epoch| epoch.next());
        let newest = self.chain.newest_epoch().unwrap_or(Epoch(0));
        self.sync.attempts = 0;
        self.sync.due = self.schedule.fetch_at(next.max(newest.next()));
    }
}
