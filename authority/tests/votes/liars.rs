//! Votes in which authority 3 lies; what it says is written by the tests.

use directory::{Consensus, Descriptor, Document};
use subrosa_authority::Evidence;
use subrosa_authority::ballot::Ballot;
use wire::{Call, CallRefused, Encode, Epoch, Time};

use crate::town::{self, Town, assent, identity, list, names, node, refused, reveal};

const HONEST: [usize; 3] = [0, 1, 2];
const LIAR: usize = 3;

/// The liar is down as a core; thirteen nodes are registered, node 20 at two honest ones only.
fn town(seed: u64) -> Town {
    let mut town = Town::new(seed);
    town.stop(LIAR);
    town.register(Epoch(1));
    for place in [0, 1] {
        town.publish(place, &node(20, Epoch(1)).to_bytes());
    }
    town
}

fn after(town: &Town, moment: fn(&directory::Schedule, Epoch) -> Time) -> Time {
    moment(&town.network.schedule(), Epoch(1)).after(std::time::Duration::from_millis(30))
}

fn everything() -> Vec<Descriptor> {
    let mut all: Vec<_> = (0..13).map(|number| node(number, Epoch(1))).collect();
    all.push(node(20, Epoch(1)));
    all
}

#[test]
fn a_lists_vote_counts_where_it_was_heard_by_all() {
    let mut town = town(40);
    town.run_until(after(&town, directory::Schedule::lists_at));
    let list = list(&town, LIAR, Epoch(1), &everything());
    town.ballot(LIAR, 0, Ballot::List(list));
    town.run_to(Epoch(1));
    let names = names(&town.agreed(&HONEST, Epoch(1)));
    assert!(names.contains(&"node-20".to_owned()), "three lists name it");
}

#[test]
fn different_lists_to_two_others_are_seen_and_ignored() {
    let mut town = town(41);
    town.run_until(after(&town, directory::Schedule::lists_at));
    let one = list(&town, LIAR, Epoch(1), &everything());
    let two = list(&town, LIAR, Epoch(1), &[]);
    town.ballot(LIAR, 0, Ballot::List(one.clone()));
    town.ballot(LIAR, 1, Ballot::List(two.clone()));
    town.run_to(Epoch(1));
    let names = names(&town.agreed(&HONEST, Epoch(1)));
    assert!(
        !names.contains(&"node-20".to_owned()),
        "its lists count for nothing"
    );
    assert_eq!(names.len(), 13);
    for place in HONEST {
        let evidence = town.evidence(place);
        let [Evidence::TwoLists(both)] = evidence.as_slice() else {
            panic!("two lists at {place}: {evidence:?}");
        };
        assert!(**both == (one.clone(), two.clone()) || **both == (two.clone(), one.clone()));
        assert_eq!(evidence[0].convicts(), Some(identity(LIAR).node_id()));
    }
}

#[test]
fn a_list_shown_to_one_alone_after_the_exchange_counts_for_nobody() {
    let mut town = town(42);
    town.run_until(after(&town, directory::Schedule::exchange_at));
    let list = list(&town, LIAR, Epoch(1), &everything());
    town.ballot(LIAR, 0, Ballot::List(list));
    town.run_to(Epoch(1));
    let names = names(&town.agreed(&HONEST, Epoch(1)));
    assert!(!names.contains(&"node-20".to_owned()));
}

#[test]
fn a_share_shown_to_one_alone_after_the_reveals_counts_for_nobody() {
    // Epoch 1 with all four, so that the liar has a promise to keep in epoch 2.
    let mut town = Town::new(43);
    town.register(Epoch(1));
    town.run_to(Epoch(1));
    let share = *identity(LIAR).derive("subrosa 2026-11 beacon share", 1);
    let schedule = town.network.schedule();
    for (moment, counts) in [
        (schedule.reveal_at(Epoch(2)), true),
        (schedule.relay_at(Epoch(2)), false),
    ] {
        let mut town = Town::new(43);
        town.register(Epoch(1));
        town.run_to(Epoch(1));
        town.stop(LIAR);
        town.register(Epoch(2));
        town.run_until(moment.after(std::time::Duration::from_millis(30)));
        let said = reveal(&town, LIAR, Epoch(2), share);
        town.ballot(LIAR, 0, Ballot::Reveal(said));
        town.run_to(Epoch(2));
        let document = town.agreed(&HONEST, Epoch(2));
        assert_eq!(document.silent.is_empty(), counts);
    }
}

#[test]
fn a_share_that_was_not_promised_does_not_count() {
    let beacon = |share: Option<[u8; 32]>| {
        let mut town = Town::new(44);
        town.register(Epoch(1));
        town.run_to(Epoch(1));
        town.stop(LIAR);
        town.register(Epoch(2));
        town.run_until(town.network.schedule().reveal_at(Epoch(2)));
        if let Some(share) = share {
            let said = reveal(&town, LIAR, Epoch(2), share);
            town.ballot(LIAR, 0, Ballot::Reveal(said));
        }
        town.run_to(Epoch(2));
        town.agreed(&HONEST, Epoch(2)).beacon
    };
    assert_eq!(beacon(Some([5; 32])), beacon(None));
}

