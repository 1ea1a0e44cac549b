//! What a participant must know beforehand: `network.toml`, read into a type.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use wire::{Decode, DecodeError, Encode, Epoch, NodeId, NodeName, Reader, Time, Writer};

use crate::{BadNetwork, Parameters, Schedule, address};

/// One authority of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorityEntry {
    /// Its identity key.
    pub id: NodeId,
    /// Its name in logs.
    pub name: NodeName,
    /// Where it is reached: 1 to 4.
    pub addresses: Vec<SocketAddr>,
}

/// A network's description before it is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkDraft {
    /// The authorities.
    pub authorities: Vec<AuthorityEntry>,
    /// How many of them must sign a document (t).
    pub threshold: u8,
    /// When epoch 1 starts.
    pub genesis: Time,
    /// The parameters of its documents.
    pub parameters: Parameters,
    /// Gateways through which a client may fetch its first document.
    pub bootstrap: Vec<(NodeId, SocketAddr)>,
}

/// All that a client needs to know beforehand, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    draft: NetworkDraft,
    id: [u8; 32],
}

impl Network {
    /// Most authorities.
    pub const MAX_AUTHORITIES: usize = 32;
    /// Most bootstrap addresses.
    pub const MAX_BOOTSTRAP: usize = 256;

    /// Checks a description.
    ///
    /// With `n` authorities of which `f = n - t` may fail, any two sets of `t` share an honest
    /// one if `t > (n + f) / 2`, that is `3 t > 2 n`.
    ///
    /// # Errors
    /// [`BadNetwork`] naming what was wrong.
    pub fn new(draft: NetworkDraft) -> Result<Self, BadNetwork> {
        let n = draft.authorities.len();
        if !(1..=Self::MAX_AUTHORITIES).contains(&n) {
            return Err(BadNetwork::Authorities);
        }
        let mut ids = BTreeSet::new();
        for authority in &draft.authorities {
            if !ids.insert(authority.id) {
                return Err(BadNetwork::DuplicateAuthority(authority.id));
            }
            if !(1..=address::MAX_ADDRESSES).contains(&authority.addresses.len()) {
                return Err(BadNetwork::Addresses);
            }
        }
        let t = usize::from(draft.threshold);
        if t > n || 3 * t <= 2 * n {
            return Err(BadNetwork::Threshold);
        }
        if draft.bootstrap.len() > Self::MAX_BOOTSTRAP {
            return Err(BadNetwork::Addresses);
        }
        if !draft.parameters.sane() {
            return Err(BadNetwork::Parameters);
        }
        let schedule = Schedule::new(draft.genesis, &draft.parameters);
        if schedule.publish_at(Epoch(1)) == Time::ZERO {
            return Err(BadNetwork::Genesis);
        }
        let id = network_id(&draft);
        Ok(Self { draft, id })
    }

    /// BLAKE3 of authority keys, threshold, genesis and parameters: what tells this network's
    /// signatures from any other's. Addresses and names may change without changing it.
    #[must_use]
    pub const fn id(&self) -> &[u8; 32] {
        &self.id
    }

    /// The authorities.
    #[must_use]
    pub fn authorities(&self) -> &[AuthorityEntry] {
        &self.draft.authorities
    }

    /// The authority with this key.
    #[must_use]
    pub fn authority(&self, id: &NodeId) -> Option<&AuthorityEntry> {
        self.draft.authorities.iter().find(|entry| entry.id == *id)
    }

    /// How many authorities must sign (t).
    #[must_use]
    pub fn threshold(&self) -> usize {
        usize::from(self.draft.threshold)
    }

    /// When epoch 1 starts.
    #[must_use]
    pub const fn genesis(&self) -> Time {
        self.draft.genesis
    }

    /// The parameters of its documents.
    #[must_use]
    pub const fn parameters(&self) -> &Parameters {
        &self.draft.parameters
    }

    /// Its schedule.
    #[must_use]
    pub fn schedule(&self) -> Schedule {
        Schedule::new(self.draft.genesis, &self.draft.parameters)
    }

