//! The vote as a state machine without I/O (docs/spec/directory.md, 6).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use directory::{
    Consensus, Document, DocumentHash, Identity, Network, Schedule, commitment, sign_document,
};
use thiserror::Error;
use wire::{Call, CallRefused, Decode, DecodeError, Encode, Epoch, NodeId, Reply, Time};
use zeroize::Zeroizing;

use crate::Registry;
use crate::ballot::{Assent, Ballot, BallotReply, List, Reveal};
use crate::chain::{Added, Chain};
use crate::evidence::Evidence;
use crate::outbox::Outbox;
use crate::pool::Published;
use crate::record::Record;
use crate::vote::{News, Stage, Unready, Vote};

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

/// Calls from others.
impl Authority {
    fn publish(&mut self, now: Time, bytes: &[u8]) -> Reply {
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

    fn hear(&mut self, now: Time, from: NodeId, ballot: Ballot) -> Reply {
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
    fn hear_list(&mut self, now: Time, from: NodeId, list: List) -> Result<(), CallRefused> {
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
    fn hear_reveal(&mut self, now: Time, from: NodeId, reveal: Reveal) -> Result<(), CallRefused> {
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
    fn hear_assent(&mut self, now: Time, from: NodeId, assent: Assent) -> Result<(), CallRefused> {
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

    fn show_descriptors(&self, now: Time, hashes: &[directory::DescriptorHash]) -> Reply {
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

    fn show_document(&self, hash: DocumentHash) -> Reply {
        let held = self.documents.get(&hash).map(Encode::to_bytes);
        let reply = match held.or_else(|| self.chain.document(&hash)) {
            Some(bytes) => BallotReply::Document(bytes),
            None => BallotReply::NoDocument(hash),
        };
        Reply::Ballot(reply.to_bytes())
    }

    /// Ballots are for the vote under way, or, from a clock a little ahead, for the next.
    fn check_epoch(&self, now: Time, epoch: Epoch) -> Result<(), CallRefused> {
        let open = self.schedule.open_for(now);
        let soon = now.after(self.schedule.step()) >= self.schedule.lists_at(open);
        if Some(epoch) == open.previous().filter(|e| e.0 > 0) || (epoch == open && soon) {
            Ok(())
        } else {
            Err(CallRefused::WrongEpoch)
        }
    }
}

/// The own part in a vote.
impl Authority {
    fn advance(&mut self, now: Time) {
        self.next_vote = self.schedule.lists_at(self.schedule.open_for(now));
        let Some(voting) = self.voting(now) else {
            return;
        };
        self.votes.retain(|epoch, _| *epoch >= voting);
        if self.vote(voting).stage == Stage::Gathering {
            self.prune_documents();
            if voting > self.voted && now < self.schedule.exchange_at(voting) {
                self.sign_list(now, voting);
            } else {
                self.abstain(voting, Abstention::Late);
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

    fn sign_list(&mut self, now: Time, epoch: Epoch) {
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

    fn pass_on_lists(&mut self, now: Time, epoch: Epoch) {
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

    fn sign_reveal(&mut self, now: Time, epoch: Epoch) {
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

    fn pass_on_reveals(&mut self, now: Time, epoch: Epoch) {
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
    fn sign_document(&mut self, now: Time, epoch: Epoch) {
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
    fn assent(&mut self, document: &Document) -> Assent {
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

    fn abstain(&mut self, epoch: Epoch, why: Abstention) {
        self.vote(epoch).stage = Stage::Watching;
        self.events.push_back(Event::Abstained { epoch, why });
    }

    /// Makes a consensus where a quorum has signed a document that is here.
    fn complete(&mut self) {
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

    fn adopt(&mut self, consensus: Consensus) {
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
    fn share_after(&self, epoch: Epoch) -> Zeroizing<[u8; 32]> {
        self.identity.derive(SHARE_PURPOSE, epoch.0)
    }
}

/// Fetching what others have.
impl Authority {
    fn fetch_descriptors(&mut self, now: Time) {
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

    fn take_descriptors(&mut self, now: Time, from: NodeId, bodies: &[Vec<u8>]) {
        let network = Arc::clone(&self.network);
        let Some(mut entry) = self.votes.first_entry() else {
            return;
        };
        let vote = entry.get_mut();
        let wanted = vote.wanted_of(&from, &network);
        let mut shown = BTreeSet::new();
        let mut evidence = Vec::new();
        for bytes in bodies {
            let named = directory::DescriptorHash::of_bytes(bytes);
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

    fn fetch_document(&mut self, now: Time) {
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

    fn take_document(&mut self, bytes: &[u8]) {
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
    fn missing_document(&self) -> Option<DocumentHash> {
        let threshold = self.network.threshold();
        let continued = self.votes.values().filter_map(Vote::previous);
        let agreed = self.votes.values().filter_map(|v| v.quorum(threshold));
        continued
            .map(|previous| previous.hash)
            .chain(agreed.map(|(hash, _)| hash))
            .find(|hash| !self.documents.contains_key(hash))
    }

    fn fetch_consensus(&mut self, now: Time) {
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
            let call = if self.sync.attempts % 2 == 0 {
                Call::Document(epoch)
            } else {
                Call::NewestDocument
            };
            self.calls.push_back((peer, call));
        }
    }

    fn take_consensus(&mut self, now: Time, bytes: &[u8]) {
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
    fn due_epoch(&self, now: Time) -> Option<Epoch> {
        let current = self.schedule.epoch_at(now);
        let next = current.map_or(Epoch(1), |epoch| epoch.next());
        if now >= self.schedule.fetch_at(next) {
            Some(next)
        } else {
            current
        }
    }

    /// Nothing is missing: look again when the next document is due.
    fn plan_sync(&mut self, now: Time) {
        let current = self.schedule.epoch_at(now);
        let next = current.map_or(Epoch(1), |epoch| epoch.next());
        let newest = self.chain.newest_epoch().unwrap_or(Epoch(0));
        self.sync.attempts = 0;
        self.sync.due = self.schedule.fetch_at(next.max(newest.next()));
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

const SHARE_PURPOSE: &str = "subrosa 2026-11 beacon share";
