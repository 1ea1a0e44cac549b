//! Sees what every node of one process saw, and says what that amounts to.
//!
//! Exists only in the demo and in tests: no node outside them is given a tap. It computes the
//! followed question and the table of who learnt what from the nodes' own sights alone.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use link::{Digest, Sight, Witness};
use wire::Time;

/// Collects the sights of all nodes, up to a bound.
#[derive(Default)]
pub struct Inspector {
    sights: Mutex<BTreeMap<String, Vec<Sight>>>,
}

impl Witness for Inspector {
    fn saw(&self, node: &str, sight: Sight) {
        let mut sights = self.sights.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = sights.entry(node.to_owned()).or_default();
        if seen.len() < MAX_SIGHTS {
            seen.push(sight);
        }
    }
}

/// One node's part in a packet's way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// The node, as the inspector knows it.
    pub node: String,
    /// When the packet came.
    pub came: Time,
    /// When it left; `None` where it ended.
    pub left: Option<Time>,
    /// How long the node was told to hold it.
    pub told: Option<Duration>,
    /// Packets held there at that moment.
    pub pool: Option<usize>,
}

/// A packet's way, from the node that sent it to the one where it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Journey {
    /// The node that sent it.
    pub from: String,
    /// When it left there.
    pub sent: Time,
    /// The nodes after that one.
    pub stages: Vec<Stage>,
}

impl Journey {
    /// Where the packet ended.
    #[must_use]
    pub fn end(&self) -> &str {
        self.stages.last().map_or(&self.from, |stage| &stage.node)
    }

    /// From the first sending to the last arrival.
    #[must_use]
    pub fn took(&self) -> Duration {
        self.stages
            .last()
            .map_or(Duration::ZERO, |stage| stage.came.since(self.sent))
    }
}

/// The accounts of all nodes, put together.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Accounts {
    /// Sent over links.
    pub sent: u64,
    /// Refused, by reason.
    pub refused: BTreeMap<String, u64>,
    /// Made, by kind.
    pub kinds: BTreeMap<String, u64>,
    /// Whether every node's last account balances.
    pub balanced: bool,
}

/// What would betray a question, as bytes that a node's plaintexts can be searched for.
pub struct Secrets {
    /// Where the asker's packets come from.
    pub address: SocketAddr,
    /// The mailbox that was asked.
    pub whom: Vec<u8>,
    /// The question as it is sent.
    pub question: Vec<u8>,
    /// The answer as it is sent.
    pub answer: Vec<u8>,
}

/// What one node learnt of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Knowledge {
    /// The asker's network address.
    pub address: bool,
    /// The mailbox asked.
    pub whom: bool,
    /// The question.
    pub question: bool,
    /// The answer.
    pub answer: bool,
}

impl Knowledge {
    /// What two nodes learnt, put together.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self {
            address: self.address || other.address,
            whom: self.whom || other.whom,
            question: self.question || other.question,
            answer: self.answer || other.answer,
        }
    }

    /// Whether it joins the asker to what was asked: what the network exists to prevent.
    #[must_use]
    pub const fn joins_asker_to_question(self) -> bool {
        self.address && (self.whom || self.question || self.answer)
    }
}

impl Inspector {
    /// The ways of the packets that `from` sent between two moments and that ended at `to`.
    #[must_use]
    pub fn journeys(&self, from: &str, to: &str, between: (Time, Time)) -> Vec<Journey> {
        let sights = self.sights.lock().unwrap_or_else(PoisonError::into_inner);
        let index = Index::of(&sights);
        let sent = sights
            .get(from)
            .into_iter()
            .flatten()
            .filter_map(|sight| match sight {
                Sight::FrameOut { at, digest, .. } if (between.0..=between.1).contains(at) => {
                    Some((*at, *digest))
                }
                _ => None,
            });
        sent.map(|(at, digest)| index.follow(from, at, digest))
            .filter(|journey| journey.end() == to)
            .collect()
    }

    /// What `node` learnt of a question, from everything that it saw.
    #[must_use]
    pub fn knowledge(&self, node: &str, secrets: &Secrets) -> Knowledge {
        let sights = self.sights.lock().unwrap_or_else(PoisonError::into_inner);
        let mut knowledge = Knowledge::default();
        for sight in sights.get(node).into_iter().flatten() {
            match sight {
                Sight::FrameIn { remote, .. } | Sight::FrameOut { remote, .. } => {
                    knowledge.address |= *remote == Some(secrets.address);
                }
                Sight::Plaintext { bytes, .. } => {
                    let text = secrets.address.to_string();
                    knowledge.address |= contains(bytes, text.as_bytes());
                    knowledge.whom |= contains(bytes, &secrets.whom);
                    knowledge.question |= contains(bytes, &secrets.question);
                    knowledge.answer |= contains(bytes, &secrets.answer);
                }
                _ => {}
            }
        }
        knowledge
    }

