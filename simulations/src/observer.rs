//! Who watches every link: when a frame leaves one node for another, and nothing of what is in it.

use std::time::Duration;

use crate::scenario::Node;

/// A frame that was put on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sighting {
    /// When, from genesis.
    pub at: Duration,
    /// Whose.
    pub from: Node,
    /// For whom.
    pub to: Node,
}

/// Sees every frame of a run from genesis on.
pub trait Observer {
    /// A frame was put on a link.
    fn sees(&mut self, sighting: Sighting);

    /// What no observer sees: a packet of a question that somebody asked is on its first link,
    /// or on its last. For attacks that are given it, to show what cover is worth.
    fn is_told(&mut self, question: Sighting) {
        let _ = question;
    }
}

/// Nobody watches.
pub(crate) struct Nobody;

impl Observer for Nobody {
    fn sees(&mut self, _: Sighting) {}
}
