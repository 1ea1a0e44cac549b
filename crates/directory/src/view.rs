//! What one participant believes about the network, and what it refuses to.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

use wire::{Encode, Epoch, Time};

use crate::{
    BadConsensus, Consensus, DirectoryError, Document, DocumentHash, Network, Schedule, Topology,
    UnsafeTopology,
};

/// The newest documents that a participant verified (docs/spec/directory.md, 9).
///
/// Once two documents of one epoch were seen, both genuine, nothing is current any more: the
/// authorities cannot be trusted, and somebody has to look at [`View::evidence`].
pub struct View {
    network: Arc<Network>,
    schedule: Schedule,
    held: VecDeque<Held>,
    evidence: Option<Box<(Consensus, Consensus)>>,
}

struct Held {
    consensus: Consensus,
    bytes: Vec<u8>,
    document: Arc<Document>,
    hash: DocumentHash,
    own: OnceLock<Result<Arc<Topology>, UnsafeTopology>>,
    grace: OnceLock<Result<Arc<Topology>, UnsafeTopology>>,
}

impl View {
    /// How many documents are kept to find equivocation and to serve: the newest ones.
    pub const DEPTH: usize = 4;

    /// Knows nothing yet.
    #[must_use]
    pub fn new(network: Arc<Network>) -> Self {
        let schedule = network.schedule();
        Self {
            network,
            schedule,
            held: VecDeque::new(),
            evidence: None,
        }
    }

    /// Takes a consensus from anywhere: nothing in it is believed that t authorities did not
    /// sign. Returns the topology of its own epoch, which may start later; a consensus held
    /// already is no error.
    ///
    /// # Errors
    /// [`DirectoryError`]: not genuine, out of its time, a rollback, a broken chain, an
    /// equivocation, or genuine but unsafe to send by (it is then held all the same).
    pub fn accept(&mut self, now: Time, bytes: &[u8]) -> Result<Arc<Topology>, DirectoryError> {
        let consensus = Consensus::read(bytes)?;
        let hash = consensus.document.hash();
        let epoch = consensus.document.epoch;
        // The same document under other signatures is no news.
        if let Some(held) = self.of(epoch).filter(|held| held.hash == hash) {
            return Ok(held.topology()?);
        }
        consensus
            .verify(&self.network)
            .map_err(DirectoryError::from)?;
        if let Some(held) = self.of(epoch) {
            let both = (held.consensus.clone(), consensus);
            self.evidence.get_or_insert_with(|| Box::new(both));
            return Err(DirectoryError::Equivocation(epoch));
        }
        self.check_time(now, epoch)?;
        self.check_chain(&consensus.document)?;
        let held = Held::new(consensus, bytes.to_vec(), hash);
        let topology = held.topology();
        self.held.push_back(held);
        if self.held.len() > Self::DEPTH {
            self.held.pop_front();
        }
        Ok(topology?)
    }

    /// The topology to send by at `now`: of this epoch's document or, for its grace, of the
    /// newest before it with the keys of this epoch.
    ///
    /// # Errors
    /// [`DirectoryError`]; the caller sends nothing then.
    pub fn current(&self, now: Time) -> Result<Arc<Topology>, DirectoryError> {
        self.trusted()?;
        let epoch = self
            .schedule
            .epoch_at(now)
            .ok_or(DirectoryError::NotBegun)?;
        let newest = self
            .held
            .iter()
            .rev()
            .find(|held| held.document.epoch <= epoch)
            .ok_or(DirectoryError::NoDocument)?;
        let age = epoch.0 - newest.document.epoch.0;
        match age {
            0 => Ok(newest.topology()?),
            1 if newest.document.parameters.grace >= 1 => Ok(newest.grace_topology()?),
            epochs => Err(DirectoryError::Stale { epochs }),
        }
    }

    /// The topology of `epoch`, if its own document is held: to set up links before it starts,
    /// and to finish what began before it ended.
    ///
    /// # Errors
    /// [`DirectoryError`]; [`DirectoryError::NoDocument`] if it is not held.
    pub fn topology(&self, epoch: Epoch) -> Result<Arc<Topology>, DirectoryError> {
        self.trusted()?;
        let held = self.of(epoch).ok_or(DirectoryError::NoDocument)?;
        Ok(held.topology()?)
    }

    /// The newest consensus held, encoded.
    #[must_use]
    pub fn newest(&self) -> Option<(Epoch, &[u8])> {
        let held = self.held.back()?;
        Some((held.document.epoch, &held.bytes))
    }

    /// The consensus of `epoch`, encoded, if it is among the newest held.
    #[must_use]
    pub fn consensus(&self, epoch: Epoch) -> Option<&[u8]> {
        self.of(epoch).map(|held| held.bytes.as_slice())
    }

    /// Two genuine documents of one epoch, if they were ever seen.
    #[must_use]
    pub fn evidence(&self) -> Option<&(Consensus, Consensus)> {
        self.evidence.as_deref()
    }

    /// The network that it is a view of.
    #[must_use]
    pub fn network(&self) -> &Arc<Network> {
        &self.network
    }

    fn trusted(&self) -> Result<(), DirectoryError> {
        match &self.evidence {
            Some(both) => Err(DirectoryError::Equivocation(both.0.document.epoch)),
            None => Ok(()),
        }
    }

    fn of(&self, epoch: Epoch) -> Option<&Held> {
        self.held.iter().find(|held| held.document.epoch == epoch)
    }

    fn check_time(&self, now: Time, epoch: Epoch) -> Result<(), BadConsensus> {
        if now < self.schedule.sign_at(epoch) {
            return Err(BadConsensus::TooEarly(epoch));
        }
        if let Some(held) = self.held.back()
            && epoch < held.document.epoch
        {
            return Err(BadConsensus::Rollback {
                found: epoch,
                held: held.document.epoch,
            });
        }
        let grace = u64::from(self.network.parameters().grace);
        let last = Epoch(epoch.0.saturating_add(grace));
        if now >= self.schedule.end(last) {
            return Err(BadConsensus::Expired(epoch));
        }
        Ok(())
    }

    /// A document continues the newest one held, unless it names one in between.
    fn check_chain(&self, document: &Document) -> Result<(), BadConsensus> {
        let previous = document.previous;
        let (epoch, hash) = match self.held.back() {
            Some(held) => (held.document.epoch, held.hash),
            None => (Epoch(0), DocumentHash(*self.network.id())),
        };
        let continues = match previous.epoch.cmp(&epoch) {
            std::cmp::Ordering::Greater => true,
            std::cmp::Ordering::Equal => previous.hash == hash,
            std::cmp::Ordering::Less => false,
        };
        if continues {
            Ok(())
        } else {
            Err(BadConsensus::BrokenChain(epoch))
        }
    }
}

impl Held {
    fn new(consensus: Consensus, bytes: Vec<u8>, hash: DocumentHash) -> Self {
        debug_assert!(consensus.to_bytes() == bytes);
        Self {
            document: Arc::new(consensus.document.clone()),
            consensus,
            bytes,
            hash,
            own: OnceLock::new(),
            grace: OnceLock::new(),
        }
    }

    fn topology(&self) -> Result<Arc<Topology>, UnsafeTopology> {
        let epoch = self.document.epoch;
        self.own
            .get_or_init(|| Topology::new(Arc::clone(&self.document), epoch))
            .clone()
    }

    fn grace_topology(&self) -> Result<Arc<Topology>, UnsafeTopology> {
        let epoch = self.document.epoch.next();
        self.grace
            .get_or_init(|| Topology::new(Arc::clone(&self.document), epoch))
            .clone()
    }
}
