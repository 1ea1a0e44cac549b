//! What an observer of the links learns from times and lengths: nothing.

use std::time::Duration;

use directory::Identity;
use link::{Frame, GuestId, Peer};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;
use subrosa_gateway::Limits;
use wire::{Handle, Refusal, Time};

use crate::fixture::Network;
use crate::law;

/// How much of what leaves is real.
#[derive(Clone, Copy, PartialEq)]
enum Load {
    None,
    Half,
    Full,
}

const LOADS: [Load; 3] = [Load::None, Load::Half, Load::Full];

/// Frames of a clock whose law is tested.
const MANY: usize = 10_500;

/// Frames of a clock that is compared frame by frame.
const SOME: usize = 3_000;

/// A clock under load: a client's, or the gateway's own into layer 1.
struct Run {
    network: Network,
    handle: Handle,
    traffic: ChaCha20Rng,
    sent: Vec<(Time, Peer, Frame)>,
}

impl Run {
    fn new(seed: u64) -> Self {
        let network = Network::new(seed, Limits::default());
        Self {
            network,
            handle: Handle([8; 32]),
            traffic: ChaCha20Rng::seed_from_u64(seed + 1_000),
            sent: Vec::new(),
        }
    }

    /// Runs until `peers` were sent enough frames; `refill` brings what is real.
    fn until(&mut self, frames: usize, load: Load, of: fn(&Peer) -> bool, refill: fn(&mut Self)) {
        if of(&Peer::Guest(GuestId(1))) {
            self.network.register_as(1, self.handle, 2);
        }
        while self.sent.iter().filter(|(_, peer, _)| of(peer)).count() < frames {
            // Something real for each of the clock's next ticks, for every other, for none.
            let mut ticked = true;
            for _ in 0..256 {
                let real = match load {
                    Load::None => false,
                    Load::Half => ticked && self.traffic.random(),
                    Load::Full => self.network.gateway.held() < 4,
                };
                if real {
                    refill(self);
                }
                let Some(due) = self.network.gateway.poll_timeout() else {
                    return;
                };
                let sent = self.network.run_until(due);
                ticked = sent.iter().any(|(_, peer, _)| of(peer));
                self.sent.extend(sent);
            }
        }
    }

    fn of(&self, of: fn(&Peer) -> bool) -> Vec<&(Time, Peer, Frame)> {
        self.sent.iter().filter(|(_, peer, _)| of(peer)).collect()
    }
}

fn guests(peer: &Peer) -> bool {
    matches!(peer, Peer::Guest(_))
}

fn nodes(peer: &Peer) -> bool {
    matches!(peer, Peer::Node(_))
}

fn for_the_client(run: &mut Run) {
    let packet = run.network.passing(run.handle.into());
    run.network.arrive(&packet);
}

fn for_layer_1(run: &mut Run) {
    let mix = run.network.id(run.traffic.random_range(0..2));
    let packet = run.network.passing(mix.into());
    run.network.arrive(&packet);
}

fn gaps(frames: &[&(Time, Peer, Frame)]) -> Vec<f64> {
    let pairs = frames.windows(2);
    pairs
        .map(|pair| pair[1].0.since(pair[0].0).as_secs_f64())
        .collect()
}

fn check_law(of: fn(&Peer) -> bool, refill: fn(&mut Run), rate: f64) {
    let mut samples = Vec::new();
    for (seed, load) in (1..).zip(LOADS) {
        let mut run = Run::new(seed);
        run.until(MANY, load, of, refill);
        let gaps = gaps(&run.of(of));
        let distance = law::distance_from_exponential(&gaps, rate);
        assert!(distance < law::bound(gaps.len()), "{distance}");
        samples.push(gaps);
    }
    for (left, right) in [(0, 1), (0, 2), (1, 2)] {
        let (left, right) = (&samples[left], &samples[right]);
        let distance = law::distance(left, right);
        assert!(
            distance < law::bound_of_two(left.len(), right.len()),
            "{distance}"
        );
    }
}

/// What the wire shows of a clock: when, and how long.
fn wire(load: Load, of: fn(&Peer) -> bool, refill: fn(&mut Run)) -> Vec<(Time, usize)> {
    let mut run = Run::new(7);
    run.until(SOME, load, of, refill);
    let frames = run.of(of);
    frames
        .iter()
        .map(|(at, _, frame)| (*at, frame.as_bytes().len()))
        .collect()
}

