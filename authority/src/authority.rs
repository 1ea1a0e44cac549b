//! The vote as a state machine without I/O (docs/spec/directory.md, 6).

mod calls;
mod clock;
mod fetch;
mod steps;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use directory::{
    ClockCheck, ClockSkew, Consensus, Document, DocumentHash, Identity, Network, Schedule,
};
use thiserror::Error;
use wire::{Call, CallRefused, Decode, DecodeError, Encode, Epoch, NodeId, Reply, Time};

use crate::Registry;
use crate::ballot::{Ballot, BallotReply};
use crate::chain::Chain;
use crate::evidence::Evidence;
use crate::outbox::Outbox;
use crate::record::Record;
use crate::vote::{Stage, Vote};

/// One authority of a network.
///
/// After every `handle_*` the driver takes [`Self::poll_persist`] and stores it before it sends
/// anything more; [`Self::poll_transmit`] keeps silent until that was taken.
pub struct Authority {
    identity: Identity,
    id: NodeId,
    network: Arc<Network>,
    schedule: Schedule,
    registry: Box<dyn Registry>,
    /// The vote under way, and the one that descriptors are gathered for.
    votes: BTreeMap<Epoch, Vote>,
    voted: Epoch,
    signed: Option<Document>,
    chain: Chain,
    /// Documents by hash, signed by a quorum or not: what votes continue and what peers ask for.
    documents: BTreeMap<DocumentHash, Document>,
    outbox: Outbox,
    fetches: BTreeMap<NodeId, Time>,
    document_fetch: Retry,
    sync: Retry,
    clock: ClockCheck,
    /// When the others' clocks are asked for next, and when they were last.
    clock_at: Time,
    clock_asked: Time,
    /// When the next vote begins, and when the document under way is tried again.
    next_vote: Time,
    sign_again: Time,
    unsaved: bool,
    calls: VecDeque<(NodeId, Call)>,
    events: VecDeque<Event>,
    evidence: Vec<Evidence>,
}

/// What the driver may log and count.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The own list is signed.
    Listed {
        /// The epoch voted on.
        epoch: Epoch,
        /// How many descriptors it names.
        descriptors: usize,
    },
    /// The document is signed.
    Signed {
        /// Its epoch.
        epoch: Epoch,
        /// Its hash.
        hash: DocumentHash,
    },
    /// A document with a quorum is held and served.
    Consensus {
        /// Its epoch.
        epoch: Epoch,
        /// Its hash.
        hash: DocumentHash,
    },
    /// This authority takes no part in a vote, or no further part.
    Abstained {
        /// The epoch voted on.
        epoch: Epoch,
        /// Why.
        why: Abstention,
    },
    /// Somebody signed what nobody honest signs; [`Authority::evidence`] has it too.
    Evidence(Box<Evidence>),
}

/// Why an authority does not sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Abstention {
    /// It came too late for the lists, or took part before it was restarted.
    #[error("started after the lists were signed")]
    Late,
    /// Its clock is too far from those of the others.
    #[error(transparent)]
    ClockSkew(#[from] ClockSkew),
    /// It has not got the document that this one continues.
    #[error("the document to continue is missing")]
    NoPrevious,
    /// It has not got a descriptor that enough authorities list.
    #[error("a listed descriptor is missing")]
    NoDescriptor,
}

/// Why a record cannot be restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// Not the bytes of a record.
    #[error("not an authority's record: {0}")]
    Malformed(#[from] DecodeError),
    /// Of another network.
    #[error("the record belongs to another network")]
    ForeignNetwork,
}

/// Something tried again at fixed gaps, at one peer after the other.
#[derive(Default)]
struct Retry {
    due: Time,
    attempts: usize,
}

impl Authority {
    /// Most pieces of evidence kept in memory; the first ones stay.
    pub const MAX_EVIDENCE: usize = 256;

    /// An authority that starts without a past. One that ever voted is [`Self::restore`]d.
    #[must_use]
    pub fn new(identity: Identity, network: Arc<Network>, registry: Box<dyn Registry>) -> Self {
        let clock = ClockCheck::of_authority(Arc::clone(&network), identity.node_id());
        Self {
            id: identity.node_id(),
            schedule: network.schedule(),
            identity,
            network,
            registry,
            votes: BTreeMap::new(),
            voted: Epoch(0),
            signed: None,
            chain: Chain::default(),
            documents: BTreeMap::new(),
            outbox: Outbox::default(),
            fetches: BTreeMap::new(),
            document_fetch: Retry::default(),
            sync: Retry::default(),
            clock,
            clock_at: Time::ZERO,
            clock_asked: Time::ZERO,
            next_vote: Time::ZERO,
            sign_again: Time::ZERO,
            unsaved: false,
            calls: VecDeque::new(),
            events: VecDeque::new(),
            evidence: Vec::new(),
        }
    }

