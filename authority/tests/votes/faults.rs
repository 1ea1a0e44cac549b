//! Votes in which an authority is down, late or restarted.

use std::time::Duration;

use subrosa_authority::Event;
use wire::{Encode, Epoch};

use crate::town::{Town, names, node};

const ALL: [usize; 4] = [0, 1, 2, 3];

#[test]
fn three_of_four_agree_without_the_fourth() {
    let mut town = Town::new(20);
    town.loss_per_mille = 100;
    town.stop(1);
    town.register(Epoch(1));
    town.run_to(Epoch(1));
    assert_eq!(names(&town.agreed(&[0, 2, 3], Epoch(1))).len(), 13);
}

#[test]
fn two_of_four_make_no_document() {
    let mut town = Town::new(21);
    town.stop(0);
    town.stop(1);
    town.register(Epoch(1));
    town.run_to(Epoch(1));
    assert!(town.consensus(2).is_none());
    assert!(town.consensus(3).is_none());
}

#[test]
fn an_authority_that_was_down_fetches_the_document_and_votes_again() {
    let mut town = Town::new(22);
    town.stop(3);
    town.register(Epoch(1));
    town.run_to(Epoch(1));
    town.start(3);
    town.run_until(town.now.after(Duration::from_secs(5)));
    town.agreed(&ALL, Epoch(1));
    town.register(Epoch(2));
    town.run_to(Epoch(2));
    let document = town.agreed(&ALL, Epoch(2));
    assert_eq!(document.commitments.len(), 4);
    assert_eq!(document.silent, [], "it had promised nothing");
    let signed = |event: &Event| {
        matches!(
            event,
            Event::Signed {
                epoch: Epoch(2),
                ..
            }
        )
    };
    assert!(town.events(3).iter().any(signed));
}

#[test]
fn an_authority_that_misses_its_reveal_is_recorded_as_silent() {
    let mut town = Town::new(23);
    town.register(Epoch(1));
    town.run_to(Epoch(1));
    town.stop(2);
    town.register(Epoch(2));
    town.run_to(Epoch(2));
    let document = town.agreed(&[0, 1, 3], Epoch(2));
    assert_eq!(document.silent, [crate::town::identity(2).node_id()]);
}

#[test]
fn an_authority_restarted_within_a_vote_signs_no_second_list_or_document() {
    let schedule = Town::new(0).network.schedule();
    let moments = [
        schedule.lists_at(Epoch(1)),
        schedule.exchange_at(Epoch(1)),
        schedule.reveal_at(Epoch(1)),
        schedule.relay_at(Epoch(1)),
        schedule.sign_at(Epoch(1)),
    ];
    for (place, moment) in moments.into_iter().enumerate() {
        let mut town = Town::new(24);
        town.register(Epoch(1));
        town.run_until(moment.after(Duration::from_millis(200)));
        town.stop(0);
        town.start(0);
        // Another set than before, were it to vote again.
        town.publish(0, &node(30, Epoch(1)).to_bytes());
        town.run_to(Epoch(1));
        town.run_until(town.now.after(Duration::from_secs(5)));
        town.agreed(&ALL, Epoch(1));
        for other in ALL {
            assert!(
                town.evidence(other).is_empty(),
                "restarted at T{}",
                place + 1
            );
        }
    }
}

#[test]
fn a_clock_that_jumps_back_over_a_restart_leads_to_no_second_vote() {
    let mut town = Town::new(25);
    town.register(Epoch(1));
    town.run_to(Epoch(1));
    town.stop(0);
    town.now = town.network.schedule().lists_at(Epoch(1));
    town.start(0);
    town.publish(0, &node(30, Epoch(1)).to_bytes());
    town.run_until(town.now.after(Duration::from_millis(400)));
    let lists = town
        .events(0)
        .iter()
        .filter(|event| matches!(event, Event::Listed { .. }));
    assert_eq!(lists.count(), 1, "the one before the restart");
    for place in ALL {
        assert!(town.evidence(place).is_empty());
    }
}

#[test]
fn a_vote_that_failed_leaves_the_chain_whole() {
    let mut town = Town::new(26);
    town.register(Epoch(1));
    town.run_to(Epoch(1));
    let first = town.agreed(&ALL, Epoch(1));
    town.stop(0);
    town.stop(1);
    town.register(Epoch(2));
    town.run_to(Epoch(2));
    town.start(0);
    town.start(1);
    town.register(Epoch(3));
    town.run_to(Epoch(3));
    let third = town.agreed(&ALL, Epoch(3));
    assert_eq!(third.previous.epoch, Epoch(1));
    assert_eq!(third.previous.hash, first.hash());
}
