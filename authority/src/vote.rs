//! What an authority has heard of one epoch's vote, and what follows from it.
//!
//! Lists and reveals are each spread in two rounds: from the author, then by everybody who heard
//! it. With one authority lying, all honest ones end up with the same (Dolev and Strong, 1983):
//! what one of them accepts in the first round it passes on to all in the second, and what it
//! accepts in the second was passed on by another than its author.

use std::collections::{BTreeMap, BTreeSet};

use directory::{
    Descriptor, DescriptorHash, Document, DocumentHash, Network, Previous, Settled, Subject,
};
use wire::{Epoch, NodeId};

use crate::ballot::{Assent, List, MAX_FETCH, Reveal};
use crate::pool::Pool;

/// One epoch's vote.
pub(crate) struct Vote {
    pub(crate) epoch: Epoch,
    pub(crate) stage: Stage,
    pub(crate) pool: Pool,
    pub(crate) lists: Heard<List>,
    pub(crate) reveals: Heard<Reveal>,
    pub(crate) assents: Heard<Assent>,
    /// Descriptors that an authority lists and could not show.
    absent: BTreeSet<(NodeId, DescriptorHash)>,
    /// How many descriptors that few list were asked of each authority.
    asked: BTreeMap<NodeId, usize>,
}

/// What this authority has done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// Takes descriptors.
    Gathering,
    /// Has signed its list.
    Listed,
    /// Has passed on the lists.
    Exchanged,
    /// Has revealed its share.
    Revealed,
    /// Has passed on the reveals.
    Relayed,
    /// Has signed the document.
    Signed,
    /// Takes no part, and waits for what the others make of it.
    Watching,
}

/// What was heard of each author: one statement, or two that exclude each other.
pub(crate) struct Heard<T>(BTreeMap<NodeId, (T, Option<T>)>);

/// What a statement added to those heard before.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum News<T> {
    /// The first of its author.
    First,
    /// Known, or not needed any more.
    None,
    /// The second of its author.
    Conflict(T, T),
}

/// Why there is no document to sign yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unready {
    /// The document to continue is not here.
    Previous(DocumentHash),
    /// A descriptor that enough authorities list is not here.
    Descriptor,
}

impl Vote {
    pub(crate) fn new(epoch: Epoch) -> Self {
        Self {
            epoch,
            stage: Stage::Gathering,
            pool: Pool::new(epoch),
            lists: Heard::default(),
            reveals: Heard::default(),
            assents: Heard::default(),
            absent: BTreeSet::new(),
            asked: BTreeMap::new(),
        }
    }

    /// The newest document that any list proves; `None` before the first.
    pub(crate) fn previous(&self) -> Option<Previous> {
        let proofs = self
            .lists
            .single()
            .filter_map(|list| list.previous.as_ref());
        proofs.map(|proof| proof.document).max()
    }

    /// The document that all of this makes.
    pub(crate) fn compute(
        &self,
        network: &Network,
        documents: &BTreeMap<DocumentHash, Document>,
    ) -> Result<Document, Unready> {
        let before = match self.previous() {
            None => None,
            Some(previous) => Some(
                documents
                    .get(&previous.hash)
                    .ok_or(Unready::Previous(previous.hash))?,
            ),
        };
        let (descriptors, mut doubled) = self.set(network.threshold())?;
        doubled.extend(self.proven(network));
        let commitments = self.lists.single().map(|l| (l.author, l.commitment));
        let shares = self.reveals.single().map(|r| (r.author, r.share));
        Ok(Document::compute(
            network,
            &Settled {
                epoch: self.epoch,
                before,
                descriptors: &descriptors,
                doubled: &doubled,
                commitments: &commitments.collect(),
                shares: &shares.collect(),
            },
        ))
    }

    /// Descriptors to ask of `peer`, who lists them: those that an honest authority lists
    /// first, and of the others so many that a liar cannot keep us busy.
    pub(crate) fn wanted_of(&self, peer: &NodeId, network: &Network) -> Vec<DescriptorHash> {
        let Some((list, _)) = self.lists.0.get(peer) else {
            return Vec::new();
        };
        let honest = honest(network);
        let counts = self.counts();
        let lacking = list
            .descriptors
            .iter()
            .filter(|hash| !self.pool.holds(hash) && !self.absent.contains(&(*peer, **hash)));
        let (mut wanted, mut few): (Vec<_>, Vec<_>) =
            lacking.partition(|hash| counts.get(hash).is_some_and(|count| *count >= honest));
        few.truncate(MINORITY.saturating_sub(self.asked.get(peer).copied().unwrap_or(0)));
        wanted.append(&mut few);
        wanted.truncate(MAX_FETCH);
        wanted
    }