    /// Everything that any node's own keys opened: what no log may hold.
    #[must_use]
    pub fn plaintexts(&self) -> Vec<Vec<u8>> {
        let sights = self.sights.lock().unwrap_or_else(PoisonError::into_inner);
        let all = sights.values().flatten().filter_map(|sight| match sight {
            Sight::Plaintext { bytes, .. } => Some(bytes.clone()),
            _ => None,
        });
        all.collect()
    }

    /// Where `node`'s frames come from, by what its gateway saw of them; no address at all if
    /// none were seen.
    #[must_use]
    pub fn address_of(&self, node: &str) -> SocketAddr {
        let sights = self.sights.lock().unwrap_or_else(PoisonError::into_inner);
        let sent: BTreeSet<Digest> = sights
            .get(node)
            .into_iter()
            .flatten()
            .filter_map(|sight| match sight {
                Sight::FrameOut { digest, .. } => Some(*digest),
                _ => None,
            })
            .collect();
        let seen = sights
            .iter()
            .filter(|(other, _)| *other != node)
            .flat_map(|(_, seen)| seen);
        seen.filter_map(|sight| match sight {
            Sight::FrameIn { digest, remote, .. } if sent.contains(digest) => *remote,
            _ => None,
        })
        .next()
        .unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)))
    }

    /// The last account of every node, put together.
    #[must_use]
    pub fn accounts(&self) -> Accounts {
        let sights = self.sights.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = Accounts {
            balanced: true,
            ..Accounts::default()
        };
        for seen in sights.values() {
            let last = seen.iter().rev().find_map(|sight| match sight {
                Sight::Account { ledger, held } => Some((ledger, *held)),
                _ => None,
            });
            let kinds = seen.iter().rev().find_map(|sight| match sight {
                Sight::Kinds(kinds) => Some(kinds),
                _ => None,
            });
            for (kind, count) in kinds.into_iter().flatten() {
                *all.kinds.entry((*kind).to_owned()).or_default() += count;
            }
            let Some((ledger, held)) = last else { continue };
            all.balanced &= ledger.balances(held);
            all.sent += ledger.sent;
            for (refusal, count) in ledger.refused.iter() {
                *all.refused.entry(refusal.label().to_owned()).or_default() += count;
            }
        }
        all
    }
}

fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    !needle.is_empty() && bytes.windows(needle.len()).any(|window| window == needle)
}

