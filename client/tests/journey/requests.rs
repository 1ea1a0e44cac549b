//! The clock of requests: the same whatever is asked, and nobody before the provider can tell.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use compiler::shipped;
use directory::{Document, Topology};
use message::{EdgeConfig, Participant};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;
use subrosa_client::{Asker, AskerConfig, DummyInputs, Input, Question};
use wire::{AnswerClass, Epoch, Time};

use crate::network::gateway;
use crate::world::{World, document, document_without_loops};

/// How much of the request clock questions take.
#[derive(Clone, Copy, PartialEq)]
enum Load {
    None,
    Half,
    Full,
}

const LOADS: [Load; 3] = [Load::None, Load::Half, Load::Full];

/// Requests a run.
const MANY: u64 = 2_000;

/// Every second slot of 30 a second.
const RATE: f64 = 15.0;

/// Clients that send no loops, so that none is missed where there is no network.
fn topology() -> Arc<Topology> {
    let mut document = Document::clone(document_without_loops().document());
    document.parameters.rates.slots_per_request = 2;
    Topology::new(Arc::new(document), Epoch(1)).unwrap()
}

struct Run {
    /// When requests were made.
    requests: Vec<Time>,
    /// What the wire shows: when, and how long.
    wire: Vec<(Time, usize)>,
    /// Request packets that left.
    packets: u64,
    asked: u64,
}

fn run(seed: u64, load: Load, requests: u64) -> Run {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let topology = topology();
    let edge = EdgeConfig {
        gateway: gateway(0),
        class: 1,
    };
    let config = AskerConfig {
        edge,
        max_questions: 1_024,
    };
    let mut asker = Asker::new(Time::ZERO, &mut rng, config, Arc::clone(&topology)).unwrap();
    let mut people = ChaCha20Rng::seed_from_u64(seed + 1_000);
    let mut seen = Run {
        requests: Vec::new(),
        wire: Vec::new(),
        packets: 0,
        asked: 0,
    };
    let mut before = 0;
    while before < requests {
        let now = asker.poll_timeout().unwrap();
        let wanted = match load {
            Load::None => false,
            Load::Half => people.random_bool(0.2),
            // A few more than were ever sent.
            Load::Full => seen.asked < asker.counts().sent - asker.counts().repeated + 4,
        };
        if wanted {
            let input = Input::from([1, 2, 3, 4]);
            let question = Question::choose(&mut people, &topology, "digits", &input).unwrap();
            let seconds = if load == Load::Full { 20 } else { 1 };
            let deadline = now.after(Duration::from_secs(seconds));
            seen.asked += u64::from(asker.ask(now, &mut rng, question, deadline).is_ok());
        }
        asker.handle_timeout(now, &mut rng);
        while let Some((_, packet)) = asker.poll_transmit(now) {
            seen.wire.push((now, packet.as_bytes().len()));
        }
        while asker.poll_event().is_some() {}
        let counts = asker.counts();
        let made = counts.sent + counts.dummies;
        assert!(made - before <= 1, "one a tick");
        if made > before {
            seen.requests.push(now);
        }
        assert_eq!(counts.passed, 0);
        before = made;
    }
    let counts = asker.counts();
    let share = counts.sent as f64 / before as f64;
    match load {
        Load::None => assert_eq!(counts.sent, 0),
        Load::Half => assert!((0.3..0.8).contains(&share), "{share}"),
        Load::Full => assert!(share > 0.95, "{share}"),
    }
    seen.packets = asker.edge().counts().requests;
    seen
}

