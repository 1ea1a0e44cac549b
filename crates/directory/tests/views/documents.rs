//! Documents: who signed them, when they hold, what they continue.

use std::sync::Arc;
use std::time::Duration;

use subrosa_directory::{
    BadConsensus, Consensus, DirectoryError, Document, Identity, Topology, UnsafeTopology, View,
};
use wire::{Decode, Encode, Epoch, Time};

use crate::made::{authority, chain, descriptors, document, network, secret, signed};

/// A moment in the middle of `epoch`.
fn within(epoch: u64) -> Time {
    network()
        .schedule()
        .start(Epoch(epoch))
        .after(Duration::from_secs(60))
}

fn bad(why: BadConsensus) -> Option<DirectoryError> {
    Some(DirectoryError::BadConsensus(why))
}

#[test]
fn takes_a_document_that_a_quorum_signed() {
    let network = network();
    let mut view = View::new(Arc::clone(&network));
    assert_eq!(
        view.current(within(1)).err(),
        Some(DirectoryError::NoDocument)
    );
    let topology = view.accept(within(1), &chain(&network, 1)[0]).unwrap();
    assert_eq!(topology.epoch(), Epoch(1));
    assert_eq!(view.current(within(1)).unwrap().epoch(), Epoch(1));
    assert_eq!(topology.models().count(), 1);
}

#[test]
fn refuses_too_few_doubled_unknown_and_forged_signatures() {
    let network = network();
    let document = document(&network, Epoch(1), None, &descriptors(Epoch(1)));
    let refusal = |consensus: Consensus| {
        let mut view = View::new(Arc::clone(&network));
        view.accept(within(1), &consensus.to_bytes()).err()
    };
    let few = BadConsensus::TooFewSignatures {
        found: 2,
        needed: 3,
    };
    assert_eq!(refusal(signed(&network, &document, &[0, 1])), bad(few));
    let twice = BadConsensus::DuplicateSigner(authority(1).node_id());
    assert_eq!(refusal(signed(&network, &document, &[0, 1, 1])), bad(twice));
    let unknown = BadConsensus::UnknownSigner(authority(9).node_id());
    assert_eq!(
        refusal(signed(&network, &document, &[0, 1, 2, 9])),
        bad(unknown)
    );
    let mut forged = signed(&network, &document, &[0, 1, 2]);
    forged.signatures[1].1[5] ^= 1;
    let signer = forged.signatures[1].0;
    assert_eq!(refusal(forged), bad(BadConsensus::BadSignature(signer)));
    let mut changed = signed(&network, &document, &[0, 1, 2]);
    changed.document.beacon[0] ^= 1;
    assert!(matches!(
        refusal(changed),
        Some(DirectoryError::BadConsensus(BadConsensus::BadSignature(_)))
    ));
}

#[test]
fn refuses_a_document_out_of_its_time() {
    let network = network();
    let all = chain(&network, 2);
    let mut view = View::new(Arc::clone(&network));
    let early = view.accept(within(1), &all[1]).err();
    assert_eq!(early, bad(BadConsensus::TooEarly(Epoch(2))));
    let expired = view.accept(within(3), &all[0]).err();
    assert_eq!(expired, bad(BadConsensus::Expired(Epoch(1))));
    let just_signed = network.schedule().sign_at(Epoch(2));
    assert!(view.accept(just_signed, &all[1]).is_ok());
}

#[test]
fn refuses_a_rollback_and_a_broken_chain() {
    let network = network();
    let all = chain(&network, 3);
    let mut view = View::new(Arc::clone(&network));
    view.accept(within(2), &all[1]).unwrap();
    let rollback = BadConsensus::Rollback {
        found: Epoch(1),
        held: Epoch(2),
    };
    assert_eq!(view.accept(within(2), &all[0]).err(), bad(rollback));
    let other = document(&network, Epoch(3), None, &descriptors(Epoch(3)));
    let torn = signed(&network, &other, &[0, 1, 2]).to_bytes();
    let broken = view.accept(within(3), &torn).err();
    assert_eq!(broken, bad(BadConsensus::BrokenChain(Epoch(2))));
    assert!(view.accept(within(3), &all[2]).is_ok());
}

#[test]
fn two_documents_of_one_epoch_end_all_trust_and_are_kept() {
    let network = network();
    let first = document(&network, Epoch(1), None, &descriptors(Epoch(1)));
    let second = Document {
        beacon: [9; 32],
        ..first.clone()
    };
    let mut view = View::new(Arc::clone(&network));
    view.accept(within(1), &signed(&network, &first, &[0, 1, 2]).to_bytes())
        .unwrap();
    // The same document under other signatures is no equivocation.
    assert!(
        view.accept(within(1), &signed(&network, &first, &[1, 2, 3]).to_bytes())
            .is_ok()
    );
    let refused = view.accept(within(1), &signed(&network, &second, &[1, 2, 3]).to_bytes());
    assert_eq!(refused.err(), Some(DirectoryError::Equivocation(Epoch(1))));
    assert_eq!(
        view.current(within(1)).err(),
        Some(DirectoryError::Equivocation(Epoch(1)))
    );
    let (one, two) = view.evidence().unwrap();
    assert_eq!((&one.document, &two.document), (&first, &second));
    assert!(one.verify(&network).is_ok() && two.verify(&network).is_ok());
}

