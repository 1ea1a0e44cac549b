//! Families: who may claim one, how much of the network it may be, and routes around it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use subrosa_directory::{
    BadDescriptor, Descriptor, DirectoryError, Document, FamilyMember, Identity, NodeDescriptor,
    Parameters, Place, Relay, Role, Settled, Subject, Topology, UnsafeTopology, View,
};
use wire::{Encode, Epoch, FamilyId, NodeId};

use crate::made::{document, network, node, node_draft, node_identity, signed};

const E: Epoch = Epoch(1);

fn family(number: u8) -> Identity {
    Identity::from_seed(&[number; 32])
}

/// The mix of this number, in a family if one is named.
fn mix(number: u8, of: Option<u8>) -> NodeDescriptor {
    let identity = node_identity(number);
    let mut draft = node_draft(number, E);
    draft.role = Role::Mix;
    draft.family = of.map(|of| FamilyMember::sign(&family(of), &identity.node_id()));
    NodeDescriptor::sign(&identity, draft)
}

fn gateway() -> Descriptor {
    Descriptor::Node(node(99, E))
}

/// What the authorities make of mixes of these families, and a gateway.
fn computed(families: &[Option<u8>], doubled: &BTreeSet<Subject>) -> Document {
    let mixes = (0..).zip(families).map(|(number, of)| mix(number, *of));
    let descriptors = mixes.map(Descriptor::Node).chain([gateway()]);
    let network = network();
    Document::compute(
        &network,
        &Settled {
            epoch: E,
            before: None,
            descriptors: &descriptors.map(|d| (d.subject(), d)).collect(),
            doubled,
            commitments: &BTreeMap::new(),
            shares: &BTreeMap::new(),
        },
    )
}

/// A document with mixes of these families in its layers, whoever signs such a thing.
fn placed(layers: [&[Option<u8>]; 3]) -> Document {
    let mut numbers = 0..;
    let mut document = document(&network(), E, None, &[gateway()]);
    document.layers = layers.map(|families| {
        let mut layer: Vec<_> = families
            .iter()
            .map(|of| mix(numbers.next().unwrap(), *of))
            .collect();
        layer.sort_by_key(|node| node.id);
        layer
    });
    document
}

fn topology(document: Document) -> Result<Arc<Topology>, UnsafeTopology> {
    Topology::new(Arc::new(document), E)
}

fn members(document: &Document, of: u8) -> usize {
    let id = Some(FamilyId(family(of).public()));
    document.nodes().filter(|n| n.family_id() == id).count()
}

#[test]
fn nobody_claims_a_family_that_did_not_sign_it() {
    let open = |member: FamilyMember| {
        let mut draft = node_draft(0, E);
        draft.family = Some(member);
        let descriptor = Descriptor::Node(NodeDescriptor::sign(&node_identity(0), draft));
        Descriptor::open(&descriptor.to_bytes(), &Parameters::demo())
    };
    let own = FamilyMember::sign(&family(1), &node_identity(0).node_id());
    assert!(open(own).is_ok());
    let of_another_node = FamilyMember::sign(&family(1), &node_identity(1).node_id());
    let by_another_family = FamilyMember {
        family: FamilyId(family(2).public()),
        ..own
    };
    let mut damaged = own;
    damaged.signature[9] ^= 1;
    for forged in [of_another_node, by_another_family, damaged] {
        assert_eq!(open(forged), Err(BadDescriptor::Family));
    }
}

#[test]
fn a_client_refuses_a_document_in_which_one_operator_has_more_than_a_third() {
    let (network, a) = (network(), Some(1));
    let accept = |document: &Document| {
        let now = network.schedule().start(E).after(Duration::from_secs(60));
        let bytes = signed(&network, document, &[0, 1, 2]).to_bytes();
        View::new(Arc::clone(&network)).accept(now, &bytes).err()
    };
    let third = placed([&[a, None, None], &[a, None, None], &[a, None, None]]);
    assert_eq!(accept(&third), None);
    let above = placed([&[a, None, None], &[a, None, None], &[a, a, None]]);
    let why = UnsafeTopology::LargeFamily {
        family: FamilyId(family(1).public()),
        mixes: 4,
        of: 9,
    };
    assert_eq!(accept(&above), Some(DirectoryError::UnsafeTopology(why)));
    assert!(why.to_string().contains("has 4 of 9 mixes"));
}

#[test]
fn three_mixes_of_three_operators_are_a_network() {
    assert!(topology(placed([&[None], &[None], &[None]])).is_ok());
    assert!(topology(placed([&[Some(1)], &[Some(2)], &[Some(3)]])).is_ok());
}

#[test]
fn families_that_leave_no_route_are_unsafe() {
    let (a, rest) = (Some(1), [None; 4]);
    let why = topology(placed([&[a], &[a], &rest])).err();
    assert_eq!(why, Some(UnsafeTopology::TooFewRoutes));
    assert!(topology(placed([&[a, None], &[a], &rest])).is_ok());
}

#[test]
fn what_a_family_has_above_its_share_is_left_out() {
    let families = [&[Some(1); 20][..], &[None; 5], &[Some(2); 2]].concat();
    let document = computed(&families, &BTreeSet::new());
    assert_eq!((members(&document, 1), members(&document, 2)), (3, 2));
    assert_eq!(document.layers.each_ref().map(Vec::len), [4, 3, 3]);
    assert!(topology(document).is_ok());
}