/// Where each packet came in, was peeled and went out.
struct Index<'a> {
    came: BTreeMap<Digest, Vec<(&'a str, Time)>>,
    left: BTreeMap<(&'a str, Digest), Time>,
    peeled: BTreeMap<(&'a str, Digest), Peel>,
}

#[derive(Clone, Copy)]
struct Peel {
    output: Option<Digest>,
    delay: Duration,
    pool: usize,
}

impl<'a> Index<'a> {
    fn of(sights: &'a BTreeMap<String, Vec<Sight>>) -> Self {
        let mut index = Self {
            came: BTreeMap::new(),
            left: BTreeMap::new(),
            peeled: BTreeMap::new(),
        };
        for (node, seen) in sights {
            for sight in seen {
                index.add(node, sight);
            }
        }
        index
    }

    fn add(&mut self, node: &'a str, sight: &Sight) {
        match sight {
            Sight::FrameIn { at, digest, .. } => {
                self.came.entry(*digest).or_default().push((node, *at));
            }
            Sight::FrameOut { at, digest, .. } => {
                self.left.insert((node, *digest), *at);
            }
            Sight::Peeled {
                input,
                output,
                delay,
                pool,
                ..
            } => {
                let peel = Peel {
                    output: *output,
                    delay: *delay,
                    pool: *pool,
                };
                self.peeled.insert((node, *input), peel);
            }
            _ => {}
        }
    }

    /// What a node sent of what it peeled: a mailbox's gateway wraps items for their owner.
    fn wrapped(&self, node: &'a str, output: Option<Digest>) -> Option<Digest> {
        let again = self.peeled.get(&(node, output?));
        again.map_or(output, |peel| peel.output)
    }

    fn follow(&self, from: &str, sent: Time, first: Digest) -> Journey {
        let mut stages: Vec<Stage> = Vec::new();
        let (mut at, mut digest) = (from.to_owned(), first);
        while stages.len() < MAX_STAGES {
            let arrivals = self.came.get(&digest).into_iter().flatten();
            let Some((node, came)) = arrivals.copied().find(|(node, _)| *node != at) else {
                break;
            };
            let peel = self.peeled.get(&(node, digest)).copied();
            let next = peel.map_or(Some(digest), |peel| self.wrapped(node, peel.output));
            let left = next.and_then(|next| self.left.get(&(node, next)).copied());
            stages.push(Stage {
                node: node.to_owned(),
                came,
                left,
                told: peel.map(|peel| peel.delay),
                pool: peel.map(|peel| peel.pool),
            });
            match (next, left) {
                (Some(next), Some(_)) => (at, digest) = (node.to_owned(), next),
                _ => break,
            }
        }
        Journey {
            from: from.to_owned(),
            sent,
            stages,
        }
    }
}

/// Most sights kept of one node.
const MAX_SIGHTS: usize = 1 << 20;

/// More stages than any packet has.
const MAX_STAGES: usize = 12;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use link::{Peer, Tap};
    use wire::NodeId;

    use super::*;

    fn millis(n: u64) -> Time {
        Time::from_nanos(n * 1_000_000)
    }

    fn secrets() -> Secrets {
        Secrets {
            address: SocketAddr::from(([127, 0, 0, 1], 40_001)),
            whom: b"mailbox".to_vec(),
            question: b"question".to_vec(),
            answer: b"answer".to_vec(),
        }
    }

    fn tap(inspector: &Arc<Inspector>, node: &str) -> Tap {
        Tap::new(node, inspector.clone())
    }

    fn came(at: u64, digest: u8) -> Sight {
        let (peer, remote) = (Peer::Node(NodeId([0; 32])), None);
        Sight::FrameIn {
            at: millis(at),
            peer,
            remote,
            digest: Digest([digest; 16]),
        }
    }

    fn left(at: u64, digest: u8) -> Sight {
        let (peer, remote) = (Peer::Node(NodeId([0; 32])), None);
        Sight::FrameOut {
            at: millis(at),
            peer,
            remote,
            digest: Digest([digest; 16]),
        }
    }

    #[test]
    fn follows_a_packet_through_a_change_of_its_bytes() {
        let inspector = Arc::new(Inspector::default());
        tap(&inspector, "asker").saw(left(0, 1));
        let mix = tap(&inspector, "mix-1");
        mix.saw(came(3, 1));
        mix.saw(Sight::Peeled {
            at: millis(4),
            input: Digest([1; 16]),
            output: Some(Digest([2; 16])),
            delay: Duration::from_millis(50),
            pool: 7,
        });
        mix.saw(left(54, 2));
        tap(&inspector, "provider").saw(came(55, 2));
        let journeys = inspector.journeys("asker", "provider", (Time::ZERO, Time::MAX));
        assert_eq!(journeys.len(), 1);
        assert_eq!(journeys[0].took(), Duration::from_millis(55));
        assert_eq!(journeys[0].stages[0].pool, Some(7));
        assert!(
            inspector
                .journeys("asker", "mix-1", (Time::ZERO, Time::MAX))
                .is_empty()
        );
    }

    #[test]
    fn follows_an_item_that_leaves_under_a_reply_block() {
        let inspector = Arc::new(Inspector::default());
        tap(&inspector, "asker").saw(left(0, 1));
        let gateway = tap(&inspector, "gateway-1");
        gateway.saw(came(3, 1));
        for (input, output) in [(1, 2), (2, 3)] {
            gateway.saw(Sight::Peeled {
                at: millis(4),
                input: Digest([input; 16]),
                output: Some(Digest([output; 16])),
                delay: Duration::ZERO,
                pool: 1,
            });
        }
        gateway.saw(left(54, 3));
        tap(&inspector, "provider").saw(came(55, 3));
        let journeys = inspector.journeys("asker", "provider", (Time::ZERO, Time::MAX));
        assert_eq!(journeys.len(), 1);
        assert_eq!(journeys[0].stages[0].left, Some(millis(54)));
    }

    #[test]
    fn a_planted_leak_changes_the_table() {
        let inspector = Arc::new(Inspector::default());
        let provider = tap(&inspector, "provider");
        let saw = |bytes: &[u8]| Sight::Plaintext {
            at: millis(1),
            label: "request",
            bytes: bytes.to_vec(),
        };
        provider.saw(saw(b"..question.."));
        let before = inspector.knowledge("provider", &secrets());
        assert_eq!(
            before,
            Knowledge {
                question: true,
                ..Knowledge::default()
            }
        );
        assert!(!before.joins_asker_to_question());
        provider.saw(saw(b"from 127.0.0.1:40001"));
        assert!(
            inspector
                .knowledge("provider", &secrets())
                .joins_asker_to_question()
        );
    }

    #[test]
    fn the_address_at_the_other_end_of_a_link_counts() {
        let inspector = Arc::new(Inspector::default());
        let remote = Some(secrets().address);
        tap(&inspector, "gateway").saw(Sight::FrameIn {
            at: millis(1),
            peer: Peer::Node(NodeId([0; 32])),
            remote,
            digest: Digest([1; 16]),
        });
        assert!(inspector.knowledge("gateway", &secrets()).address);
        assert!(!inspector.knowledge("mix", &secrets()).address);
    }
}