    /// Gateways through which a client may fetch its first document.
    #[must_use]
    pub fn bootstrap(&self) -> &[(NodeId, SocketAddr)] {
        &self.draft.bootstrap
    }

    /// The description.
    #[must_use]
    pub const fn draft(&self) -> &NetworkDraft {
        &self.draft
    }
}

fn network_id(draft: &NetworkDraft) -> [u8; 32] {
    let mut writer = Writer::default();
    let ids: Vec<NodeId> = draft.authorities.iter().map(|entry| entry.id).collect();
    writer.list(&ids);
    writer.u8(draft.threshold);
    draft.genesis.encode(&mut writer);
    draft.parameters.encode(&mut writer);
    blake3::derive_key("subrosa 2026-11 network", &writer.into_bytes())
}

impl Encode for AuthorityEntry {
    fn encode(&self, writer: &mut Writer) {
        self.id.encode(writer);
        self.name.encode(writer);
        address::encode(&self.addresses, writer);
    }
}

impl Decode for AuthorityEntry {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            id: NodeId::decode(reader)?,
            name: NodeName::decode(reader)?,
            addresses: address::decode(reader)?,
        })
    }
}

impl Encode for Network {
    fn encode(&self, writer: &mut Writer) {
        let draft = &self.draft;
        writer.list(&draft.authorities);
        writer.u8(draft.threshold);
        draft.genesis.encode(writer);
        draft.parameters.encode(writer);
        writer.u16(u16::try_from(draft.bootstrap.len()).unwrap_or(u16::MAX));
        for (id, socket) in &draft.bootstrap {
            id.encode(writer);
            address::encode_one(socket, writer);
        }
    }
}

impl Decode for Network {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let authorities = reader.list(Self::MAX_AUTHORITIES)?;
        let threshold = reader.u8()?;
        let genesis = Time::decode(reader)?;
        let parameters = Parameters::decode(reader)?;
        let count = usize::from(reader.u16()?);
        if count > Self::MAX_BOOTSTRAP {
            return Err(DecodeError::TooLong);
        }
        let mut bootstrap = Vec::new();
        for _ in 0..count {
            bootstrap.push((NodeId::decode(reader)?, address::decode_one(reader)?));
        }
        let draft = NetworkDraft {
            authorities,
            threshold,
            genesis,
            parameters,
            bootstrap,
        };
        Self::new(draft).map_err(|_| DecodeError::OutOfRange)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(n: u8, threshold: u8) -> NetworkDraft {
        let authorities = (0..n).map(|place| AuthorityEntry {
            id: NodeId([place; 32]),
            name: NodeName::new("authority").unwrap(),
            addresses: vec!["127.0.0.1:4000".parse().unwrap()],
        });
        NetworkDraft {
            authorities: authorities.collect(),
            threshold,
            genesis: Time::from_nanos(1_000_000_000_000),
            parameters: Parameters::demo(),
            bootstrap: vec![(NodeId([9; 32]), "127.0.0.1:5000".parse().unwrap())],
        }
    }

    #[test]
    fn any_two_quorums_must_share_an_honest_authority() {
        for (n, least) in [(1, 1), (2, 2), (3, 3), (4, 3), (5, 4), (7, 5), (10, 7)] {
            for threshold in 0..=n + 1 {
                let fits = (least..=n).contains(&threshold);
                let network = Network::new(draft(n, threshold));
                assert_eq!(network.is_ok(), fits, "{threshold} of {n}");
            }
        }
    }

    #[test]
    fn decoding_inverts_encoding_or_refuses() {
        let good = Network::new(draft(4, 3)).unwrap().to_bytes();
        assert!(Network::from_bytes(&good).is_ok());
        bolero::check!().for_each(|bytes: &[u8]| {
            let mut changed = good.clone();
            for edit in bytes.chunks_exact(3) {
                let place = usize::from(u16::from_be_bytes([edit[0], edit[1]])) % changed.len();
                changed[place] ^= edit[2];
            }
            for bytes in [bytes, &changed] {
                if let Ok(network) = Network::from_bytes(bytes) {
                    assert_eq!(network.to_bytes(), bytes);
                }
            }
        });
    }
}
