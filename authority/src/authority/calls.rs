//! What others say and ask.

use std::sync::Arc;

use directory::{DescriptorHash, DocumentHash};
use wire::{CallRefused, Encode, Epoch, NodeId, Reply, Time};

use super::Authority;
use crate::ballot::{Assent, Ballot, BallotReply, List, Reveal};
use crate::evidence::Evidence;
use crate::pool::Published;
use crate::vote::{News, Vote};

impl Authority {
    pub(super) fn publish(&mut self, now: Time, bytes: &[u8]) -> Reply {
        let open = self.schedule.open_for(now);
        let vote = self.votes.entry(open).or_insert_with(|| Vote::new(open));
        let marks = self.chain.marks();
        let published = vote
            .pool
            .publish(bytes, &self.network, marks, self.registry.as_ref());
        match published {
            Published::Taken => Reply::Done,
            Published::Refused(why) => Reply::Refused(why),
            Published::Doubled(evidence) => {
                self.convict(evidence);
                Reply::Refused(CallRefused::Invalid)
            }
        }
    }

    pub(super) fn hear(&mut self, now: Time, from: NodeId, ballot: Ballot) -> Reply {
        let digest = ballot.digest();
        let heard = match ballot {
            Ballot::List(list) => self.hear_list(now, from, list),
            Ballot::Reveal(reveal) => self.hear_reveal(now, from, reveal),
            Ballot::Assent(assent) => self.hear_assent(now, from, assent),
            Ballot::FetchDescriptors(hashes) => return self.show_descriptors(now, &hashes),
            Ballot::FetchDocument(hash) => return self.show_document(hash),
        };
        match heard {
            Ok(()) => Reply::Ballot(BallotReply::Taken(digest).to_bytes()),
            Err(why) => Reply::Refused(why),
        }
    }

    /// From its author until T2, from others until T3.
    pub(super) fn hear_list(
        &mut self,
        now: Time,
        from: NodeId,
        list: List,
    ) -> Result<(), CallRefused> {
        self.check_epoch(now, list.epoch)?;
        let until = if from == list.author {
            self.schedule.exchange_at(list.epoch)
        } else {
            self.schedule.reveal_at(list.epoch)
        };
        let network = Arc::clone(&self.network);
        let vote = self.vote(list.epoch);
        // What comes too late is taken all the same, so that it is not sent again.
        if now >= until || vote.lists.knows(&list.author, &list) {
            return Ok(());
        }
        if !list.is_genuine(&network) {
            return Err(CallRefused::Invalid);
        }
        // A new list may make wanted what another author alone listed before.
        self.fetches.insert(list.author, now);
        for due in self.fetches.values_mut() {
            *due = now;
        }
        let vote = self.vote(list.epoch);
        if let News::Conflict(first, second) = vote.lists.hear(list.author, list) {
            self.convict(Some(Evidence::TwoLists(Box::new((first, second)))));
        }
        Ok(())
    }

    /// From its author until T4, from others until T5.
    pub(super) fn hear_reveal(
        &mut self,
        now: Time,
        from: NodeId,
        reveal: Reveal,
    ) -> Result<(), CallRefused> {
        self.check_epoch(now, reveal.epoch)?;
        let until = if from == reveal.author {
            self.schedule.relay_at(reveal.epoch)
        } else {
            self.schedule.sign_at(reveal.epoch)
        };
        let network = Arc::clone(&self.network);
        let vote = self.vote(reveal.epoch);
        if now >= until || vote.reveals.knows(&reveal.author, &reveal) {
            return Ok(());
        }
        if !reveal.is_genuine(&network) {
            return Err(CallRefused::Invalid);
        }
        if let News::Conflict(first, second) = vote.reveals.hear(reveal.author, reveal) {
            self.convict(Some(Evidence::TwoReveals(Box::new((first, second)))));
        }
        Ok(())
    }

    /// Whoever hears an assent from its signer passes it on: two assents of one signer meet.
    pub(super) fn hear_assent(
        &mut self,
        now: Time,
        from: NodeId,
        assent: Assent,
    ) -> Result<(), CallRefused> {
        self.check_epoch(now, assent.epoch)?;
        let network = Arc::clone(&self.network);
        let vote = self.vote(assent.epoch);
        if vote.assents.knows(&assent.signer, &assent) {
            return Ok(());
        }
        if !assent.is_genuine(&network) {
            return Err(CallRefused::Invalid);
        }
        let news = vote.assents.hear(assent.signer, assent);
        if from == assent.signer {
            let peers = self.peers_but(assent.signer);
            let until = self.schedule.lists_at(assent.epoch.next());
            self.outbox.send(now, &Ballot::Assent(assent), peers, until);
        }
        if let News::Conflict(first, second) = news {
            self.convict(Some(Evidence::TwoAssents(Box::new((first, second)))));
        }
        self.complete();
        Ok(())
    }

    pub(super) fn show_descriptors(&self, now: Time, hashes: &[DescriptorHash]) -> Reply {
        // Asked for after T1: the vote under way is the one before the open one.
        let open = self.schedule.open_for(now);
        let votes = self.votes.range(..=open).map(|(_, vote)| vote);
        let mut bodies = Vec::new();
        for vote in votes {
            let held = hashes.iter().filter_map(|hash| vote.pool.get(hash));
            bodies.extend(held.map(|body| body.bytes.clone()));
        }
        Reply::Ballot(BallotReply::Descriptors(bodies).to_bytes())
    }

    pub(super) fn show_document(&self, hash: DocumentHash) -> Reply {
        let held = self.documents.get(&hash).map(Encode::to_bytes);
        let reply = match held.or_else(|| self.chain.document(&hash)) {
            Some(bytes) => BallotReply::Document(bytes),
            None => BallotReply::NoDocument(hash),
        };
        Reply::Ballot(reply.to_bytes())
    }

    /// Ballots are for the vote under way, or, from a clock a little ahead, for the next.
    pub(super) fn check_epoch(&self, now: Time, epoch: Epoch) -> Result<(), CallRefused> {
        let open = self.schedule.open_for(now);
        let soon = now.after(self.schedule.step()) >= self.schedule.lists_at(open);
        if Some(epoch) == open.previous().filter(|e| e.0 > 0) || (epoch == open && soon) {
            Ok(())
        } else {
            Err(CallRefused::WrongEpoch)
        }
    }
}