    /// Takes up what [`Self::poll_persist`] last gave out. In a vote of which the record
    /// tells, it signs nothing more than it had signed.
    ///
    /// # Errors
    /// [`RestoreError`] if the bytes are not a record of this network.
    pub fn restore(&mut self, record: &[u8]) -> Result<(), RestoreError> {
        let record = Record::from_bytes(record)?;
        let documents = record.newest.iter().map(|consensus| &consensus.document);
        if documents
            .chain(&record.signed)
            .any(|document| document.network != *self.network.id())
        {
            return Err(RestoreError::ForeignNetwork);
        }
        self.voted = self.voted.max(record.voted);
        if let Some(document) = record.signed {
            let vote = self.vote(document.epoch);
            vote.stage = Stage::Watching;
            let assent = self.assent(&document);
            let until = self.schedule.lists_at(document.epoch.next());
            let peers = self.peers_but(self.id);
            self.outbox
                .send(Time::ZERO, &Ballot::Assent(assent), peers, until);
            self.signed = Some(document);
        }
        if let Some(consensus) = record.newest {
            self.keep_document(consensus.document.clone());
            self.chain.add(consensus);
        }
        Ok(())
    }

    /// Answers a call. `from` is the node that the link has authenticated, if any.
    pub fn handle_call(&mut self, now: Time, from: Option<NodeId>, call: &Call) -> Reply {
        match call {
            Call::NewestDocument => document_reply(self.chain.newest_bytes()),
            Call::Document(epoch) => document_reply(self.chain.bytes(*epoch)),
            Call::Publish(bytes) => self.publish(now, bytes),
            Call::Clocks => self.show_clock(now),
            Call::Ballot(bytes) => match from {
                Some(peer) if peer != self.id && self.network.authority(&peer).is_some() => {
                    match Ballot::from_bytes(bytes) {
                        Ok(ballot) => self.hear(now, peer, ballot),
                        Err(_) => Reply::Refused(CallRefused::Invalid),
                    }
                }
                _ => Reply::Refused(CallRefused::NotForThisNode),
            },
            _ => Reply::Refused(CallRefused::NotForThisNode),
        }
    }

