//! Why nobody routes around the node that its loops accuse: who makes an honest node look bad
//! would choose the routes that are left.

#![allow(
    clippy::print_stdout,
    reason = "tests: figures for whoever asks for them"
)]

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;
use subrosa_traffic::LossTest;

/// Mixes a layer. The first two of layer 1 are the attacker's, the first of layer 2 its victim.
const MIXES: usize = 3;
const BAD: usize = 2;
const VICTIM: usize = 0;

/// Who alarms first in one run, and after how many loops: places are layer and mix.
fn first_accused(seed: u64, dropped: f64) -> ((usize, usize), u32) {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let mut tests = [[LossTest::default(); MIXES]; 3];
    for loops in 1.. {
        let route = [0, 1, 2].map(|_| rng.random_range(0..MIXES));
        let at_risk = route[0] < BAD && route[1] == VICTIM;
        let lost = at_risk && rng.random_bool(dropped);
        for (layer, mix) in route.into_iter().enumerate() {
            let test = &mut tests[layer][mix];
            if lost {
                test.lost();
            } else {
                test.returned();
            }
            if test.alarms() {
                return ((layer, mix), loops);
            }
        }
    }
    unreachable!("the victim's share is above what the test bears")
}

#[test]
fn two_mixes_that_drop_a_third_of_what_goes_to_an_honest_one_have_it_accused_first() {
    let runs = 500;
    let mut victim = 0;
    let mut loops: Vec<u32> = Vec::new();
    for seed in 0..runs {
        let (accused, after) = first_accused(seed, 1.0 / 3.0);
        victim += u32::from(accused == (1, VICTIM));
        loops.push(after);
    }
    loops.sort_unstable();
    let median = loops[loops.len() / 2];
    println!("the honest mix first in {victim} of {runs} runs, median after {median} loops");
    assert!(victim * 100 >= 95 * u32::try_from(runs).unwrap_or(u32::MAX));
}
