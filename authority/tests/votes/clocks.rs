//! Authorities whose clocks are off.

use std::time::Duration;

use directory::ClockSkew;
use subrosa_authority::{Abstention, Event};
use wire::{Call, CallRefused, Epoch, Reply};

use crate::town::{Off, Town, names, refused};

const ALL: [usize; 4] = [0, 1, 2, 3];

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The events of an authority that sign something.
fn signed(town: &Town, place: usize) -> usize {
    let signs = |event: &&Event| matches!(event, Event::Listed { .. } | Event::Signed { .. });
    town.events(place).iter().filter(signs).count()
}

#[test]
fn ten_seconds_either_way_change_no_vote() {
    let mut town = Town::slow(1);
    town.set_clock(0, Off::Behind(seconds(10)));
    town.set_clock(1, Off::Ahead(seconds(10)));
    for epoch in [Epoch(1), Epoch(2)] {
        town.run_until(town.network.schedule().publish_at(epoch));
        town.register(epoch);
        town.run_to(epoch);
        town.run_until(town.now.after(seconds(30)));
        assert_eq!(names(&town.agreed(&ALL, epoch)).len(), 13);
    }
    for place in ALL {
        assert_eq!(
            signed(&town, place),
            4,
            "lists and documents of authority {place}"
        );
        assert!(town.evidence(place).is_empty());
    }
}

#[test]
fn an_authority_ten_minutes_off_says_so_and_signs_nothing() {
    for off in [Off::Behind(seconds(600)), Off::Ahead(seconds(600))] {
        let mut town = Town::slow(2);
        town.now = town.now.before(seconds(900));
        town.set_clock(3, off);
        town.run_until(town.network.schedule().publish_at(Epoch(1)));
        town.register(Epoch(1));
        town.run_to(Epoch(1));
        // The others go on without it.
        town.agreed(&[0, 1, 2], Epoch(1));
        town.run_until(town.network.schedule().publish_at(Epoch(2)));
        assert_eq!(signed(&town, 3), 0);
        let says_so = |event: &Event| match (event, off) {
            (Event::Abstained { epoch, why }, Off::Behind(_)) => {
                *epoch == Epoch(1)
                    && *why == Abstention::ClockSkew(ClockSkew::Behind { seconds: 599 })
            }
            (Event::Abstained { epoch, why }, Off::Ahead(_)) => {
                *epoch == Epoch(1)
                    && *why == Abstention::ClockSkew(ClockSkew::Ahead { seconds: 600 })
            }
            _ => false,
        };
        assert!(town.events(3).iter().any(says_so), "{:?}", town.events(3));
        // Nor does it show its clock to others.
        assert_eq!(
            town.call(3, None, Call::Clocks),
            refused(CallRefused::NotYet)
        );
        assert!(matches!(
            town.call(0, None, Call::Clocks),
            Some(Reply::Clocks(_))
        ));
    }
}

#[test]
fn an_authority_started_an_hour_back_in_the_middle_of_a_vote_signs_nothing_twice() {
    let mut town = Town::slow(3);
    town.register(Epoch(1));
    town.run_to(Epoch(1));
    town.agreed(&ALL, Epoch(1));
    let before = signed(&town, 2);
    town.stop(2);
    town.set_clock(2, Off::Behind(seconds(3600)));
    town.start(2);
    // Its clock shows the time of the first vote again.
    town.run_until(town.now.after(seconds(900)));
    assert_eq!(signed(&town, 2), before);
    for place in ALL {
        assert!(town.evidence(place).is_empty());
    }
}

#[test]
fn one_clock_a_day_off_and_lost_calls_stop_no_vote() {
    let mut town = Town::slow(4);
    town.set_clock(3, Off::Ahead(seconds(86_400)));
    town.loss_per_mille = 100;
    town.register(Epoch(1));
    town.run_to(Epoch(1));
    assert_eq!(names(&town.agreed(&[0, 1, 2], Epoch(1))).len(), 13);
}
