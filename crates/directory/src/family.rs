//! Families: the nodes of one operator, by its own word (docs/spec/directory.md, 5.1.1).

use std::collections::BTreeMap;

use wire::{Decode, DecodeError, Encode, FamilyId, NodeId, Reader, Writer};

use crate::{Identity, NodeDescriptor, Relay, Role, identity};

/// A node's proof that it belongs to a family: the family's key signed the node's identity, and
/// the node signs its descriptor with this in it. So neither can name the other without its will.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FamilyMember {
    /// The family.
    pub family: FamilyId,
    /// By the family's key, over the node's identity.
    pub signature: [u8; 64],
}

impl FamilyMember {
    /// Takes `node` into the family whose key this is.
    #[must_use]
    pub fn sign(family: &Identity, node: &NodeId) -> Self {
        Self {
            family: FamilyId(family.public()),
            signature: family.sign(CONTEXT, node.as_bytes()),
        }
    }

    /// Whether the family's key signed `node`.
    #[must_use]
    pub fn verify(&self, node: &NodeId) -> bool {
        identity::verify(
            self.family.as_bytes(),
            CONTEXT,
            node.as_bytes(),
            &self.signature,
        )
    }
}

impl Encode for FamilyMember {
    fn encode(&self, writer: &mut Writer) {
        self.family.encode(writer);
        writer.raw(&self.signature);
    }
}

impl Decode for FamilyMember {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            family: FamilyId::decode(reader)?,
            signature: reader.array()?,
        })
    }
}

/// `nodes` without the mixes by which a family has more than a third of those that are left:
/// of a family, those that come last go first. Gateways stay.
pub(crate) fn within_share(nodes: Vec<&NodeDescriptor>) -> Vec<&NodeDescriptor> {
    let is_mix = |node: &&&NodeDescriptor| node.role == Role::Mix;
    let families = nodes.iter().filter(is_mix).map(|node| node.family_id());
    let (mut room, mut mixes) = count(families);
    while let Some((_, most)) = room.iter_mut().max_by_key(|(id, most)| (**most, **id))
        && exceeds(*most, mixes)
    {
        *most -= 1;
        mixes -= 1;
    }
    let mut keeps = |node: &&NodeDescriptor| match node.family_id() {
        Some(family) if node.role == Role::Mix => room
            .get_mut(&family)
            .and_then(|left| left.checked_sub(1).map(|less| *left = less))
            .is_some(),
        _ => true,
    };
    nodes.into_iter().filter(|node| keeps(node)).collect()
}

/// A family with more than a third of `mixes`: how many it has, of how many.
pub(crate) fn too_large(layers: &[Vec<Relay>; 3]) -> Option<(FamilyId, usize, usize)> {
    let (families, mixes) = count(layers.iter().flatten().map(|relay| relay.family));
    families
        .into_iter()
        .find(|(_, members)| exceeds(*members, mixes))
        .map(|(family, members)| (family, members, mixes))
}

/// Whether of all ways to take one mix a layer enough are left when no two may be of one family:
/// as many as let a draw find one soon.
pub(crate) fn leave_routes([first, second, third]: &[Vec<Relay>; 3]) -> bool {
    let in_family = |layer: &Vec<Relay>| count(layer.iter().map(|relay| relay.family)).0;
    let (a, b, c) = (in_family(first), in_family(second), in_family(third));
    let of = |counts: &BTreeMap<FamilyId, usize>, id| counts.get(id).copied().unwrap_or(0);
    // Routes with a pair of one family, less those counted more than once.
    let mut refused = 0;
    let families = a.keys().chain(b.keys().filter(|id| !a.contains_key(id)));
    for id in families {
        let (a, b, c) = (of(&a, id), of(&b, id), of(&c, id));
        refused += a * b * third.len() + a * c * second.len() + b * c * first.len() - 2 * a * b * c;
    }
    let all = first.len() * second.len() * third.len();
    (all - refused) * FEWEST >= all
}

/// Whether two relays are of one family.
pub(crate) fn are_kin(one: &Relay, other: &Relay) -> bool {
    one.family.is_some() && one.family == other.family
}

/// Members by family, and how many nodes there are in all.
fn count(nodes: impl Iterator<Item = Option<FamilyId>>) -> (BTreeMap<FamilyId, usize>, usize) {
    let mut members = BTreeMap::new();
    let mut all = 0;
    for family in nodes {
        all += 1;
        if let Some(family) = family {
            *members.entry(family).or_default() += 1;
        }
    }
    (members, all)
}

/// A family of one mix is no more than a mix without a family.
fn exceeds(members: usize, mixes: usize) -> bool {
    members > 1 && members * LARGEST > mixes
}

const CONTEXT: &str = "subrosa 2026-11 family member";
/// A family may have one in so many mixes.
const LARGEST: usize = 3;
/// At least one in so many routes has no two mixes of one family. With layers of one size and
/// families within their share it is two in nine.
const FEWEST: usize = 16;
