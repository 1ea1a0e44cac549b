//! What a run came to.

use std::time::Duration;

use client::QueryError;
use wire::{Epoch, Ledger};

use crate::links::LinkCounts;
use crate::scenario::Node;

/// How a question ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// With an answer.
    Answered {
        /// Whether it is bit for bit what the model's reference says.
        exact: bool,
        /// From question to answer.
        latency: Duration,
        /// How often it was sent.
        attempts: u32,
    },
    /// With its typed error.
    Failed(QueryError),
    /// The client crashed with it.
    Crashed,
}

/// A question and its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuestionReport {
    /// When it was asked, from genesis.
    pub at: Duration,
    /// How long after that it ended; `None` if it never did.
    pub ended_after: Option<Duration>,
    /// How.
    pub ending: Option<Ending>,
}

/// One node's account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeReport {
    /// Who.
    pub node: Node,
    /// Its packets since the beginning, crashes included.
    pub ledger: Ledger,
    /// What it held at the end.
    pub held: u64,
    /// How often it crashed.
    pub crashes: u64,
}

/// A node whose account did not balance at a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imbalance {
    /// When, from the beginning.
    pub at: Duration,
    /// Whose; `None` for the links' account against the nodes'.
    pub node: Option<Node>,
}

/// What a run came to. Two runs of one scenario are equal in every field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// BLAKE3 over every event, with its time and content, and every account at the end.
    pub digest: [u8; 32],
    /// How many events there were.
    pub events: u64,
    /// Every node.
    pub nodes: Vec<NodeReport>,
    /// All links together.
    pub links: LinkCounts,
    /// Accounts that did not balance; none in a run that is right.
    pub imbalances: Vec<Imbalance>,
    /// How often all accounts were checked.
    pub checkpoints: u64,
    /// Every question.
    pub questions: Vec<QuestionReport>,
    /// The newest epoch whose document some authority served.
    pub newest_epoch: Epoch,
}

impl Report {
    /// All nodes' accounts together.
    #[must_use]
    pub fn total(&self) -> Ledger {
        let mut total = Ledger::default();
        self.nodes.iter().for_each(|node| total.merge(&node.ledger));
        total
    }

    /// Questions that were answered exactly.
    #[must_use]
    pub fn answered(&self) -> usize {
        let exact =
            |q: &&QuestionReport| matches!(q.ending, Some(Ending::Answered { exact: true, .. }));
        self.questions.iter().filter(exact).count()
    }

    /// The latencies of answered questions, shortest first.
    #[must_use]
    pub fn latencies(&self) -> Vec<Duration> {
        let latency = |question: &QuestionReport| match question.ending {
            Some(Ending::Answered { latency, .. }) => Some(latency),
            _ => None,
        };
        let mut latencies: Vec<_> = self.questions.iter().filter_map(latency).collect();
        latencies.sort_unstable();
        latencies
    }
}