    /// Takes the reply of `from` to a call that [`Self::poll_transmit`] gave out.
    pub fn handle_reply(&mut self, now: Time, from: NodeId, reply: &Reply) {
        match reply {
            Reply::Document(bytes) => self.take_consensus(now, bytes),
            Reply::Clocks(bytes) => self.hear_clock(now, from, bytes),
            Reply::Ballot(bytes) => match BallotReply::from_bytes(bytes) {
                Ok(BallotReply::Taken(digest)) => self.outbox.taken(from, digest),
                Ok(BallotReply::Descriptors(bodies)) => self.take_descriptors(now, from, &bodies),
                Ok(BallotReply::Document(body)) => self.take_document(&body),
                Ok(BallotReply::NoDocument(_)) | Err(_) => {}
            },
            _ => {}
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Time) {
        self.advance(now);
        let again = self.retry_gap();
        self.calls.extend(self.outbox.take_due(now, again));
        self.fetch_descriptors(now);
        self.fetch_document(now);
        self.fetch_consensus(now);
        self.ask_for_clocks(now);
    }

    /// When [`Self::handle_timeout`] is due next.
    #[must_use]
    pub fn poll_timeout(&self) -> Time {
        [
            Some(self.next_vote),
            self.next_stage_at(),
            self.outbox.poll_timeout(),
            self.next_fetch_at(),
            self.missing_document().map(|_| self.document_fetch.due),
            Some(self.sync.due),
            Some(self.clock_at),
        ]
        .into_iter()
        .flatten()
        .fold(Time::MAX, Time::min)
    }

    /// The next call to make. Nothing while there is something to store.
    pub fn poll_transmit(&mut self) -> Option<(NodeId, Call)> {
        if self.unsaved {
            return None;
        }
        self.calls.pop_front()
    }

    /// What has to be on disk before anything more is sent: a whole record, to replace the last.
    pub fn poll_persist(&mut self) -> Option<Vec<u8>> {
        if !std::mem::take(&mut self.unsaved) {
            return None;
        }
        let record = Record {
            voted: self.voted,
            signed: self.signed.clone(),
            newest: self.chain.newest().cloned(),
        };
        Some(record.to_bytes())
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// All evidence found since the start.
    #[must_use]
    pub fn evidence(&self) -> &[Evidence] {
        &self.evidence
    }

    /// The newest consensus that it holds.
    #[must_use]
    pub fn newest(&self) -> Option<&Consensus> {
        self.chain.newest()
    }

    /// Its identity.
    #[must_use]
    pub const fn id(&self) -> NodeId {
        self.id
    }
}

/// Small things.
impl Authority {
    /// The epoch whose vote is under way at `now`, from its lists to those of the next.
    fn voting(&self, now: Time) -> Option<Epoch> {
        let open = self.schedule.open_for(now);
        open.previous().filter(|epoch| epoch.0 > 0)
    }

    fn vote(&mut self, epoch: Epoch) -> &mut Vote {
        self.votes.entry(epoch).or_insert_with(|| Vote::new(epoch))
    }

    fn at(&self, epoch: Epoch, stage: Stage) -> bool {
        self.votes
            .get(&epoch)
            .is_some_and(|vote| vote.stage == stage)
    }

    /// When the next stage of the vote under way begins.
    fn next_stage_at(&self) -> Option<Time> {
        let (epoch, vote) = self.votes.first_key_value()?;
        let schedule = self.schedule;
        Some(match vote.stage {
            // Without the others' clocks nothing is signed: the next look at them, or the end.
            Stage::Gathering if !self.clock.knows(Time::ZERO) => {
                let lists = schedule.lists_at(*epoch);
                let ends = schedule.exchange_at(*epoch);
                lists.max(self.clock_at.min(ends))
            }
            Stage::Gathering => schedule.lists_at(*epoch),
            Stage::Listed => schedule.exchange_at(*epoch),
            Stage::Exchanged => schedule.reveal_at(*epoch),
            Stage::Revealed => schedule.relay_at(*epoch),
            Stage::Relayed => schedule.sign_at(*epoch).max(self.sign_again),
            Stage::Signed | Stage::Watching => schedule.lists_at(epoch.next()),
        })
    }

    /// When a listed descriptor is asked for next.
    fn next_fetch_at(&self) -> Option<Time> {
        let vote = self.votes.values().next()?;
        vote.takes_part()
            .then(|| self.fetches.values().min().copied())?
    }

    fn pass_on(&mut self, now: Time, heard: &[(NodeId, Ballot)], until: Time) {
        for (author, ballot) in heard {
            if *author != self.id {
                let peers = self.peers_but(*author);
                self.outbox.send(now, ballot, peers, until);
            }
        }
    }

    /// Every other authority, but `author`.
    fn peers_but(&self, author: NodeId) -> Vec<NodeId> {
        let ids = self.network.authorities().iter().map(|entry| entry.id);
        ids.filter(|id| *id != self.id && *id != author).collect()
    }

    fn retry_gap(&self) -> Duration {
        self.schedule.step() / 4
    }

    fn keep_document(&mut self, document: Document) {
        self.documents.insert(document.hash(), document);
    }

    /// Keeps the documents that the coming votes may continue or peers may ask for.
    fn prune_documents(&mut self) {
        let newest = self.chain.newest_epoch().unwrap_or(Epoch(0));
        self.documents
            .retain(|_, document| document.epoch >= newest);
    }

    fn convict(&mut self, evidence: Option<Evidence>) {
        if let Some(evidence) = evidence
            && self.evidence.len() < Self::MAX_EVIDENCE
        {
            self.evidence.push(evidence.clone());
            self.events.push_back(Event::Evidence(Box::new(evidence)));
        }
    }
}

impl Retry {
    /// The next peer to try.
    fn peer(&mut self, network: &Network, own: NodeId) -> Option<NodeId> {
        let ids = network.authorities().iter().map(|entry| entry.id);
        let peers: Vec<NodeId> = ids.filter(|id| *id != own).collect();
        let place = self.attempts.checked_rem(peers.len())?;
        self.attempts = self.attempts.wrapping_add(1);
        peers.get(place).copied()
    }
}

fn document_reply(bytes: Option<&[u8]>) -> Reply {
    match bytes {
        Some(bytes) => Reply::Document(bytes.to_vec()),
        None => Reply::Refused(CallRefused::NotYet),
    }
}
