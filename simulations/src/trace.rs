//! Everything that happened, as one hash: two runs are the same if their traces are.

use link::Frame;
use wire::{Ledger, Time};

use crate::report::Ending;
use crate::scenario::Node;

/// The hash so far.
#[derive(Default)]
pub(crate) struct Trace {
    hasher: blake3::Hasher,
    events: u64,
}

impl Trace {
    pub(crate) fn node(&mut self, at: Time, what: &[u8], node: Node) {
        self.bytes(at, node, what, &[]);
    }

    pub(crate) fn frame(&mut self, at: Time, to: Node, frame: &Frame) {
        self.bytes(at, to, b"frame", frame.as_bytes());
    }

    pub(crate) fn bytes(&mut self, at: Time, node: Node, what: &[u8], bytes: &[u8]) {
        self.events += 1;
        self.number(at.as_nanos());
        self.number(crate::seat::stream(node));
        self.part(what);
        self.part(bytes);
    }

    pub(crate) fn ending(&mut self, at: Time, number: usize, ending: &Ending) {
        self.events += 1;
        self.number(at.as_nanos());
        self.number(number as u64);
        self.part(format!("{ending:?}").as_bytes());
    }

    pub(crate) fn account(&mut self, node: Node, ledger: &Ledger, held: u64) {
        self.number(crate::seat::stream(node));
        let Ledger {
            received,
            made,
            sent,
            consumed,
            refused,
            lost,
        } = ledger;
        for count in [*received, *made, *sent, *consumed, *lost, held] {
            self.number(count);
        }
        for (refusal, count) in refused.iter() {
            self.part(refusal.label().as_bytes());
            self.number(count);
        }
    }

    pub(crate) fn finish(&self) -> ([u8; 32], u64) {
        (*self.hasher.finalize().as_bytes(), self.events)
    }

    fn number(&mut self, number: u64) {
        self.hasher.update(&number.to_be_bytes());
    }

    fn part(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.hasher.update(bytes);
    }
}
