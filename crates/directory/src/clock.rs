//! How far the own clock is from those of the authorities (docs/spec/directory.md, 10).
//!
//! Nothing here sets a clock: whoever is too far off says so and takes no part.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use wire::{Decode, DecodeError, Encode, NodeId, Reader, Time, Writer};

use crate::identity::{Identity, verify};
use crate::network::Network;

/// What an authority says that its clock shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockReading {
    /// Whose clock.
    pub authority: NodeId,
    /// What it shows.
    pub time: Time,
    /// By the authority, over the network's identity and the time.
    pub signature: [u8; 64],
}

/// A clock too far from those of the authorities to take part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ClockSkew {
    /// It shows an earlier time.
    #[error("this clock is {seconds} s behind the authorities': set it, and start again")]
    Behind {
        /// By how much.
        seconds: u64,
    },
    /// It shows a later time.
    #[error("this clock is {seconds} s ahead of the authorities': set it, and start again")]
    Ahead {
        /// By how much.
        seconds: u64,
    },
}

/// What was heard of the authorities' clocks, beside the own.
///
/// It judges by the median of at least t clocks, so that no authority that lies moves it: more
/// than half of those are honest.
pub struct ClockCheck {
    network: Arc<Network>,
    /// The authority that this is, if it is one: its own clock counts as one of them.
    own: Option<NodeId>,
    heard: BTreeMap<NodeId, Heard>,
}

struct Heard {
    reading: ClockReading,
    at: Time,
    /// How old the reading may have been when it came.
    age: Duration,
}

impl ClockReading {
    /// Signs what the own clock shows.
    #[must_use]
    pub fn sign(identity: &Identity, network: &Network, time: Time) -> Self {
        Self {
            authority: identity.node_id(),
            time,
            signature: identity.sign(CONTEXT, &signed_bytes(network, time)),
        }
    }

    /// The bytes of a `Reply::Clocks` with this reading alone.
    #[must_use]
    pub fn alone(&self) -> Vec<u8> {
        encode(&[*self])
    }

    fn is_genuine(&self, network: &Network) -> bool {
        network.authority(&self.authority).is_some()
            && verify(
                &self.authority.0,
                CONTEXT,
                &signed_bytes(network, self.time),
                &self.signature,
            )
    }
}

impl ClockCheck {
    /// A clock this far off is still right enough.
    pub const TOLERANCE: Duration = Duration::from_secs(30);
    /// No gateway hands on older readings.
    pub const MAX_AGE: Duration = Duration::from_secs(60);
    /// Readings of one round of calls come within this time.
    pub const ROUND: Duration = Duration::from_secs(15);

    /// Has heard nothing yet.
    #[must_use]
    pub const fn new(network: Arc<Network>) -> Self {
        Self {
            network,
            own: None,
            heard: BTreeMap::new(),
        }
    }

    /// As [`Self::new`], of the authority `own`.
    #[must_use]
    pub const fn of_authority(network: Arc<Network>, own: NodeId) -> Self {
        Self {
            network,
            own: Some(own),
            heard: BTreeMap::new(),
        }
    }

    /// Takes encoded readings that `from` gave at `now`. An authority speaks of its own clock
    /// alone; whoever hands readings on, of all, and cannot put an older one before a newer.
    pub fn hear(&mut self, now: Time, from: &NodeId, bytes: &[u8]) {
        let direct = self.network.authority(from).is_some();
        for reading in decode(bytes).unwrap_or_default() {
            let news = if direct {
                reading.authority == *from
            } else {
                let known = self.heard.get(&reading.authority);
                known.is_none_or(|heard| heard.reading.time < reading.time)
            };
            if news && reading.is_genuine(&self.network) {
                let age = if direct {
                    Duration::ZERO
                } else {
                    Self::MAX_AGE
                };
                let heard = Heard {
                    reading,
                    at: now,
                    age,
                };
                self.heard.insert(reading.authority, heard);
            }
        }
    }

    /// Whether enough clocks were heard since `since` to judge by.
    #[must_use]
    pub fn knows(&self, since: Time) -> bool {
        let heard = self.heard.values().filter(|heard| heard.at >= since);
        heard.count() + usize::from(self.own.is_some()) >= self.network.threshold()
    }

    /// Whether the own clock is right enough, as far as is known: without t clocks to judge by
    /// it is taken to be.
    ///
    /// # Errors
    /// [`ClockSkew`].
    pub fn check(&self) -> Result<(), ClockSkew> {
        let Some(offset) = self.offset() else {
            return Ok(());
        };
        let seconds = offset.unsigned_abs() / NANOS;
        let tolerated = nanos(Self::TOLERANCE);
        if offset > tolerated {
            Err(ClockSkew::Behind { seconds })
        } else if offset < -tolerated {
            Err(ClockSkew::Ahead { seconds })
        } else {
            Ok(())
        }
    }

    /// The readings that came within [`Self::ROUND`], encoded, to hand on.
    #[must_use]
    pub fn readings(&self, now: Time) -> Vec<u8> {
        let recent = self
            .heard
            .values()
            .filter(|heard| now.since(heard.at) <= Self::ROUND);
        encode(&recent.map(|heard| heard.reading).collect::<Vec<_>>())
    }

    /// Nanoseconds by which the authorities' clocks are ahead of the own one: the median; of two
    /// in the middle the smaller.
    fn offset(&self) -> Option<i64> {
        let mut offsets: Vec<i64> = self.heard.values().map(Heard::offset).collect();
        offsets.extend(self.own.map(|_| 0));
        if offsets.len() < self.network.threshold() {
            return None;
        }
        offsets.sort_unstable();
        let upper = offsets.len() / 2;
        let lower = offsets.len().saturating_sub(1) / 2;
        let middle = [offsets.get(lower), offsets.get(upper)];
        middle
            .into_iter()
            .flatten()
            .copied()
            .min_by_key(|offset| offset.unsigned_abs())
    }
}

impl Heard {
    /// Nanoseconds from the own clock to the authority's; what may be the reading's age does not
    /// count.
    fn offset(&self) -> i64 {
        let (theirs, ours) = (self.reading.time, self.at);
        if theirs >= ours {
            nanos(theirs.since(ours))
        } else {
            -nanos(ours.since(theirs).saturating_sub(self.age))
        }
    }
}

impl Encode for ClockReading {
    fn encode(&self, writer: &mut Writer) {
        self.authority.encode(writer);
        self.time.encode(writer);
        writer.raw(&self.signature);
    }
}

impl Decode for ClockReading {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            authority: NodeId::decode(reader)?,
            time: Time::decode(reader)?,
            signature: reader.array()?,
        })
    }
}

fn encode(readings: &[ClockReading]) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.list(readings);
    writer.into_bytes()
}

fn decode(bytes: &[u8]) -> Result<Vec<ClockReading>, DecodeError> {
    let mut reader = Reader::new(bytes);
    let readings = reader.list(Network::MAX_AUTHORITIES)?;
    reader.finish()?;
    Ok(readings)
}

fn signed_bytes(network: &Network, time: Time) -> [u8; 40] {
    let mut bytes = [0; 40];
    let (id, tail) = bytes.split_at_mut(32);
    id.copy_from_slice(network.id());
    tail.copy_from_slice(&time.as_nanos().to_be_bytes());
    bytes
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

const CONTEXT: &str = "subrosa 2026-11 clock";
const NANOS: u64 = 1_000_000_000;
