//! The laws, tested as an observer would: from times alone, against stated bounds, with fixed seeds.

use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use subrosa_traffic::{DelayLaw, PoissonClock, Rate, Rates, Slot};
use wire::Time;

/// Samples a test; more than the 10,000 that the claim names.
const N: usize = 20_000;

/// Kolmogorov-Smirnov at the 1 % level: a true law fails this for one seed in a hundred.
const CRITICAL: f64 = 1.628;

#[test]
fn gaps_of_the_clock_are_exponential() {
    for (seed, per_second) in [(1, 6.0), (2, 30.0), (3, 120.0)] {
        let gaps = gaps(&ticks(seed, per_second, Load::None));
        let distance = distance_to_exponential(&gaps, 1.0 / per_second);
        assert!(distance < one_sample_bound(), "{per_second}/s: {distance}");
    }
}

#[test]
fn delays_are_exponential_and_below_their_bound() {
    let law = DelayLaw::new(Duration::from_millis(50)).unwrap();
    let mut rng = ChaCha20Rng::seed_from_u64(4);
    let delays: Vec<_> = (0..N).map(|_| law.sample(&mut rng)).collect();
    assert!(delays.iter().all(|&delay| law.accepts(delay)));
    let seconds: Vec<_> = delays.iter().map(Duration::as_secs_f64).collect();
    let distance = distance_to_exponential(&seconds, 0.05);
    assert!(distance < one_sample_bound(), "{distance}");
}

#[test]
fn gaps_drawn_from_a_rate_are_exponential() {
    let rate = Rate::new(30.0).unwrap();
    let mut rng = ChaCha20Rng::seed_from_u64(5);
    let drawn: Vec<_> = (0..N).map(|_| rate.draw(&mut rng).as_secs_f64()).collect();
    let inverted: Vec<_> = (0..N)
        .map(|_| rate.gap(uniform(&mut rng)).as_secs_f64())
        .collect();
    assert!(distance_to_exponential(&drawn, 1.0 / 30.0) < one_sample_bound());
    assert!(distance_to_exponential(&inverted, 1.0 / 30.0) < one_sample_bound());
    assert!(distance_between(&drawn, &inverted) < two_sample_bound());
}

#[test]
fn send_times_follow_the_same_law_under_any_load() {
    let none = gaps(&ticks(11, 30.0, Load::None));
    let half = gaps(&ticks(12, 30.0, Load::Half));
    let full = gaps(&ticks(13, 30.0, Load::Full));
    for (one, other) in [(&none, &half), (&none, &full), (&half, &full)] {
        let distance = distance_between(one, other);
        assert!(distance < two_sample_bound(), "{distance}");
    }
}

#[test]
fn load_does_not_move_a_single_tick() {
    let none = ticks(14, 30.0, Load::None);
    assert_eq!(ticks(14, 30.0, Load::Half), none);
    assert_eq!(ticks(14, 30.0, Load::Full), none);
    assert_ne!(ticks(15, 30.0, Load::None), none);
}

/// A test that cannot fail shows nothing: a clock that hurries when it has work is caught.
#[test]
fn a_clock_that_hurries_under_load_is_noticed() {
    let honest = gaps(&ticks(16, 30.0, Load::None));
    let hurried: Vec<_> = gaps(&ticks(17, 30.0, Load::Full))
        .into_iter()
        .map(|gap| gap * 0.95)
        .collect();
    assert!(distance_between(&honest, &hurried) > two_sample_bound());
}

#[derive(Clone, Copy)]
enum Load {
    None,
    Half,
    Full,
}

/// Runs a client's slots as a driver does: the generator that seeds the clock also chooses
/// slots and builds packets, which draws much for a real one and little for a drop.
fn ticks(seed: u64, per_second: f64, load: Load) -> Vec<Time> {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let rates = Rates {
        payload: Rate::new(per_second).expect("a rate in range"),
        ..Rates::default()
    };
    let mut clock = PoissonClock::new(Time::ZERO, &mut rng, rates.payload);
    let mut sent = Vec::with_capacity(N);
    while sent.len() < N {
        let now = clock.poll_timeout();
        while clock.fire(now) {
            let waiting = match load {
                Load::None => 0,
                Load::Half => usize::from(rng.next_u32() % 2 == 0),
                Load::Full => 1,
            };
            let drawn = match Slot::choose(waiting, &rates, &mut rng) {
                Slot::Real => 700,
                Slot::Loop => 300,
                Slot::Drop => 30,
            };
            rng.fill_bytes(&mut vec![0; drawn]);
            sent.push(now);
        }
    }
    sent
}

fn gaps(times: &[Time]) -> Vec<f64> {
    times
        .windows(2)
        .map(|pair| pair[1].since(pair[0]).as_secs_f64())
        .collect()
}

/// Uniform over `0 < u <= 1`.
fn uniform(rng: &mut ChaCha20Rng) -> f64 {
    ((rng.next_u64() >> 11) + 1) as f64 / (1u64 << 53) as f64
}

fn one_sample_bound() -> f64 {
    CRITICAL / (N as f64 - 1.0).sqrt()
}

fn two_sample_bound() -> f64 {
    CRITICAL * (2.0 / (N as f64 - 1.0)).sqrt()
}

/// Largest distance between the samples' distribution function and `1 - e^(-x / mean)`.
fn distance_to_exponential(samples: &[f64], mean: f64) -> f64 {
    let sorted = sorted(samples);
    let n = sorted.len() as f64;
    sorted
        .iter()
        .enumerate()
        .map(|(place, x)| {
            let law = 1.0 - (-x / mean).exp();
            let (below, through) = (place as f64 / n, (place + 1) as f64 / n);
            (law - below).abs().max((through - law).abs())
        })
        .fold(0.0, f64::max)
}

/// Largest distance between two samples' distribution functions.
fn distance_between(one: &[f64], other: &[f64]) -> f64 {
    let (one, other) = (sorted(one), sorted(other));
    let share = |sorted: &[f64], x: f64| {
        sorted.partition_point(|&sample| sample <= x) as f64 / sorted.len() as f64
    };
    one.iter()
        .chain(&other)
        .map(|&x| (share(&one, x) - share(&other, x)).abs())
        .fold(0.0, f64::max)
}

fn sorted(samples: &[f64]) -> Vec<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}
