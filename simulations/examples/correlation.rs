//! Flow correlation against a thousand sessions, with cover and without, and on the gateways'
//! links to the mixes. `cargo run --release -p subrosa-simulations --example correlation [-- SEED
//! [TOWNS]]`: 40 towns of 25 sessions unless fewer are asked for.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "an example speaks to people and may fail where it stands"
)]

use subrosa_simulations::correlation::{Area, Town, View};

const TOWN: Town = Town {
    sessions: 25,
    idle: 0,
    gateways: 4,
};

/// Towns of 25 sessions.
const TOWNS: u64 = 40;

fn main() {
    let mut arguments = std::env::args()
        .skip(1)
        .map(|number| number.parse().unwrap());
    let seed = arguments.next().unwrap_or(1);
    let towns: u64 = arguments.next().unwrap_or(TOWNS);
    let edges = ranks(
        &TOWN,
        seed,
        towns,
        &[View::Everything, View::QuestionsAlone],
    );
    println!("client's and provider's links, sessions of a minute, 15 questions each:");
    show("every frame", &edges[0]);
    show("questions alone (no cover)", &edges[1]);
    println!("gateways' links into and out of the mixes, one session a gateway:");
    for each in [1, 4, 12] {
        // Eight gateways have providers, eight others the clients of the sessions.
        let town = Town {
            sessions: 8,
            idle: 16 * each - 16,
            gateways: 16,
        };
        let mixes = ranks(&town, seed, towns.div_ceil(4), &[View::Mixes]);
        show(&format!("{each} a gateway"), &mixes[0]);
    }
}

/// Two at a time.
fn ranks(town: &Town, seed: u64, towns: u64, views: &[View]) -> Vec<Vec<f64>> {
    let half = |odd: u64| {
        let seeds = (0..towns).filter(move |number| number % 2 == odd);
        let seeds = seeds.map(|number| seed * 1_000 + number);
        seeds
            .map(|seed| town.attack(seed, views).unwrap())
            .collect::<Vec<_>>()
    };
    let (mut one, other) = std::thread::scope(|scope| {
        let other = scope.spawn(|| half(1));
        (half(0), other.join().unwrap())
    });
    one.extend(other);
    (0..views.len())
        .map(|view| one.iter().flat_map(|town| town[view].clone()).collect())
        .collect()
}

fn show(what: &str, ranks: &[f64]) {
    let area = Area::of(ranks);
    println!(
        "  {what}: AUC {:.3} (95 %: {:.3} to {:.3}), {} sessions",
        area.value, area.low, area.high, area.sessions
    );
}