#[test]
fn a_family_within_its_share_stays_whole_with_its_gateways() {
    let mut draft = node_draft(50, E);
    let id = node_identity(50).node_id();
    draft.family = Some(FamilyMember::sign(&family(1), &id));
    let gateway = Descriptor::Node(NodeDescriptor::sign(&node_identity(50), draft));
    let mixes = (0..6).map(|number| mix(number, (number < 2).then_some(1)));
    let all: Vec<_> = mixes.map(Descriptor::Node).chain([gateway]).collect();
    let document = document(&network(), E, None, &all);
    assert_eq!(members(&document, 1), 3);
    assert!(topology(document).is_ok());
}

#[test]
fn a_doubled_stranger_does_not_make_a_family_too_large() {
    let families = [&[Some(1); 3][..], &[None; 6]].concat();
    let whole = computed(&families, &BTreeSet::new());
    let id = node_identity(7).node_id();
    let less = computed(&families, &BTreeSet::from([Subject::Node(id.0)]));
    assert_eq!((members(&whole, 1), members(&less, 1)), (3, 2));
    assert!(topology(less.clone()).is_ok());
    // Nobody else moves.
    for (full, left) in whole.layers.iter().zip(&less.layers) {
        assert!(left.iter().all(|node| full.contains(node)));
    }
}

#[test]
fn whatever_families_there_are_the_document_is_safe_or_has_too_few_mixes() {
    // Signatures are slow to make: each mix is signed once for each family.
    let all: Vec<Vec<Descriptor>> = (0..24)
        .map(|number| {
            let of = [None, Some(1), Some(2), Some(3), Some(4)];
            of.map(|of| Descriptor::Node(mix(number, of))).to_vec()
        })
        .collect();
    let gateway = gateway();
    let network = network();
    bolero::check!()
        .with_type::<Vec<u8>>()
        .for_each(|families| {
            let chosen = all.iter().zip(families);
            let mut chosen: Vec<_> = chosen
                .map(|(mix, of)| mix[usize::from(*of) % 5].clone())
                .collect();
            chosen.push(gateway.clone());
            let document = document(&network, E, None, &chosen);
            let mixes: usize = document.layers.iter().map(Vec::len).sum();
            match topology(document) {
                Ok(_) => {}
                Err(UnsafeTopology::EmptyLayer(_)) => assert!(mixes < 3),
                Err(other) => panic!("{mixes} mixes: {other}"),
            }
        });
}

/// How often each route was drawn.
fn drawn(
    topology: &Topology,
    draws: u32,
    draw: impl for<'a> Fn(&'a Topology, &mut ChaCha20Rng) -> Option<[&'a Relay; 3]>,
) -> BTreeMap<[NodeId; 3], u32> {
    let mut rng = ChaCha20Rng::seed_from_u64(7);
    let mut seen = BTreeMap::new();
    for _ in 0..draws {
        let route = draw(topology, &mut rng).unwrap();
        let families: Vec<_> = route.iter().filter_map(|relay| relay.family).collect();
        let distinct: BTreeSet<_> = families.iter().collect();
        assert_eq!(distinct.len(), families.len(), "two of one family");
        let places = [Place::Layer1, Place::Layer2, Place::Layer3];
        assert!((0..3).all(|at| topology.place(&route[at].id) == Some(places[at])));
        *seen.entry(route.map(|relay| relay.id)).or_default() += 1;
    }
    seen
}

/// Chi-square over equally likely cells stays within six of its standard deviations.
fn assert_uniform(seen: &BTreeMap<[NodeId; 3], u32>, cells: u32, draws: u32) {
    assert_eq!(seen.len(), cells as usize, "routes");
    let expected = f64::from(draws) / f64::from(cells);
    let chi: f64 = seen
        .values()
        .map(|count| (f64::from(*count) - expected).powi(2) / expected)
        .sum();
    let freedom = f64::from(cells - 1);
    let bound = freedom + 6.0 * (2.0 * freedom).sqrt();
    assert!(chi < bound, "chi-square {chi} over {cells} routes");
}

#[test]
fn every_route_of_three_families_is_as_likely_as_any_other() {
    let (a, b) = (Some(1), Some(2));
    let layers: [&[Option<u8>]; 3] = [&[a, None, b], &[a, None, None], &[a, b, None]];
    let topology = topology(placed(layers)).unwrap();
    // 27, less those with a twice or thrice (7), and those with b in layers 1 and 3 (3).
    let draws = 40_000;
    let seen = drawn(&topology, draws, |topology, rng| topology.draw_mixes(rng));
    assert_uniform(&seen, 17, draws);
}

#[test]
fn routes_through_one_mix_follow_the_same_law() {
    let (a, b) = (Some(1), Some(2));
    let layers: [&[Option<u8>]; 3] = [&[a, None, b], &[a, None, None], &[a, b, None]];
    let topology = topology(placed(layers)).unwrap();
    let of_a = topology
        .layer(2)
        .iter()
        .find(|relay| relay.family.is_some());
    let through = of_a.unwrap().id;
    let draws = 10_000;
    let seen = drawn(&topology, draws, |topology, rng| {
        topology.draw_mixes_through(rng, &through)
    });
    // Layer 1: two are not of a; layer 3: two are not; b with b is none.
    assert_uniform(&seen, 3, draws);
    assert!(seen.keys().all(|route| route[1] == through));
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let gateway = topology.gateways()[0].id;
    assert!(topology.draw_mixes_through(&mut rng, &gateway).is_none());
}