#[test]
fn an_unsigned_second_document_is_no_equivocation() {
    let network = network();
    let first = document(&network, Epoch(1), None, &descriptors(Epoch(1)));
    let second = Document {
        beacon: [9; 32],
        ..first.clone()
    };
    let mut view = View::new(Arc::clone(&network));
    view.accept(within(1), &signed(&network, &first, &[0, 1, 2]).to_bytes())
        .unwrap();
    assert!(
        view.accept(within(1), &signed(&network, &second, &[3]).to_bytes())
            .is_err()
    );
    assert!(view.evidence().is_none());
    assert!(view.current(within(1)).is_ok());
}

#[test]
fn without_a_newer_document_the_last_serves_its_grace_and_no_longer() {
    let network = network();
    let mut view = View::new(Arc::clone(&network));
    view.accept(within(1), &chain(&network, 1)[0]).unwrap();
    let own = view.current(within(1)).unwrap();
    let grace = view.current(within(2)).unwrap();
    assert_eq!(grace.epoch(), Epoch(2));
    assert_eq!(grace.document().epoch, Epoch(1));
    for (topology, epoch) in [(own, Epoch(1)), (grace, Epoch(2))] {
        for relay in topology.layer(1) {
            let number = relay
                .name
                .as_str()
                .strip_prefix("node-")
                .unwrap()
                .parse()
                .unwrap();
            assert_eq!(
                relay.key.public(),
                secret(number, epoch).public(),
                "of {epoch}"
            );
        }
    }
    let stale = view.current(within(4)).err().unwrap();
    assert_eq!(stale, DirectoryError::Stale { epochs: 3 });
    assert_eq!(stale.to_string(), "newest document is 3 epochs old");
    assert_eq!(
        view.current(within(3)).err(),
        Some(DirectoryError::Stale { epochs: 2 })
    );
}

#[test]
fn the_next_document_is_held_before_its_epoch_and_used_in_it() {
    let network = network();
    let all = chain(&network, 2);
    let mut view = View::new(Arc::clone(&network));
    view.accept(within(1), &all[0]).unwrap();
    let end = network.schedule().fetch_at(Epoch(2));
    view.accept(end, &all[1]).unwrap();
    assert_eq!(view.current(end).unwrap().document().epoch, Epoch(1));
    assert_eq!(view.topology(Epoch(2)).unwrap().epoch(), Epoch(2));
    assert_eq!(view.current(within(2)).unwrap().document().epoch, Epoch(2));
}

#[test]
fn an_empty_layer_or_no_gateway_is_unsafe() {
    let network = network();
    let of = |skip: usize| {
        let mut some = descriptors(Epoch(1));
        some.remove(skip);
        let document = document(&network, Epoch(1), None, &some);
        Topology::new(Arc::new(document), Epoch(1)).err()
    };
    assert_eq!(of(0), Some(UnsafeTopology::EmptyLayer(3)));
    assert_eq!(of(3), Some(UnsafeTopology::NoGateway));
    let document = document(&network, Epoch(1), None, &descriptors(Epoch(1)));
    let far = Topology::new(Arc::new(document), Epoch(3)).err();
    assert_eq!(far, Some(UnsafeTopology::NoKeys(Epoch(3))));
}

#[test]
fn packets_go_from_layer_to_layer_and_round_by_a_gateway() {
    use subrosa_directory::Place;
    let network = network();
    let document = document(&network, Epoch(1), None, &descriptors(Epoch(1)));
    let topology = Topology::new(Arc::new(document), Epoch(1)).unwrap();
    for from in Place::ALL {
        for to in Place::ALL {
            let id = topology.at(to)[0].id;
            assert_eq!(
                topology.allows(from, &id),
                to == from.next(),
                "{from:?} to {to:?}"
            );
            assert_eq!(topology.place(&id), Some(to));
        }
    }
    let stranger = Identity::from_seed(&[9; 32]).node_id();
    assert!(!topology.allows(Place::Layer1, &stranger));
}

#[test]
fn a_document_of_another_network_is_refused() {
    let ours = network();
    let mut draft = crate::made::draft();
    draft.genesis = Time::from_nanos(2_000_000_000_000);
    let theirs = subrosa_directory::Network::new(draft).unwrap();
    let document = document(&theirs, Epoch(1), None, &descriptors(Epoch(1)));
    let foreign = signed(&theirs, &document, &[0, 1, 2]).to_bytes();
    let refused = View::new(ours).accept(within(1), &foreign).err();
    assert_eq!(refused, bad(BadConsensus::ForeignNetwork));
}

#[test]
fn decoding_a_consensus_inverts_encoding_or_refuses() {
    let network = network();
    let good = chain(&network, 1).remove(0);
    bolero::check!().for_each(|bytes: &[u8]| {
        if let Ok(consensus) = Consensus::from_bytes(bytes) {
            assert_eq!(consensus.to_bytes(), bytes);
        }
        // The same bytes as changes to a good one.
        let mut changed = good.clone();
        for edit in bytes.chunks_exact(3) {
            let place = usize::from(u16::from_be_bytes([edit[0], edit[1]])) % changed.len();
            changed[place] ^= edit[2];
        }
        if let Ok(consensus) = Consensus::from_bytes(&changed) {
            assert_eq!(consensus.to_bytes(), changed);
        }
    });
}
