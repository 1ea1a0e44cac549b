//! The descriptors of one epoch that an authority holds.

use std::collections::BTreeMap;

use directory::{Descriptor, DescriptorHash, Document, Network, NodeDescriptor, Subject};
use wire::{CallRefused, Epoch, NodeId};

use crate::Registry;
use crate::ballot::{Doubled, Reveal};
use crate::evidence::Evidence;

/// What was published here, and what was fetched because others list it.
pub(crate) struct Pool {
    epoch: Epoch,
    /// Published here: what the own list names.
    published: BTreeMap<Subject, DescriptorHash>,
    /// The first descriptor seen of each subject.
    first: BTreeMap<Subject, DescriptorHash>,
    bodies: BTreeMap<DescriptorHash, Body>,
    doubled: BTreeMap<Subject, Doubled>,
    /// Names, addresses and Sphinx keys taken by published nodes.
    marks: BTreeMap<Vec<u8>, NodeId>,
    nodes: usize,
    services: usize,
}

/// What came of a descriptor that was published.
pub(crate) enum Published {
    /// Held, now or before.
    Taken,
    /// Another one of the same subject is held; evidence, if that is news.
    Doubled(Option<Evidence>),
    /// Not held.
    Refused(CallRefused),
}

pub(crate) struct Body {
    pub(crate) descriptor: Descriptor,
    pub(crate) bytes: Vec<u8>,
}

impl Pool {
    pub(crate) fn new(epoch: Epoch) -> Self {
        Self {
            epoch,
            published: BTreeMap::new(),
            first: BTreeMap::new(),
            bodies: BTreeMap::new(),
            doubled: BTreeMap::new(),
            marks: BTreeMap::new(),
            nodes: 0,
            services: 0,
        }
    }

    /// Takes a descriptor that its subject published here. `taken` names the marks of the
    /// newest document and their holders.
    pub(crate) fn publish(
        &mut self,
        bytes: &[u8],
        network: &Network,
        taken: &BTreeMap<Vec<u8>, NodeId>,
        registry: &dyn Registry,
    ) -> Published {
        if self.published_bytes(bytes) {
            return Published::Taken;
        }
        let Ok(descriptor) = Descriptor::open(bytes, network.parameters()) else {
            return Published::Refused(CallRefused::Invalid);
        };
        if descriptor.epoch() != self.epoch {
            return Published::Refused(CallRefused::WrongEpoch);
        }
        if !registry.admits(&descriptor) {
            return Published::Refused(CallRefused::Invalid);
        }
        let (subject, hash) = (descriptor.subject(), descriptor.hash());
        match self.first.get(&subject) {
            Some(first) if *first == hash => Published::Taken,
            Some(_) => Published::Doubled(self.doubling(&descriptor, bytes)),
            None => match self.make_room(&descriptor, taken) {
                Err(why) => Published::Refused(why),
                Ok(()) => {
                    self.published.insert(subject, hash);
                    self.keep(hash, descriptor, bytes);
                    Published::Taken
                }
            },
        }
    }

    /// Takes a descriptor that another authority lists and sent on request.
    pub(crate) fn take_fetched(
        &mut self,
        bytes: &[u8],
        network: &Network,
    ) -> Option<(DescriptorHash, Option<Evidence>)> {
        let descriptor = Descriptor::open(bytes, network.parameters()).ok()?;
        let hash = descriptor.hash();
        if descriptor.epoch() != self.epoch || self.bodies.contains_key(&hash) {
            return None;
        }
        let evidence = self.doubling(&descriptor, bytes);
        self.keep(hash, descriptor, bytes);
        Some((hash, evidence))
    }

    /// What the own list names: published here, and not known to be doubled.
    pub(crate) fn list(&self) -> Vec<DescriptorHash> {
        let clean = self
            .published
            .iter()
            .filter(|(subject, _)| !self.doubled.contains_key(subject));
        let mut hashes: Vec<DescriptorHash> = clean.map(|(_, hash)| *hash).collect();
        hashes.sort_unstable();
        hashes
    }

    pub(crate) fn get(&self, hash: &DescriptorHash) -> Option<&Body> {
        self.bodies.get(hash)
    }

    pub(crate) fn holds(&self, hash: &DescriptorHash) -> bool {
        self.bodies.contains_key(hash)
    }

    /// Whether these very bytes were published before: no need to check them again.
    fn published_bytes(&self, bytes: &[u8]) -> bool {
        let held = self.bodies.get(&DescriptorHash::of_bytes(bytes));
        held.is_some_and(|body| self.published.contains_key(&body.descriptor.subject()))
    }

    /// As many doubled descriptors as a reveal has room for.
    pub(crate) fn doubled(&self) -> Vec<Doubled> {
        let mut room = Reveal::MAX_DOUBLED_BYTES;
        let fitting = self.doubled.values().filter(|doubled| {
            let left = room.checked_sub(doubled.len_bytes());
            room = left.unwrap_or(room);
            left.is_some()
        });
        fitting.take(Reveal::MAX_DOUBLED).cloned().collect()
    }

    /// Evidence, if this genuine descriptor is the second one of its subject. A third proves
    /// nothing new.
    fn doubling(&mut self, descriptor: &Descriptor, bytes: &[u8]) -> Option<Evidence> {
        let subject = descriptor.subject();
        let held = self.bodies.get(self.first.get(&subject)?)?;
        if held.descriptor == *descriptor || self.doubled.contains_key(&subject) {
            return None;
        }
        let doubled = Doubled {
            first: held.bytes.clone(),
            second: bytes.to_vec(),
        };
        let both = (held.descriptor.clone(), descriptor.clone());
        self.doubled.insert(subject, doubled);
        Some(Evidence::TwoDescriptors(Box::new(both)))
    }

    fn keep(&mut self, hash: DescriptorHash, descriptor: Descriptor, bytes: &[u8]) {
        self.first.entry(descriptor.subject()).or_insert(hash);
        let bytes = bytes.to_vec();
        self.bodies.insert(hash, Body { descriptor, bytes });
    }

    /// Whether the pool has room for a new subject, and its marks are free.
    fn make_room(
        &mut self,
        descriptor: &Descriptor,
        taken: &BTreeMap<Vec<u8>, NodeId>,
    ) -> Result<(), CallRefused> {
        match descriptor {
            Descriptor::Node(node) => {
                if self.nodes >= Document::MAX_NODES {
                    return Err(CallRefused::Busy);
                }
                self.take_marks(node, taken)?;
                self.nodes += 1;
            }
            Descriptor::Service(_) => {
                if self.services >= Document::MAX_SERVICES {
                    return Err(CallRefused::Busy);
                }
                self.services += 1;
            }
        }
        Ok(())
    }

    fn take_marks(
        &mut self,
        node: &NodeDescriptor,
        taken: &BTreeMap<Vec<u8>, NodeId>,
    ) -> Result<(), CallRefused> {
        let marks: Vec<Vec<u8>> = node.marks().collect();
        let another = |holder: Option<&NodeId>| holder.is_some_and(|id| *id != node.id);
        if marks
            .iter()
            .any(|mark| another(self.marks.get(mark)) || another(taken.get(mark)))
        {
            return Err(CallRefused::Invalid);
        }
        for mark in marks {
            self.marks.insert(mark, node.id);
        }
        Ok(())
    }
}
