//! Delays, bounds, and the log before the link.

use std::time::Duration;

use directory::Place;
use subrosa_mix::{Mix, MixLimits};
use wire::{Epoch, NodeId, Refusal, Time};

use crate::network::Net;

const E: Epoch = Epoch(1);

fn hand_in(net: &Net, mix: &mut Mix, now: Time, delay: Duration, seed: u64) {
    let next = net.id(Place::Layer2, (seed % 2) as u8);
    let packet = net.packet(&mut Net::rng(seed), E, Place::Layer1, delay, next);
    mix.handle_packet(now, packet.as_bytes());
}

fn log_all(mix: &mut Mix) {
    while mix.poll_log().is_some() {}
}

#[test]
fn each_packet_leaves_exactly_when_its_delay_ends() {
    let net = Net::shared();
    let mut mix = net.mix(Place::Layer1, &[1], MixLimits::default());
    let law = net.parameters.rates.delay;
    let mut rng = Net::rng(5);
    let mut expected: Vec<(Time, NodeId)> = Vec::new();
    let mut now = net.schedule.start(E);
    for seed in 0..300 {
        let delay = law.sample(&mut rng);
        hand_in(net, &mut mix, now, delay, seed);
        expected.push((now.after(delay), net.id(Place::Layer2, (seed % 2) as u8)));
        now = now.after(Duration::from_micros(37));
    }
    log_all(&mut mix);
    expected.sort();
    for (at, to) in expected {
        if at > now {
            assert!(
                mix.poll_transmit(at.before(Duration::from_nanos(1)))
                    .is_none()
            );
            assert_eq!(mix.poll_timeout(), Some(at));
        }
        let (next, _) = mix.poll_transmit(at.max(now)).unwrap();
        assert_eq!(next, to);
    }
    assert_eq!(mix.held(), 0);
    assert_eq!(mix.ledger().sent, 300);
}

#[test]
fn the_delay_counts_from_arrival_not_from_peeling() {
    let net = Net::shared();
    let mut mix = net.mix(Place::Layer1, &[1], MixLimits::default());
    let arrival = net.schedule.start(E);
    let peeled = arrival.after(Duration::from_millis(9));
    let delay = Duration::from_millis(20);
    let next = net.id(Place::Layer2, 0);
    let packet = net.packet(&mut Net::rng(1), E, Place::Layer1, delay, next);
    mix.receive(1);
    let unsealed = mix.opener().open(arrival, packet.as_bytes());
    let admitted = mix.admit(peeled, unsealed).unwrap();
    log_all(&mut mix);
    assert_eq!(mix.held(), 1);
    mix.hold(admitted.arrival(), admitted.finish());
    assert!(
        mix.poll_transmit(arrival.after(delay).before(Duration::from_nanos(1)))
            .is_none()
    );
    assert!(mix.poll_transmit(arrival.after(delay)).is_some());
}

#[test]
fn nothing_leaves_before_its_tag_was_taken_for_the_log() {
    let net = Net::shared();
    let mut mix = net.mix(Place::Layer1, &[1], MixLimits::default());
    let now = net.schedule.start(E);
    hand_in(net, &mut mix, now, Duration::ZERO, 1);
    assert!(mix.poll_transmit(now).is_none());
    assert!(mix.poll_log().is_some());
    assert!(mix.poll_log().is_none());
    assert!(mix.poll_transmit(now).is_some());
}

#[test]
fn a_driver_that_never_logs_is_refused_at_the_bound() {
    let net = Net::shared();
    let mut mix = net.mix(Place::Layer1, &[1], MixLimits::default());
    let now = net.schedule.start(E);
    for seed in 0..4100 {
        hand_in(net, &mut mix, now, Duration::ZERO, seed);
    }
    assert_eq!(mix.ledger().refused.of(Refusal::ReplayLogFailed), 4);
    assert!(
        mix.poll_transmit(now.after(Duration::from_secs(9)))
            .is_none()
    );
    assert!(mix.ledger().balances(mix.held()));
}

#[test]
fn a_full_pool_refuses_and_keeps_what_it_holds() {
    let net = Net::shared();
    let limits = MixLimits {
        pool_capacity: 10,
        ..MixLimits::default()
    };
    let mut mix = net.mix(Place::Layer1, &[1], limits);
    let now = net.schedule.start(E);
    for seed in 0..15 {
        hand_in(net, &mut mix, now, Duration::from_millis(5), seed);
    }
    log_all(&mut mix);
    assert_eq!(mix.ledger().refused.of(Refusal::Overload), 5);
    assert_eq!(mix.pool_len(), 10);
    let later = now.after(Duration::from_millis(5));
    assert_eq!(std::iter::from_fn(|| mix.poll_transmit(later)).count(), 10);
    assert!(mix.ledger().balances(mix.held()));
}

#[test]
fn what_a_link_refuses_was_not_sent() {
    let net = Net::shared();
    let mut mix = net.mix(Place::Layer1, &[1], MixLimits::default());
    let now = net.schedule.start(E);
    hand_in(net, &mut mix, now, Duration::ZERO, 1);
    log_all(&mut mix);
    mix.poll_transmit(now).unwrap();
    mix.unsent(1, Refusal::NotConnected);
    assert_eq!(mix.ledger().sent, 0);
    assert_eq!(mix.ledger().refused.of(Refusal::NotConnected), 1);
    assert!(mix.ledger().balances(mix.held()));
}
