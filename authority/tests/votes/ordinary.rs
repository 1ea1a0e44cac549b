//! Votes in which everybody is honest.

use directory::{Descriptor, Topology};
use std::sync::Arc;
use subrosa_authority::Event;
use wire::{Call, CallRefused, Encode, Epoch, Reply};

use crate::town::{Town, names, node, refused};

const ALL: [usize; 4] = [0, 1, 2, 3];

#[test]
fn a_vote_ends_in_one_document_with_every_node() {
    let mut town = Town::new(1);
    town.register(Epoch(1));
    town.run_to(Epoch(1));
    let document = town.agreed(&ALL, Epoch(1));
    assert_eq!(names(&document).len(), 13);
    assert_eq!(document.layers.each_ref().map(Vec::len), [3, 3, 3]);
    assert_eq!(document.gateways.len(), 4);
    assert!(Topology::new(Arc::new(document), Epoch(1)).is_ok());
    for place in ALL {
        assert!(town.evidence(place).is_empty());
    }
}

#[test]
fn documents_form_a_chain_and_the_beacon_moves_the_layers() {
    let mut town = Town::new(2);
    let mut before = None;
    let mut layouts = Vec::new();
    for epoch in (1..=4).map(Epoch) {
        town.register(epoch);
        town.run_to(epoch);
        let document = town.agreed(&ALL, epoch);
        assert!(document.silent.is_empty(), "every share was revealed");
        assert_eq!(document.commitments.len(), 4);
        if let Some(hash) = before {
            assert_eq!(document.previous.hash, hash);
        }
        before = Some(document.hash());
        let layer: Vec<_> = document.layers[0].iter().map(|n| n.id).collect();
        layouts.push(layer);
    }
    assert!(layouts.windows(2).any(|pair| pair[0] != pair[1]));
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = || {
        let mut town = Town::new(3);
        town.loss_per_mille = 100;
        town.register(Epoch(1));
        town.run_to(Epoch(1));
        town.consensus(0).map(Encode::to_bytes)
    };
    assert!(run().is_some());
    assert_eq!(run(), run());
}

#[test]
fn a_vote_survives_the_loss_of_one_call_in_five() {
    for seed in 0..8 {
        let mut town = Town::new(seed);
        town.loss_per_mille = 200;
        town.register(Epoch(1));
        town.run_to(Epoch(1));
        assert_eq!(names(&town.agreed(&ALL, Epoch(1))).len(), 13, "seed {seed}");
    }
}

#[test]
fn a_late_descriptor_waits_for_no_epoch_but_its_own() {
    let mut town = Town::new(4);
    town.register(Epoch(1));
    town.run_until(town.network.schedule().lists_at(Epoch(1)));
    let late = node(20, Epoch(1)).to_bytes();
    for place in ALL {
        assert_eq!(town.publish(place, &late), refused(CallRefused::WrongEpoch));
    }
    town.run_to(Epoch(1));
    assert_eq!(names(&town.agreed(&ALL, Epoch(1))).len(), 13);
}

#[test]
fn a_descriptor_that_few_authorities_hold_is_left_out() {
    let mut town = Town::new(5);
    town.register(Epoch(1));
    let (one, two, three) = (node(20, Epoch(1)), node(21, Epoch(1)), node(22, Epoch(1)));
    town.publish(0, &one.to_bytes());
    for place in [1, 2] {
        town.publish(place, &two.to_bytes());
    }
    for place in [0, 2, 3] {
        town.publish(place, &three.to_bytes());
    }
    town.run_to(Epoch(1));
    let names = names(&town.agreed(&ALL, Epoch(1)));
    assert!(!names.contains(&"node-20".to_owned()));
    assert!(!names.contains(&"node-21".to_owned()));
    assert!(
        names.contains(&"node-22".to_owned()),
        "three of four list it"
    );
}

#[test]
fn a_node_with_two_descriptors_is_left_out_and_both_are_kept() {
    // Where the second one goes: to everybody, to one authority alone, to half of them.
    for places in [vec![0, 1, 2, 3], vec![3], vec![2, 3]] {
        let mut town = Town::new(6);
        town.register(Epoch(1));
        let second = crate::town::node_at(4, Epoch(1), 6004);
        let everywhere = places.len() == 4;
        if everywhere {
            for place in &places {
                assert_eq!(
                    town.publish(*place, &second.to_bytes()),
                    refused(CallRefused::Invalid)
                );
            }
        } else {
            town = Town::new(6);
            for number in 0..13 {
                for place in ALL {
                    let twice = number == 4 && places.contains(&place);
                    let descriptor = if twice {
                        second.clone()
                    } else {
                        node(number, Epoch(1))
                    };
                    town.publish(place, &descriptor.to_bytes());
                }
            }
        }
        town.run_to(Epoch(1));
        let document = town.agreed(&ALL, Epoch(1));
        assert!(
            !names(&document).contains(&"node-4".to_owned()),
            "{places:?}"
        );
        assert_eq!(names(&document).len(), 12);
        let Descriptor::Node(convicted) = node(4, Epoch(1)) else {
            unreachable!("a node")
        };
        for place in ALL {
            let evidence = town.evidence(place);
            assert_eq!(evidence.len(), 1, "{places:?} at {place}");
            assert_eq!(evidence[0].convicts(), Some(convicted.id));
        }
    }
}

#[test]
fn documents_are_served_to_anyone() {
    let mut town = Town::new(7);
    town.register(Epoch(1));
    assert_eq!(
        town.call(0, None, Call::NewestDocument),
        refused(CallRefused::NotYet)
    );
    town.run_to(Epoch(1));
    let bytes = town.consensus(0).unwrap().to_bytes();
    let served = Some(Reply::Document(bytes));
    assert_eq!(town.call(0, None, Call::NewestDocument), served);
    assert_eq!(town.call(0, None, Call::Document(Epoch(1))), served);
    assert_eq!(
        town.call(0, None, Call::Document(Epoch(2))),
        refused(CallRefused::NotYet)
    );
}

#[test]
fn one_authority_alone_is_a_quorum_of_one() {
    let mut town = Town::of(1, 1, 8);
    town.register(Epoch(1));
    town.run_to(Epoch(1));
    assert_eq!(names(&town.agreed(&[0], Epoch(1))).len(), 13);
}

#[test]
fn nothing_leaves_before_it_is_stored() {
    let mut town = Town::new(9);
    town.register(Epoch(1));
    town.run_to(Epoch(1));
    for place in ALL {
        let signed = town
            .events(place)
            .iter()
            .any(|event| matches!(event, Event::Signed { epoch, .. } if *epoch == Epoch(1)));
        assert!(signed && town.disk(place).is_some());
    }
    // The core itself keeps silent until the record was taken.
    let network = Arc::new(crate::town::network(4, 3));
    let mut core = subrosa_authority::Authority::new(
        crate::town::identity(0),
        Arc::clone(&network),
        Box::new(subrosa_authority::Everybody),
    );
    let now = network.schedule().lists_at(Epoch(1));
    core.handle_timeout(now);
    assert_eq!(
        core.poll_persist(),
        None,
        "nothing signed without the others' clocks"
    );
    for place in 1..4 {
        let shown = directory::ClockReading::sign(&crate::town::identity(place), &network, now);
        let reply = Reply::Clocks(shown.alone());
        core.handle_reply(now, crate::town::identity(place).node_id(), &reply);
    }
    core.handle_timeout(now);
    assert_eq!(core.poll_transmit(), None);
    assert!(core.poll_persist().is_some());
    assert!(core.poll_transmit().is_some());
}