#[test]
fn a_clients_clock_keeps_its_law_whatever_comes() {
    // Class 2 is 120 a second; deliveries run at twice that.
    check_law(guests, for_the_client, 240.0);
}

#[test]
fn the_clock_into_layer_1_keeps_its_law_whatever_comes() {
    // The demo's rate.
    check_law(nodes, for_layer_1, 60.0);
}

#[test]
fn times_and_lengths_are_the_same_with_and_without_load() {
    for (of, refill) in [
        (guests as fn(&Peer) -> bool, for_the_client as fn(&mut Run)),
        (nodes, for_layer_1),
    ] {
        let idle = wire(Load::None, of, refill);
        assert!(idle == wire(Load::Half, of, refill));
        assert!(idle == wire(Load::Full, of, refill));
    }
}

/// What the wire shows of both clocks at once (when, to a client or a mix, how long), while mailbox items come in bursts and the links
/// refuse some of what they are given.
fn troubled(burst: usize, refused: u64) -> Vec<(Time, bool, usize)> {
    let mut run = Run::new(8);
    run.network.register_as(1, run.handle, 2);
    run.network.attach(1, run.handle, 1);
    let mailbox = Identity::from_seed(&[4; 32]).mailbox();
    let mut shown = Vec::new();
    for turn in 0..SOME {
        if turn % 500 == 100 {
            for number in 0..burst {
                let packet = run.network.ending(mailbox.into(), &number.to_be_bytes());
                run.network.arrive(&packet);
            }
        }
        if turn % 100 == 99 {
            run.network.gateway.unsent(refused, Refusal::Overload);
        }
        let due = run.network.gateway.poll_timeout().unwrap();
        let sent = run.network.run_until(due).into_iter();
        shown.extend(sent.map(|(at, peer, frame)| (at, guests(&peer), frame.as_bytes().len())));
    }
    shown
}

#[test]
fn bursts_of_mailbox_items_and_refused_frames_move_nothing() {
    let still = troubled(0, 0);
    assert!(still.len() > SOME / 2);
    assert!(still == troubled(200, 0));
    assert!(still == troubled(0, 20));
    assert!(still == troubled(200, 20));
}

#[test]
fn the_loads_are_what_they_say() {
    for (load, least, most) in [
        (Load::None, 0.0, 0.0),
        (Load::Half, 0.4, 0.6),
        (Load::Full, 0.95, 1.0),
    ] {
        let mut run = Run::new(3);
        run.until(SOME, load, guests, for_the_client);
        let frames = run.of(guests);
        let real = frames
            .iter()
            .filter(|(_, _, f)| f.prefix() == Frame::PACKET);
        let share = real.count() as f64 / frames.len() as f64;
        assert!((least..=most).contains(&share), "{share}");
    }
}

#[test]
fn real_frames_go_to_the_mixes_of_layer_1_as_loops_do() {
    let mut shares = Vec::new();
    for load in [Load::None, Load::Full] {
        let mut run = Run::new(5);
        run.until(SOME, load, nodes, for_layer_1);
        let first = run.network.id(0);
        let frames = run.of(nodes);
        let to_first = frames
            .iter()
            .filter(|(_, peer, _)| *peer == Peer::Node(first));
        shares.push(to_first.count() as f64 / frames.len() as f64);
    }
    // Three standard deviations of 3,000 fair draws are 0.027.
    assert!(
        shares.iter().all(|share| (share - 0.5).abs() < 0.027),
        "{shares:?}"
    );
}

#[test]
fn dummies_are_as_random_as_packets() {
    let mut network = Network::new(6, Limits::default());
    network.register(1, 2);
    let sent = network.run_until(network.now.after(Duration::from_secs(5)));
    let mut counts = [0u64; 256];
    let dummies = sent
        .iter()
        .filter(|(_, peer, _)| *peer == Peer::Guest(GuestId(1)));
    for byte in dummies.flat_map(|(_, _, frame)| frame.packet()) {
        counts[usize::from(*byte)] += 1;
    }
    let total: u64 = counts.iter().sum();
    let expected = total as f64 / 256.0;
    let off = |count: &u64| (*count as f64 - expected).powi(2) / expected;
    let chi_square: f64 = counts.iter().map(off).sum();
    // The 99.9 % quantile of chi-square with 255 degrees of freedom.
    assert!(total > 1_000_000 && chi_square < 330.5, "{chi_square}");
}
