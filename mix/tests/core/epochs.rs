//! Keys in force, one after the other and side by side.

use std::time::Duration;

use directory::Place;
use sphinx::Packet;
use subrosa_mix::{Mix, MixLimits};
use wire::{Epoch, Refusal, Time};

use crate::network::Net;

const PLACE: Place = Place::Layer1;

fn packet(net: &Net, epoch: u64, seed: u64) -> Packet {
    let next = net.id(Place::Layer2, 0);
    let mut rng = Net::rng(seed);
    net.packet(&mut rng, Epoch(epoch), PLACE, Duration::ZERO, next)
}

fn hand_in(mix: &mut Mix, now: Time, packet: &Packet) -> Option<Refusal> {
    let before = mix.ledger().refused.clone();
    mix.handle_packet(now, packet.as_bytes());
    assert!(mix.ledger().balances(mix.held()));
    Refusal::ALL
        .into_iter()
        .find(|reason| mix.ledger().refused.of(*reason) > before.of(*reason))
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_key_is_accepted_from_shortly_before_its_epoch_to_the_overlap_after() {
    let net = Net::shared();
    let mut mix = net.mix(PLACE, &[1, 2, 3], MixLimits::default());
    let (start, end) = (net.schedule.start(Epoch(2)), net.schedule.end(Epoch(2)));
    let nano = Duration::from_nanos(1);
    for (seed, now, expected) in [
        (1, start.before(secs(600)), Some(Refusal::BadMac)),
        (2, start.before(secs(30) + nano), Some(Refusal::BadMac)),
        (3, start.before(secs(30)), None),
        (4, end.before(nano), None),
        (5, end.after(secs(120) - nano), None),
        (6, end.after(secs(120)), Some(Refusal::BadMac)),
        (7, end.after(secs(3600)), Some(Refusal::BadMac)),
    ] {
        let packet = packet(net, 2, seed);
        assert_eq!(hand_in(&mut mix, now, &packet), expected, "case {seed}");
    }
}

#[test]
fn in_the_overlap_both_keys_are_tried() {
    let net = Net::shared();
    let mut mix = net.mix(PLACE, &[1, 2], MixLimits::default());
    let now = net.schedule.start(Epoch(2)).after(secs(60));
    for epoch in [1, 2] {
        let packet = packet(net, epoch, 9);
        assert_eq!(hand_in(&mut mix, now, &packet), None);
    }
    assert_eq!((mix.replay_len(Epoch(1)), mix.replay_len(Epoch(2))), (1, 1));
}

#[test]
fn a_replay_across_the_rotation_is_a_replay_then_a_bad_mac() {
    let net = Net::shared();
    let mut mix = net.mix(PLACE, &[1], MixLimits::default());
    let mut rng = Net::rng(1);
    let end = net.schedule.end(Epoch(1));
    let old = packet(net, 1, 1);
    assert_eq!(hand_in(&mut mix, end.before(secs(1)), &old), None);

    net.give_epoch(&mut mix, net.id(PLACE, 0), Epoch(2));
    let overlap = end.after(secs(119));
    mix.handle_timeout(overlap, &mut rng);
    assert_eq!(hand_in(&mut mix, overlap, &old), Some(Refusal::Replay));

    let over = end.after(secs(120));
    assert!(mix.poll_timeout().is_some_and(|due| due <= over));
    mix.handle_timeout(over, &mut rng);
    assert_eq!(hand_in(&mut mix, over, &old), Some(Refusal::BadMac));
    assert_eq!(mix.replay_len(Epoch(1)), 0);
    // A clock that jumped back does not bring the key back.
    assert_eq!(hand_in(&mut mix, overlap, &old), Some(Refusal::BadMac));
}

#[test]
fn a_key_whose_window_ended_between_the_stages_admits_nothing() {
    let net = Net::shared();
    let mut mix = net.mix(PLACE, &[1], MixLimits::default());
    let over = net.schedule.end(Epoch(1)).after(secs(120));
    let packet = packet(net, 1, 1);
    assert_eq!(mix.receive(1), 1);
    let unsealed = mix.opener().open(over.before(secs(1)), packet.as_bytes());
    assert!(mix.admit(over, unsealed).is_none());
    assert_eq!(mix.ledger().refused.of(Refusal::BadMac), 1);
    assert!(mix.ledger().balances(mix.held()));
}

#[test]
fn tags_from_a_log_are_replays() {
    let net = Net::shared();
    let id = net.id(PLACE, 0);
    let now = net.schedule.start(Epoch(1)).after(secs(60));
    let seen = packet(net, 1, 1);
    let mut before = net.mix(PLACE, &[1], MixLimits::default());
    assert_eq!(hand_in(&mut before, now, &seen), None);
    let entry = before.poll_log().unwrap();
    assert_eq!(entry.epoch, Epoch(1));

    let mut after = net.mix(PLACE, &[], MixLimits::default());
    let (window, secret) = (net.window(Epoch(1)), net.secret(id, Epoch(1)));
    after.set_key(Epoch(1), window, secret, &[entry.tag]);
    after.set_topology(net.topology(Epoch(1)));
    assert_eq!(hand_in(&mut after, now, &seen), Some(Refusal::Replay));
    // Giving the key once more does not empty its filter.
    net.give_epoch(&mut after, id, Epoch(1));
    assert_eq!(hand_in(&mut after, now, &seen), Some(Refusal::Replay));
}

#[test]
fn without_the_topology_of_its_epoch_a_packet_goes_nowhere() {
    let net = Net::shared();
    let id = net.id(PLACE, 0);
    let mut mix = net.mix(PLACE, &[], MixLimits::default());
    let (window, secret) = (net.window(Epoch(1)), net.secret(id, Epoch(1)));
    mix.set_key(Epoch(1), window, secret, &[]);
    mix.set_topology(net.topology(Epoch(2)));
    let now = net.schedule.start(Epoch(1));
    let packet = packet(net, 1, 1);
    assert_eq!(hand_in(&mut mix, now, &packet), Some(Refusal::WrongEpoch));
}
