//! The own part in a vote, step by step.

use std::sync::Arc;

use directory::{Consensus, Document, commitment, sign_document};
use wire::{Epoch, NodeId, Time};
use zeroize::Zeroizing;

use super::{Abstention, Authority, Event};
use crate::ballot::{Assent, Ballot, List, Reveal};
use crate::chain::Added;
use crate::vote::{Stage, Unready};

impl Authority {
    pub(super) fn advance(&mut self, now: Time) {
        self.next_vote = self.schedule.lists_at(self.schedule.open_for(now));
        let Some(voting) = self.voting(now) else {
            return;
        };
        self.votes.retain(|epoch, _| *epoch >= voting);
        let stage = self.vote(voting).stage;
        if stage < Stage::Signed
            && let Err(skew) = self.clock.check()
        {
            self.abstain(voting, Abstention::ClockSkew(skew));
        } else if stage == Stage::Gathering {
            self.prune_documents();
            if voting <= self.voted || now >= self.schedule.exchange_at(voting) {
                self.abstain(voting, Abstention::Late);
            } else if self.clock.knows(Time::ZERO) {
                self.sign_list(now, voting);
            }
        }
        let schedule = self.schedule;
        if self.at(voting, Stage::Listed) && now >= schedule.exchange_at(voting) {
            self.pass_on_lists(now, voting);
        }
        if self.at(voting, Stage::Exchanged) && now >= schedule.reveal_at(voting) {
            self.sign_reveal(now, voting);
        }
        if self.at(voting, Stage::Revealed) && now >= schedule.relay_at(voting) {
            self.pass_on_reveals(now, voting);
        }
        if self.at(voting, Stage::Relayed) && now >= schedule.sign_at(voting) {
            self.sign_document(now, voting);
        }
        self.complete();
    }

    pub(super) fn sign_list(&mut self, now: Time, epoch: Epoch) {
        let list = List {
            epoch,
            author: self.id,
            previous: self.chain.proof(&self.network),
            commitment: commitment(&self.share_after(epoch)),
            descriptors: self.vote(epoch).pool.list(),
            signature: [0; 64],
        }
        .signed(&self.identity, &self.network);
        let descriptors = list.descriptors.len();
        self.voted = epoch;
        self.unsaved = true;
        let peers = self.peers_but(self.id);
        let until = self.schedule.exchange_at(epoch);
        self.outbox
            .send(now, &Ballot::List(list.clone()), peers, until);
        let id = self.id;
        let vote = self.vote(epoch);
        vote.lists.hear(id, list);
        vote.stage = Stage::Listed;
        self.events.push_back(Event::Listed { epoch, descriptors });
    }

    pub(super) fn pass_on_lists(&mut self, now: Time, epoch: Epoch) {
        let until = self.schedule.reveal_at(epoch);
        let vote = self.vote(epoch);
        vote.stage = Stage::Exchanged;
        let heard: Vec<(NodeId, Ballot)> = vote
            .lists
            .all()
            .map(|(author, list)| (*author, Ballot::List(list.clone())))
            .collect();
        self.pass_on(now, &heard, until);
    }

    pub(super) fn sign_reveal(&mut self, now: Time, epoch: Epoch) {
        let vote = self.vote(epoch);
        let continued = vote.previous().map_or(Epoch(0), |previous| previous.epoch);
        let doubled = vote.pool.doubled();
        let reveal = Reveal {
            epoch,
            author: self.id,
            share: *self.share_after(continued),
            doubled,
            signature: [0; 64],
        }
        .signed(&self.identity, &self.network);
        let peers = self.peers_but(self.id);
        let until = self.schedule.relay_at(epoch);
        self.outbox
            .send(now, &Ballot::Reveal(reveal.clone()), peers, until);
        let id = self.id;
        let vote = self.vote(epoch);
        vote.reveals.hear(id, reveal);
        vote.stage = Stage::Revealed;
    }

    pub(super) fn pass_on_reveals(&mut self, now: Time, epoch: Epoch) {
        let until = self.schedule.sign_at(epoch);
        let vote = self.vote(epoch);
        vote.stage = Stage::Relayed;
        let heard: Vec<(NodeId, Ballot)> = vote
            .reveals
            .all()
            .map(|(author, reveal)| (*author, Ballot::Reveal(reveal.clone())))
            .collect();
        self.pass_on(now, &heard, until);
    }

    /// Signs what the vote makes; if something for it is still on its way, later, but not
    /// after the epoch's start.
    pub(super) fn sign_document(&mut self, now: Time, epoch: Epoch) {
        let network = Arc::clone(&self.network);
        let Some(vote) = self.votes.get(&epoch) else {
            return;
        };
        match vote.compute(&network, &self.documents) {
            Ok(document) => {
                let assent = self.assent(&document);
                self.vote(epoch).stage = Stage::Signed;
                self.signed = Some(document);
                self.unsaved = true;
                let peers = self.peers_but(self.id);
                let until = self.schedule.lists_at(epoch.next());
                self.outbox.send(now, &Ballot::Assent(assent), peers, until);
                let hash = assent.hash;
                self.events.push_back(Event::Signed { epoch, hash });
            }
            Err(_) if now < self.schedule.start(epoch) => {
                self.sign_again = now.after(self.retry_gap());
            }
            Err(Unready::Previous(_)) => self.abstain(epoch, Abstention::NoPrevious),
            Err(Unready::Descriptor) => self.abstain(epoch, Abstention::NoDescriptor),
        }
    }

    /// Makes the own assent to `document` and counts it.
    pub(super) fn assent(&mut self, document: &Document) -> Assent {
        let (epoch, hash) = (document.epoch, document.hash());
        let assent = Assent {
            epoch,
            signer: self.id,
            hash,
            signature: sign_document(&self.identity, &self.network, epoch, &hash),
        };
        self.keep_document(document.clone());
        let id = self.id;
        self.vote(epoch).assents.hear(id, assent);
        assent
    }

    pub(super) fn abstain(&mut self, epoch: Epoch, why: Abstention) {
        self.vote(epoch).stage = Stage::Watching;
        self.events.push_back(Event::Abstained { epoch, why });
    }

    /// Makes a consensus where a quorum has signed a document that is here.
    pub(super) fn complete(&mut self) {
        let threshold = self.network.threshold();
        let quorums: Vec<_> = self
            .votes
            .values()
            .filter(|vote| self.chain.bytes(vote.epoch).is_none())
            .filter_map(|vote| vote.quorum(threshold))
            .collect();
        for (hash, assents) in quorums {
            if let Some(document) = self.documents.get(&hash) {
                let signatures = assents.iter().map(|a| (a.signer, a.signature));
                let consensus = Consensus {
                    document: document.clone(),
                    signatures: signatures.collect(),
                };
                self.adopt(consensus);
            }
        }
    }

    pub(super) fn adopt(&mut self, consensus: Consensus) {
        let (epoch, hash) = (consensus.document.epoch, consensus.document.hash());
        let document = consensus.document.clone();
        match self.chain.add(consensus) {
            Added::New => {
                self.keep_document(document);
                self.unsaved = true;
                self.events.push_back(Event::Consensus { epoch, hash });
            }
            Added::Nothing => {}
            Added::Conflict(evidence) => self.convict(Some(evidence)),
        }
    }

    /// The secret behind the commitment that the document of `epoch` carries.
    pub(super) fn share_after(&self, epoch: Epoch) -> Zeroizing<[u8; 32]> {
        self.identity.derive(SHARE_PURPOSE, epoch.0)
    }
}

const SHARE_PURPOSE: &str = "subrosa 2026-11 beacon share";
