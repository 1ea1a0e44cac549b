//! A small run of the flow correlation; the whole one is `--example correlation`.

#![allow(clippy::print_stdout, reason = "figures for whoever asks for them")]

use subrosa_simulations::correlation::{Area, Town, View};

#[test]
fn cover_hides_which_provider_a_client_talks_to_and_the_attack_works_without() {
    let town = Town {
        sessions: 12,
        idle: 0,
        gateways: 4,
    };
    let views = [View::Everything, View::QuestionsAlone];
    let ranks = town.attack(5, &views).expect("a town");
    let (covered, bare) = (Area::of(&ranks[0]), Area::of(&ranks[1]));
    println!("{covered:?}\n{bare:?}");
    // Twelve sessions: four standard deviations of a coin's mean rank are 0.33.
    assert!(covered.value < 0.83, "{covered:?}");
    assert!(bare.value > 0.9, "{bare:?}");
}
