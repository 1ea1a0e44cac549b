//! Descriptors: what is refused of what nodes and services say.

use std::collections::{BTreeMap, BTreeSet};

use subrosa_directory::{
    BadDescriptor, Descriptor, Document, NodeDescriptor, Parameters, ServiceDescriptor, Settled,
    Subject,
};
use wire::{Decode, DecodeError, Encode, Epoch};

use crate::made::{descriptors, document, network, node, node_draft, node_identity, service};

fn open(descriptor: &Descriptor) -> Result<Descriptor, BadDescriptor> {
    Descriptor::open(&descriptor.to_bytes(), &Parameters::demo())
}

#[test]
fn a_good_descriptor_is_taken_as_it_is() {
    for good in descriptors(Epoch(1)) {
        assert_eq!(open(&good), Ok(good.clone()));
    }
}

#[test]
fn refuses_a_hundred_megabytes_before_looking_at_them() {
    let bytes = vec![1; 100 << 20];
    let refused = Descriptor::open(&bytes, &Parameters::demo());
    assert_eq!(refused, Err(BadDescriptor::TooLong));
}

#[test]
fn refuses_a_name_that_is_not_text() {
    let mut bytes = Descriptor::Node(node(0, Epoch(1))).to_bytes();
    // Tag, identity, four bytes of length, then the name.
    bytes[37] = 0xff;
    let refused = Descriptor::open(&bytes, &Parameters::demo());
    assert_eq!(
        refused,
        Err(BadDescriptor::Malformed(DecodeError::OutOfRange))
    );
}

#[test]
fn refuses_any_changed_byte() {
    let good = Descriptor::Node(node(0, Epoch(1))).to_bytes();
    for place in 0..good.len() {
        let mut bytes = good.clone();
        bytes[place] ^= 1;
        assert!(
            Descriptor::open(&bytes, &Parameters::demo()).is_err(),
            "byte {place}"
        );
    }
}

#[test]
fn refuses_one_key_for_two_epochs_and_keys_that_cannot_be_used() {
    let mut draft = node_draft(0, Epoch(1));
    draft.next_sphinx_key = draft.sphinx_key;
    let same = NodeDescriptor::sign(&node_identity(0), draft);
    assert_eq!(
        open(&Descriptor::Node(same)),
        Err(BadDescriptor::RepeatedKey)
    );
    let mut draft = node_draft(0, Epoch(1));
    draft.sphinx_key = sphinx::PublicKey([0; 32]);
    let zero = NodeDescriptor::sign(&node_identity(0), draft);
    assert_eq!(open(&Descriptor::Node(zero)), Err(BadDescriptor::SphinxKey));
}

#[test]
fn loopback_addresses_are_for_networks_that_say_so() {
    let mut draft = node_draft(0, Epoch(1));
    draft.addresses = vec!["[::1]:5000".parse().unwrap()];
    let bytes = Descriptor::Node(NodeDescriptor::sign(&node_identity(0), draft)).to_bytes();
    assert!(Descriptor::open(&bytes, &Parameters::demo()).is_ok());
    let public = Parameters::default();
    assert_eq!(
        Descriptor::open(&bytes, &public),
        Err(BadDescriptor::Address)
    );
}

#[test]
fn refuses_repeated_addresses_gateways_and_models() {
    let malformed = Err(BadDescriptor::Malformed(DecodeError::OutOfRange));
    let mut draft = node_draft(0, Epoch(1));
    draft.addresses = vec![draft.addresses[0]; 2];
    let twice = NodeDescriptor::sign(&node_identity(0), draft);
    assert_eq!(open(&Descriptor::Node(twice)), malformed);
    let mut gateways = service(Epoch(1));
    gateways.gateways = vec![gateways.gateways[0]; 2];
    assert_eq!(open(&Descriptor::Service(Box::new(gateways))), malformed);
    let mut models = service(Epoch(1));
    models.models = vec![models.models[0].clone(); 2];
    assert_eq!(open(&Descriptor::Service(Box::new(models))), malformed);
}

#[test]
fn nodes_that_share_a_key_are_left_out_unless_one_had_it_before() {
    let network = network();
    let mut draft = node_draft(7, Epoch(1));
    draft.sphinx_key = node(0, Epoch(1)).sphinx_key;
    let thief = Descriptor::Node(NodeDescriptor::sign(&node_identity(7), draft));
    let mut both = descriptors(Epoch(1));
    both.push(thief);
    let names = |document: &Document| {
        let mut names: Vec<_> = document.nodes().map(|n| n.name.to_string()).collect();
        names.sort();
        names
    };
    let first = document(&network, Epoch(1), None, &both);
    assert_eq!(names(&first), ["node-1", "node-2", "node-3"]);

    let before = document(&network, Epoch(1), None, &descriptors(Epoch(1)));
    let mut draft = node_draft(7, Epoch(2));
    draft.sphinx_key = node(0, Epoch(1)).next_sphinx_key;
    let mut both = descriptors(Epoch(2));
    both.push(Descriptor::Node(NodeDescriptor::sign(
        &node_identity(7),
        draft,
    )));
    let second = document(&network, Epoch(2), Some(&before), &both);
    assert_eq!(names(&second), ["node-0", "node-1", "node-2", "node-3"]);
}

#[test]
fn a_doubled_node_leaves_its_place_empty_and_moves_nobody() {
    let network = network();
    let set: BTreeMap<Subject, Descriptor> = descriptors(Epoch(1))
        .into_iter()
        .map(|descriptor| (descriptor.subject(), descriptor))
        .collect();
    let compute = |doubled: &BTreeSet<Subject>| {
        Document::compute(
            &network,
            &Settled {
                epoch: Epoch(1),
                before: None,
                descriptors: &set,
                doubled,
                commitments: &BTreeMap::new(),
                shares: &BTreeMap::new(),
            },
        )
    };
    let whole = compute(&BTreeSet::new());
    let id = node_identity(1).node_id();
    let less = compute(&BTreeSet::from([Subject::Node(id.0)]));
    for (full, left) in whole.layers.iter().zip(&less.layers) {
        let rest: Vec<_> = full.iter().filter(|n| n.id != id).cloned().collect();
        assert_eq!(&rest, left);
    }
}

#[test]
fn a_service_whose_gateway_does_not_serve_is_left_out() {
    let network = network();
    let mut some = descriptors(Epoch(1));
    some.remove(3);
    assert!(
        document(&network, Epoch(1), None, &some)
            .services
            .is_empty()
    );
    let all = descriptors(Epoch(1));
    assert_eq!(document(&network, Epoch(1), None, &all).services.len(), 1);
}

#[test]
fn a_service_descriptor_fits_what_a_guest_may_send() {
    assert!(service(Epoch(1)).to_bytes().len() < ServiceDescriptor::MAX_LEN);
}

#[test]
fn decoding_a_descriptor_inverts_encoding_or_refuses() {
    let good: Vec<_> = descriptors(Epoch(1)).iter().map(Encode::to_bytes).collect();
    bolero::check!().for_each(|bytes: &[u8]| {
        if let Ok(descriptor) = Descriptor::from_bytes(bytes) {
            assert_eq!(descriptor.to_bytes(), bytes);
        }
        for good in [&good[0], &good[4]] {
            let mut changed = good.clone();
            for edit in bytes.chunks_exact(3) {
                let place = usize::from(u16::from_be_bytes([edit[0], edit[1]])) % changed.len();
                changed[place] ^= edit[2];
            }
            if let Ok(descriptor) = Descriptor::from_bytes(&changed) {
                assert_eq!(descriptor.to_bytes(), changed);
            }
        }
    });
}