    /// Notes that `peer` was asked for `wanted` and showed `shown`.
    pub(crate) fn fetched(
        &mut self,
        peer: NodeId,
        wanted: &[DescriptorHash],
        shown: &BTreeSet<DescriptorHash>,
        network: &Network,
    ) {
        let honest = honest(network);
        let counts = self.counts();
        let few = |hash: &&DescriptorHash| counts.get(*hash).is_none_or(|count| *count < honest);
        *self.asked.entry(peer).or_default() += wanted.iter().filter(few).count();
        let missing = wanted.iter().filter(|hash| !shown.contains(hash));
        self.absent.extend(missing.map(|hash| (peer, *hash)));
    }

    /// Whether the own part in this vote is under way.
    pub(crate) fn takes_part(&self) -> bool {
        !matches!(
            self.stage,
            Stage::Gathering | Stage::Signed | Stage::Watching
        )
    }

    /// The document that at least `threshold` authorities signed, with their assents.
    pub(crate) fn quorum(&self, threshold: usize) -> Option<(DocumentHash, Vec<Assent>)> {
        let mut by_hash: BTreeMap<DocumentHash, Vec<Assent>> = BTreeMap::new();
        for assent in self.assents.single() {
            by_hash.entry(assent.hash).or_default().push(*assent);
        }
        by_hash
            .into_iter()
            .find(|(_, assents)| assents.len() >= threshold)
    }

    /// How many lists name each descriptor.
    fn counts(&self) -> BTreeMap<DescriptorHash, usize> {
        let mut counts = BTreeMap::new();
        for hash in self.lists.single().flat_map(|list| &list.descriptors) {
            *counts.entry(*hash).or_default() += 1;
        }
        counts
    }

    /// What at least `threshold` lists name. A subject with two of them would be doubled.
    fn set(
        &self,
        threshold: usize,
    ) -> Result<(BTreeMap<Subject, Descriptor>, BTreeSet<Subject>), Unready> {
        let mut set = BTreeMap::new();
        let mut doubled = BTreeSet::new();
        for (hash, count) in self.counts() {
            if count < threshold {
                continue;
            }
            let body = self.pool.get(&hash).ok_or(Unready::Descriptor)?;
            let subject = body.descriptor.subject();
            if set.insert(subject, body.descriptor.clone()).is_some() {
                doubled.insert(subject);
            }
        }
        Ok((set, doubled))
    }

    /// Subjects that a reveal proves to have signed two descriptors.
    fn proven(&self, network: &Network) -> BTreeSet<Subject> {
        let pairs = self.reveals.single().flat_map(|reveal| &reveal.doubled);
        pairs
            .filter_map(|doubled| doubled.subject(network, self.epoch))
            .collect()
    }
}

impl<T> Default for Heard<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T: Clone + PartialEq> Heard<T> {
    /// Whether `statement` would add nothing.
    pub(crate) fn knows(&self, author: &NodeId, statement: &T) -> bool {
        match self.0.get(author) {
            None => false,
            Some((first, second)) => second.is_some() || first == statement,
        }
    }

    /// Takes a genuine statement.
    pub(crate) fn hear(&mut self, author: NodeId, statement: T) -> News<T> {
        if self.knows(&author, &statement) {
            return News::None;
        }
        match self.0.get_mut(&author) {
            None => {
                self.0.insert(author, (statement, None));
                News::First
            }
            Some((first, second)) => {
                *second = Some(statement.clone());
                News::Conflict(first.clone(), statement)
            }
        }
    }

    /// The statements of authors who made one only.
    pub(crate) fn single(&self) -> impl Iterator<Item = &T> {
        self.0
            .values()
            .filter_map(|(first, second)| second.is_none().then_some(first))
    }

    /// Every statement, with its author.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&NodeId, &T)> {
        self.0.iter().flat_map(|(author, (first, second))| {
            std::iter::once((author, first)).chain(second.iter().map(move |s| (author, s)))
        })
    }
}

/// Of so many authorities at least one is honest.
fn honest(network: &Network) -> usize {
    network.authorities().len() - network.threshold() + 1
}

/// Most descriptors that few list to ask of one authority in one vote.
const MINORITY: usize = 64;
