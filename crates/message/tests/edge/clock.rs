//! The clock is the same whatever there is to send.

use std::time::Duration;

use directory::Parameters;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;
use sphinx::Geometry;
use subrosa_message::{Edge, EdgeConfig, Recipient, SealingKey};
use wire::{AnswerClass, MailboxAddress, Time};

use crate::network::{draft, gateway, topology_with};

const TICKS: usize = 10_000;
const SOME: usize = 2_000;
const RATE: f64 = 30.0;
/// Before anything is sent again.
const DEADLINE: Duration = Duration::from_secs(2);

struct Run {
    ticks: Vec<Time>,
    real: f64,
    made_late: u64,
}

/// A client of 30 slots a second that is kept busy for about `share` of them.
fn run(seed: u64, number: usize, share: f64, prepares: bool) -> Run {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let config = EdgeConfig {
        gateway: gateway(0),
        class: 1,
    };
    // No loops, for there is no network from which they could come back.
    let mut parameters = Parameters::demo();
    parameters.rates.client_loop = 0;
    let topology = topology_with(1, parameters);
    let mut edge = Edge::new(Time::ZERO, &mut rng, config, topology).unwrap();
    let key = SealingKey::generate(&mut ChaCha20Rng::seed_from_u64(1));
    let to = Recipient {
        gateways: vec![gateway(1)],
        mailbox: MailboxAddress([5; 32]),
        sealing_key: key.public().clone(),
    };
    let mut load = ChaCha20Rng::seed_from_u64(2);
    let mut ticks = Vec::new();
    let (mut asked, mut ticked) = (0u32, true);
    while ticks.len() < number {
        let busy = edge.memory().waiting > 0 && share >= 1.0;
        // Once a tick, whatever deadlines end between two.
        if !busy && ticked && load.random_range(0.0..1.0) < share {
            let mut draft = draft(0, AnswerClass::One, 5_000);
            draft.id.0[..4].copy_from_slice(&asked.to_be_bytes());
            asked += 1;
            let now = ticks.last().copied().unwrap_or_default();
            edge.send_request(now, &mut rng, &to, &draft, now.after(DEADLINE))
                .unwrap();
        }
        while prepares && edge.prepare(&mut rng) {}
        let now = edge.poll_timeout().unwrap();
        edge.handle_timeout(now, &mut rng);
        let mut sent = 0;
        while let Some((_, packet)) = edge.poll_transmit(now) {
            assert_eq!(packet.as_bytes().len(), Geometry::DEFAULT.packet_len());
            sent += 1;
        }
        assert!(sent <= 1, "one packet a tick");
        ticked = sent == 1;
        ticks.extend((0..sent).map(|_| now));
    }
    assert!(edge.ledger().balances(edge.held()));
    let counts = edge.counts();
    Run {
        real: counts.requests as f64 / ticks.len() as f64,
        made_late: counts.made_late,
        ticks,
    }
}

/// Largest distance between the gaps' law and the exponential law of [`RATE`].
fn distance(ticks: &[Time]) -> f64 {
    let starts = std::iter::once(&Time::ZERO).chain(ticks);
    let mut gaps: Vec<f64> = starts
        .zip(ticks)
        .map(|(before, after)| after.since(*before).as_secs_f64())
        .collect();
    gaps.sort_by(f64::total_cmp);
    let n = gaps.len() as f64;
    let apart = |(place, gap): (usize, &f64)| {
        let law = 1.0 - (-RATE * gap).exp();
        let below = place as f64 / n;
        (law - below).abs().max((below + 1.0 / n - law).abs())
    };
    gaps.iter().enumerate().map(apart).fold(0.0, f64::max)
}

#[test]
fn gaps_follow_one_law_under_no_half_and_full_load() {
    // Kolmogorov and Smirnov: exceeded by chance once in a thousand.
    let bound = 1.95 / (TICKS as f64).sqrt();
    for (seed, share, expected) in [
        (1, 0.0, 0.0..0.001),
        (2, 0.5, 0.4..0.6),
        (3, 1.0, 0.99..1.01),
    ] {
        let run = run(seed, TICKS, share, true);
        assert!(expected.contains(&run.real), "{share}: {} real", run.real);
        assert!(distance(&run.ticks) < bound, "load {share}");
        assert_eq!(run.made_late, 0);
    }
}

#[test]
fn one_seed_ticks_at_the_same_times_under_any_load() {
    let idle = run(4, SOME, 0.0, true);
    let busy = run(4, SOME, 1.0, true);
    let unprepared = run(4, SOME, 0.5, false);
    assert!(busy.real > 0.99 && unprepared.real > 0.4);
    assert!(idle.ticks == busy.ticks);
    assert!(idle.ticks == unprepared.ticks);
    assert_eq!(unprepared.made_late, SOME as u64);
}