#[test]
fn two_reveals_are_seen_and_ignored() {
    let mut town = town(45);
    town.run_until(after(&town, directory::Schedule::reveal_at));
    for (place, share) in [(0, [1; 32]), (1, [2; 32])] {
        let said = reveal(&town, LIAR, Epoch(1), share);
        town.ballot(LIAR, place, Ballot::Reveal(said));
    }
    town.run_to(Epoch(1));
    town.agreed(&HONEST, Epoch(1));
    for place in HONEST {
        let evidence = town.evidence(place);
        assert!(matches!(evidence.as_slice(), [Evidence::TwoReveals(_)]));
    }
}

#[test]
fn an_authority_that_signs_two_documents_is_convicted_by_all() {
    let mut town = town(46);
    town.run_until(after(&town, directory::Schedule::sign_at));
    let genuine = town.agreed(&HONEST, Epoch(1));
    let forged = Document {
        beacon: [0; 32],
        ..genuine.clone()
    };
    let said = assent(&town, LIAR, &genuine);
    town.ballot(LIAR, 0, Ballot::Assent(said));
    let said = assent(&town, LIAR, &forged);
    town.ballot(LIAR, 1, Ballot::Assent(said));
    town.run_to(Epoch(1));
    assert_eq!(town.agreed(&HONEST, Epoch(1)), genuine);
    for place in HONEST {
        let evidence = town.evidence(place);
        assert!(
            matches!(evidence.as_slice(), [Evidence::TwoAssents(_)]),
            "at {place}: {evidence:?}"
        );
    }
}

#[test]
fn a_second_document_with_a_quorum_is_kept_as_evidence() {
    let mut town = town(47);
    town.run_to(Epoch(1));
    let genuine = town.agreed(&HONEST, Epoch(1));
    let forged = Document {
        beacon: [0; 32],
        ..genuine.clone()
    };
    let signatures = (0..3)
        .map(|place| assent(&town, place, &forged))
        .map(|assent| (assent.signer, assent.signature))
        .collect();
    let consensus = Consensus {
        document: forged,
        signatures,
    };
    town.reply(LIAR, 0, wire::Reply::Document(consensus.to_bytes()));
    let evidence = town.evidence(0);
    assert!(matches!(evidence.as_slice(), [Evidence::TwoDocuments(_)]));
    assert_eq!(
        town.agreed(&HONEST, Epoch(1)),
        genuine,
        "the first is still served"
    );
}

#[test]
fn what_is_not_signed_by_its_author_is_refused() {
    let mut town = town(48);
    town.run_until(after(&town, directory::Schedule::lists_at));
    let mut forged = list(&town, LIAR, Epoch(1), &everything());
    forged.author = identity(1).node_id();
    assert_eq!(
        town.ballot(LIAR, 0, Ballot::List(forged)),
        refused(CallRefused::Invalid)
    );
    let mut padded = list(&town, LIAR, Epoch(1), &everything());
    padded
        .descriptors
        .push(directory::DescriptorHash([0xff; 32]));
    assert_eq!(
        town.ballot(LIAR, 0, Ballot::List(padded)),
        refused(CallRefused::Invalid)
    );
}

#[test]
fn ballots_of_others_than_authorities_are_refused() {
    let mut town = town(49);
    town.run_until(after(&town, directory::Schedule::lists_at));
    let ballot = Ballot::List(list(&town, LIAR, Epoch(1), &everything()));
    let stranger = directory::Identity::from_seed(&[99; 32]).node_id();
    for from in [None, Some(stranger), Some(identity(0).node_id())] {
        assert_eq!(
            town.call(0, from, Call::Ballot(ballot.to_bytes())),
            refused(CallRefused::NotForThisNode)
        );
    }
}

#[test]
fn a_list_of_descriptors_that_do_not_exist_stops_nobody() {
    let mut town = town(50);
    town.run_until(after(&town, directory::Schedule::lists_at));
    let mut bogus = list(&town, LIAR, Epoch(1), &everything());
    let many = (0..2000u32).map(|number| {
        let mut hash = [0xee; 32];
        hash[..4].copy_from_slice(&number.to_be_bytes());
        directory::DescriptorHash(hash)
    });
    bogus.descriptors = many.collect();
    let bogus = bogus.signed(&identity(LIAR), &town.network);
    for place in HONEST {
        town.ballot(LIAR, place, Ballot::List(bogus.clone()));
    }
    town.run_to(Epoch(1));
    assert_eq!(names(&town.agreed(&HONEST, Epoch(1))).len(), 13);
}

#[test]
fn nodes_that_share_a_mark_are_both_refused_the_name() {
    // First come at each authority; the second is told so.
    let mut town = Town::new(51);
    town.register(Epoch(1));
    let twin = town::node_at(21, Epoch(1), 5001);
    assert_eq!(
        town.publish(0, &twin.to_bytes()),
        refused(CallRefused::Invalid)
    );
}
