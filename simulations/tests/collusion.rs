//! What a mailbox's gateway and its owner's entry gateway could find out together: the figures of
//! SECURITY.md.
//!
//! The mailbox's gateway knows when it sent how many items under reply blocks. The entry gateway
//! sees how many packets come for each of its clients. Neither sees through the mixes; both may
//! ignore their clocks. The laws are those of the shipped parameters: three exponential delays,
//! and what comes for an idle client anyway, the loops of its own slots.

#![allow(
    clippy::print_stdout,
    reason = "tests: figures for whoever asks for them"
)]

use std::time::Duration;

use directory::Parameters;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;
use traffic::Rate;

/// Clients of the entry gateway, all of the providers' class.
const CLIENTS: usize = 50;

/// What the entry gateway sees come for its clients in a second.
struct Watch {
    rng: ChaCha20Rng,
    loops: Rate,
}

impl Watch {
    /// Half of a client's idle slots are loops.
    fn new(seed: u64) -> Self {
        let parameters = Parameters::default();
        let slots = parameters
            .class(parameters.provider_class)
            .expect("a class");
        Self {
            rng: ChaCha20Rng::seed_from_u64(seed),
            loops: Rate::new(slots.per_second() / 2.0).expect("a rate"),
        }
    }

    /// A client's own loops.
    fn own_loops(&mut self) -> u32 {
        let mut at = self.loops.draw(&mut self.rng);
        let mut count = 0;
        while at < Duration::from_secs(1) {
            at += self.loops.draw(&mut self.rng);
            count += 1;
        }
        count
    }

    /// How many of `items` sent at once under reply blocks are through three mixes in a second.
    fn through(&mut self, items: u32) -> u32 {
        let law = Parameters::default().rates.delay;
        let mut in_time = 0;
        for _ in 0..items {
            let delay: Duration = (0..3).map(|_| law.sample(&mut self.rng)).sum();
            in_time += u32::from(delay < Duration::from_secs(1));
        }
        in_time
    }
}

/// How often a burst of `items` is enough to point at the owner among the clients.
fn found_by_burst(seed: u64, items: u32) -> f64 {
    let mut watch = Watch::new(seed);
    let rounds = 200;
    let mut found = 0;
    for _ in 0..rounds {
        let mut came: Vec<u32> = (0..CLIENTS).map(|_| watch.own_loops()).collect();
        let owner = watch.rng.random_range(0..CLIENTS);
        came[owner] += watch.through(items);
        let most = came.iter().max().copied();
        let guess = came.iter().position(|count| Some(*count) == most);
        found += u32::from(guess == Some(owner));
    }
    f64::from(found) / f64::from(rounds)
}

/// A standard normal number (Box and Muller, 1958).
fn normal(rng: &mut ChaCha20Rng) -> f64 {
    let (u, v): (f64, f64) = (1.0 - rng.random::<f64>(), rng.random());
    (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

/// How often the hourly volumes of a mailbox with `per_hour` items, which vary by half from hour
/// to hour, point at the owner after so many hours: both gateways keep their clocks.
fn found_by_volume(seed: u64, per_hour: f64, hours: u32) -> f64 {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let parameters = Parameters::default();
    let slots = parameters
        .class(parameters.provider_class)
        .expect("a class");
    let loops = slots.per_second() / 2.0 * 3_600.0;
    let rounds = 50;
    let mut found = 0;
    for _ in 0..rounds {
        let mut products = vec![0.0; CLIENTS];
        for _ in 0..hours {
            let surplus = per_hour * 0.5 * normal(&mut rng);
            for (client, product) in products.iter_mut().enumerate() {
                // An item takes a slot for its answer, and so half a loop from what comes.
                let own = if client == 0 { surplus * 0.5 } else { 0.0 };
                *product += surplus * (own + loops.sqrt() * normal(&mut rng));
            }
        }
        let most = products.iter().copied().fold(f64::MIN, f64::max);
        found += u32::from(products[0] >= most);
    }
    f64::from(found) / f64::from(rounds)
}

#[test]
fn a_burst_of_the_stock_shows_whose_mailbox_it_is() {
    println!("items sent at once: owner found among {CLIENTS} clients (seed 1, seed 2)");
    let shares: Vec<(f64, f64)> = [0, 10, 20, 40, 80]
        .into_iter()
        .map(|items| {
            let shares = (found_by_burst(1, items), found_by_burst(2, items));
            println!("  {items:>3}: {:.2} {:.2}", shares.0, shares.1);
            shares
        })
        .collect();
    for (chance, sure) in [(shares[0].0, shares[4].0), (shares[0].1, shares[4].1)] {
        assert!(chance < 0.08, "without a burst it is a guess: {chance}");
        assert!(sure > 0.97, "a third of a stock is enough: {sure}");
    }
    // Ten items are lost in the loops more often than not.
    assert!(shares[1].0 < 0.5 && shares[1].1 < 0.5);
}

#[test]
fn volumes_show_it_over_time_the_sooner_the_busier_the_mailbox() {
    println!("items an hour, hours: owner found among {CLIENTS} clients (seed 1, seed 2)");
    let mut shares = Vec::new();
    for per_hour in [100.0, 1_000.0, 10_000.0] {
        for hours in [1, 24, 168] {
            let both = [1, 2].map(|seed| found_by_volume(seed, per_hour, hours));
            println!("  {per_hour:>6} {hours:>4}: {:.2} {:.2}", both[0], both[1]);
            shares.push(both);
        }
    }
    for seed in [0, 1] {
        assert!(
            shares[2][seed] < 0.5,
            "a hundred an hour stay hidden for a week"
        );
        assert!(shares[8][seed] > 0.95, "ten thousand do not");
    }
}