/// Largest distance between the gaps' law and the exponential law of [`RATE`].
fn distance(times: &[Time]) -> f64 {
    let mut gaps: Vec<f64> = times
        .windows(2)
        .map(|pair| pair[1].since(pair[0]).as_secs_f64())
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
fn requests_follow_one_law_under_no_half_and_full_load() {
    // Kolmogorov and Smirnov: exceeded by chance once in a thousand.
    let bound = 1.95 / (MANY as f64 - 1.0).sqrt();
    for (seed, load) in (1..).zip(LOADS) {
        let run = run(seed, load, MANY);
        let distance = distance(&run.requests);
        assert!(distance < bound, "{distance}");
    }
}

#[test]
fn not_one_request_nor_packet_moves_for_what_is_asked() {
    let [none, half, full] = LOADS.map(|load| run(7, load, 600));
    assert!(none.requests == half.requests && none.requests == full.requests);
    assert!(none.wire == half.wire && none.wire == full.wire);
    // One packet each at least, questions and dummies, for nobody answers; but for those that
    // wait or were given up.
    for run in [&none, &half, &full] {
        assert!(run.packets + 60 > 600, "{}", run.packets);
    }
    assert!(full.asked > 0);
}

#[test]
fn dummies_are_answered_and_nobody_hears_of_it() {
    let mut world = World::new(30);
    world.run(Duration::from_secs(30));
    let counts = world.asker.counts();
    // Five a second, by the clock's own law: ten standard deviations.
    assert!((30..=270).contains(&counts.dummies), "{counts:?}");
    assert!(counts.dummies_answered + 20 > counts.dummies, "{counts:?}");
    assert_eq!((counts.late, counts.asked, counts.failed), (0, 0, 0));
    assert!(world.events.is_empty());
    assert_eq!(world.asker.ledger().refused.total(), 0);
    let mut by_provider: BTreeMap<usize, u64> = BTreeMap::new();
    for (provider, _) in world.runs.keys() {
        *by_provider.entry(*provider).or_default() += 1;
    }
    assert_eq!(by_provider.len(), 2, "both are asked: {by_provider:?}");
}

#[test]
fn every_offer_takes_the_same_share_of_slots() {
    let mut rng = ChaCha20Rng::seed_from_u64(31);
    let topology = document(1);
    let inputs = DummyInputs::default();
    let mut counts: BTreeMap<_, u32> = BTreeMap::new();
    let draws = 6_000;
    for _ in 0..draws {
        let question = Question::dummy(&mut rng, &topology, &inputs).unwrap();
        let offer = (question.mailbox(), question.model().to_owned());
        *counts.entry(offer).or_default() += 1;
    }
    // Three models at two providers.
    assert_eq!(counts.len(), 6);
    // Five packets there and back for pages, two for each of the others.
    let off = |((_, model), count): (&(_, String), &u32)| {
        let share = if model == "pages" { 2.0 } else { 5.0 };
        let expected = f64::from(draws) * share / 24.0;
        (f64::from(*count) - expected).powi(2) / expected
    };
    let chi_square: f64 = counts.iter().map(off).sum();
    // The 99.9 % quantile of chi-square with 5 degrees of freedom.
    assert!(chi_square < 20.5, "{counts:?}");
}

#[test]
fn large_models_take_no_more_of_the_slots_than_small_ones() {
    let mut document = Document::clone(document(1).document());
    let cards = document.services.iter_mut().flat_map(|s| &mut s.models);
    for card in cards.filter(|card| card.name.as_str() == "digits") {
        card.class = AnswerClass::SixtyFour;
    }
    let topology = Topology::new(Arc::new(document), Epoch(1)).unwrap();
    let (mut rng, inputs) = (ChaCha20Rng::seed_from_u64(33), DummyInputs::default());
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..20_000 {
        let question = Question::dummy(&mut rng, &topology, &inputs).unwrap();
        *counts.entry(question.model().to_owned()).or_default() += 1;
    }
    // 65 packets there and back, beside 2 and 5: 430 of 20,000, within five standard deviations.
    assert_eq!(counts.len(), 3);
    assert!((327..=533).contains(&counts["digits"]), "{counts:?}");
}

#[test]
fn waiting_for_the_request_clock_is_waiting_for_ones_own_slots() {
    let mut world = World::new(32);
    for _ in 0..20 {
        let digits = Input::from([1, 2, 3, 4]);
        world
            .ask("digits", &digits, Duration::from_secs(60))
            .unwrap();
    }
    world.run(Duration::from_secs(30));
    let mut latencies = Vec::new();
    for (_, _, result) in &world.events {
        latencies.push(result.as_ref().unwrap().latency);
    }
    assert_eq!(latencies.len(), 20);
    // Twenty at five a second: the last waits for four seconds, and that is no fault of others.
    let last = latencies
        .iter()
        .max_by_key(|latency| latency.total)
        .unwrap();
    assert!(last.slots > Duration::from_secs(2), "{last:?}");
    assert!(latencies.iter().all(|l| l.network < Duration::from_secs(1)));
}

/// How well a linear classifier tells `dummies` from `real`: it learns the difference of the
/// means from the first halves, and ranks the second. 0.5 is a coin.
fn area_under_curve(real: &[Vec<i32>], dummies: &[Vec<i32>]) -> f64 {
    let mean = |rows: &[Vec<i32>], place: usize| {
        let sum: f64 = rows.iter().map(|row| f64::from(row[place])).sum();
        sum / rows.len() as f64
    };
    let spread = |rows: &[Vec<i32>], place: usize| {
        let mean = mean(rows, place);
        let squares = rows
            .iter()
            .map(|row| (f64::from(row[place]) - mean).powi(2));
        squares.sum::<f64>() / rows.len() as f64
    };
    let (learnt_real, tested_real) = real.split_at(real.len() / 2);
    let (learnt_dummies, tested_dummies) = dummies.split_at(dummies.len() / 2);
    let weights: Vec<f64> = (0..real[0].len())
        .map(|place| {
            let apart = mean(learnt_dummies, place) - mean(learnt_real, place);
            apart / (spread(learnt_dummies, place) + spread(learnt_real, place) + 1.0)
        })
        .collect();
    let score = |row: &Vec<i32>| -> f64 {
        let terms = row.iter().zip(&weights);
        terms
            .map(|(value, weight)| f64::from(*value) * weight)
            .sum()
    };
    let mut above = 0.0;
    for dummy in tested_dummies {
        for other in tested_real {
            above += match score(dummy).total_cmp(&score(other)) {
                std::cmp::Ordering::Greater => 1.0,
                std::cmp::Ordering::Equal => 0.5,
                std::cmp::Ordering::Less => 0.0,
            };
        }
    }
    above / (tested_dummies.len() * tested_real.len()) as f64
}

/// SECURITY.md cites these figures; `cargo test -p subrosa-client --test journey what_a_provider
/// -- --nocapture` prints them.
#[test]
#[allow(clippy::print_stdout, reason = "figures for whoever asks for them")]
fn what_a_provider_can_tell_of_dummies_depends_on_what_they_ask() {
    for shipped in shipped() {
        let card = provider::model_card(sphinx::Geometry::DEFAULT, &shipped.model().unwrap());
        let card = card.unwrap();
        let samples = shipped.samples();
        let input = |row: &compiler::Sample| Input::from(row.input.clone());
        let quantised = |row| input(row).quantise(&card).unwrap().to_vec();
        let (own, others): (Vec<_>, Vec<_>) = samples
            .iter()
            .enumerate()
            .partition(|(place, _)| place % 2 == 0);
        let real: Vec<Vec<i32>> = others.into_iter().map(|(_, row)| quantised(row)).collect();
        let mut rng = ChaCha20Rng::seed_from_u64(33);
        let mut draw = |inputs: &DummyInputs| -> Vec<Vec<i32>> {
            let drawn = (0..400).map(|_| inputs.draw(&mut rng, &card).to_vec());
            drawn.collect()
        };
        let uniform = area_under_curve(&real, &draw(&DummyInputs::default()));
        let mut inputs = DummyInputs::default();
        inputs.add(shipped.name, own.into_iter().map(|(_, row)| input(row)));
        let stored = area_under_curve(&real, &draw(&inputs));
        println!(
            "{}: {} samples; AUC of uniform dummies {uniform:.3}, of stored ones {stored:.3}",
            shipped.name,
            samples.len()
        );
        assert!(uniform > 0.95, "{}: {uniform}", shipped.name);
        assert!((0.3..0.7).contains(&stored), "{}: {stored}", shipped.name);
    }
}
