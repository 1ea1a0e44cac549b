//! Flow correlation: does what is seen on a client's link say which provider it talks to?
//!
//! The attacker counts packets on links, in bins of time, and correlates a client's counts with
//! every provider's at several lags; whoever fits best is taken for the other end. It is given
//! every frame of the simulated network, or, to show that it works, the packets of questions
//! alone: what it would see if nobody sent cover.

use std::collections::BTreeMap;
use std::time::Duration;

use directory::Parameters;
use provider::Reach;
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use sphinx::Geometry;
use traffic::{Rate, Rates};

use crate::links::LinkLaw;
use crate::observer::{Observer, Sighting};
use crate::scenario::{Counts, Harm, Node, Questions, Scenario, ScenarioError, Session};
use crate::simulate::run_observed;

/// What the attacker sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// Every frame, on the links of clients and providers to their gateways.
    Everything,
    /// Only packets of questions there, as if there were no cover: a switch of this attack.
    QuestionsAlone,
    /// Every frame, on the gateways' links into and out of the mixes.
    Mixes,
}

/// How well an attack does: the chance that it ranks the true other end above a wrong one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Area {
    /// 0.5 is a coin, 1 is certainty.
    pub value: f64,
    /// The lower end of the 95 % interval.
    pub low: f64,
    /// The upper end.
    pub high: f64,
    /// Over how many sessions.
    pub sessions: usize,
}

/// A network in which each of some clients holds a session with one provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Town {
    /// Sessions, each with a client and a provider of its own.
    pub sessions: usize,
    /// Clients that ask nothing besides.
    pub idle: usize,
    /// Gateways; providers and then clients fill them in turn.
    pub gateways: usize,
}

impl Town {
    /// Runs the town and attacks every session in each of the views: for each session the share
    /// of other providers that fit worse than the true one.
    ///
    /// # Errors
    /// [`ScenarioError`] if there can be no such town.
    pub fn attack(&self, seed: u64, views: &[View]) -> Result<Vec<Vec<f64>>, ScenarioError> {
        let mut trace = Trace::default();
        run_observed(&self.scenario(seed), &mut trace)?;
        let ranks = |view: &View| {
            let sessions = 0..self.sessions;
            sessions
                .map(|client| self.rank(&trace, *view, client))
                .collect()
        };
        Ok(views.iter().map(ranks).collect())
    }

    fn scenario(&self, seed: u64) -> Scenario {
        let rate = |per_second| Rate::new(per_second).expect("a constant in range");
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let talk = Rate::new(QUESTIONS_PER_SECOND).expect("a constant in range");
        let sessions = (0..self.sessions).map(|client| {
            let mut at = BEGIN + talk.draw(&mut rng);
            let mut times = Vec::new();
            while at < END {
                times.push(at);
                at += talk.draw(&mut rng);
            }
            Session {
                client,
                provider: self.provider_of(client),
                at: times,
            }
        });
        Scenario {
            seed,
            duration: END + Duration::from_secs(5),
            counts: Counts {
                authorities: 4,
                mixes: 9,
                gateways: self.gateways,
                providers: self.sessions,
                clients: self.sessions + self.idle,
            },
            parameters: Parameters {
                epoch: Duration::from_secs(600),
                overlap: Duration::from_secs(120),
                vote_step: Duration::from_secs(10),
                geometry: Geometry::new(4096).expect("a constant in range"),
                classes: vec![rate(1.5)],
                provider_class: 0,
                rates: Rates {
                    payload: rate(1.5),
                    mix_loop: rate(0.13),
                    gateway_loop: rate(1.3),
                    slots_per_request: 3,
                    ..Rates::default()
                },
                local_addresses: true,
                ..Parameters::default()
            },
            reach: Reach::Attached,
            class: 0,
            links: LinkLaw {
                latency: Duration::from_millis(5),
                jitter: Duration::from_millis(5),
                loss: 0.0,
            },
            faults: Vec::new(),
            harm: Harm::default(),
            questions: Questions {
                first: Duration::ZERO,
                every: Duration::ZERO,
                deadline: Duration::from_secs(30),
            },
            sessions: sessions.collect(),
            checkpoint: END,
        }
    }

    /// Not the provider at the client's own gateway.
    fn provider_of(&self, client: usize) -> usize {
        (client * 7 + 3) % self.sessions
    }

    /// The share of wrong providers that fit the client's counts worse than the true one.
    fn rank(&self, trace: &Trace, view: View, client: usize) -> f64 {
        let truth = self.provider_of(client);
        let score = |provider| self.score(trace, view, client, provider);
        let own = score(truth);
        let wrong: Vec<f64> = (0..self.sessions)
            .filter(|provider| *provider != truth)
            .map(|provider| match score(provider) {
                other if other < own => 1.0,
                other if other > own => 0.0,
                _ => 0.5,
            })
            .collect();
        mean(&wrong)
    }

    fn score(&self, trace: &Trace, view: View, client: usize, provider: usize) -> f64 {
        let (asker, server) = (Node::Client(client), Node::Provider(provider));
        match view {
            View::QuestionsAlone => best(
                trace.questions.get(&(asker, Way::Up)),
                trace.questions.get(&(server, Way::Down)),
            ),
            View::Everything => {
                let there = best(
                    trace.frames.get(&(asker, Way::Up)),
                    trace.frames.get(&(server, Way::Down)),
                );
                let back = best(
                    trace.frames.get(&(server, Way::Up)),
                    trace.frames.get(&(asker, Way::Down)),
                );
                there + back
            }
            View::Mixes => {
                let at = |number: usize| Node::Gateway(number % self.gateways);
                // Providers fill the gateways first, clients go on where they end.
                let (near, far) = (at(self.sessions + client), at(provider));
                let there = best(
                    trace.frames.get(&(near, Way::Up)),
                    trace.frames.get(&(far, Way::Down)),
                );
                let back = best(
                    trace.frames.get(&(far, Way::Up)),
                    trace.frames.get(&(near, Way::Down)),
                );
                there + back
            }
        }
    }
}

impl Area {
    /// The mean over sessions, with the interval that the spread between them gives.
    #[must_use]
    pub fn of(ranks: &[f64]) -> Self {
        let value = mean(ranks);
        let n = count(ranks.len());
        let squares: f64 = ranks.iter().map(|rank| (rank - value).powi(2)).sum();
        let half = 1.96 * (squares / (n - 1.0).max(1.0) / n.max(1.0)).sqrt();
        Self {
            value,
            low: value - half,
            high: value + half,
            sessions: ranks.len(),
        }
    }
}

/// Seen from the edge, or from a gateway towards the mixes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    /// From an edge to its gateway; from a gateway to the mixes.
    Up,
    /// The other way.
    Down,
}

/// Counts in bins, by link and way.
#[derive(Default)]
struct Trace {
    frames: BTreeMap<(Node, Way), Vec<f64>>,
    questions: BTreeMap<(Node, Way), Vec<f64>>,
}

impl Observer for Trace {
    fn sees(&mut self, sighting: Sighting) {
        note(&mut self.frames, sighting);
    }

    fn is_told(&mut self, question: Sighting) {
        note(&mut self.questions, question);
    }
}

fn note(counts: &mut BTreeMap<(Node, Way), Vec<f64>>, sighting: Sighting) {
    let key = match (sighting.from, sighting.to) {
        (edge @ (Node::Client(_) | Node::Provider(_)), _) => (edge, Way::Up),
        (_, edge @ (Node::Client(_) | Node::Provider(_))) => (edge, Way::Down),
        (gateway @ Node::Gateway(_), Node::Mix(_)) => (gateway, Way::Up),
        (Node::Mix(_), gateway @ Node::Gateway(_)) => (gateway, Way::Down),
        _ => return,
    };
    let since = sighting.at.saturating_sub(BEGIN).as_nanos() / BIN.as_nanos();
    let bin = usize::try_from(since).unwrap_or(usize::MAX);
    let bins = counts.entry(key).or_insert_with(|| vec![0.0; BINS]);
    if sighting.at >= BEGIN
        && let Some(count) = bins.get_mut(bin)
    {
        *count += 1.0;
    }
}

/// The best correlation of `first` with `then` some bins later.
fn best(first: Option<&Vec<f64>>, then: Option<&Vec<f64>>) -> f64 {
    let (Some(first), Some(then)) = (first, then) else {
        return 0.0;
    };
    (0..=LAGS)
        .map(|lag| {
            let then = then.get(lag..).unwrap_or_default();
            correlation(first.get(..then.len()).unwrap_or_default(), then)
        })
        .fold(f64::MIN, f64::max)
}

/// Pearson's; 0 where nothing varies.
fn correlation(left: &[f64], right: &[f64]) -> f64 {
    let (mean_left, mean_right) = (mean(left), mean(right));
    let (mut both, mut squares_left, mut squares_right) = (0.0, 0.0, 0.0);
    for (l, r) in left.iter().zip(right) {
        let (l, r) = (l - mean_left, r - mean_right);
        both += l * r;
        squares_left += l * l;
        squares_right += r * r;
    }
    let scale: f64 = squares_left * squares_right;
    if scale > 0.0 {
        both / scale.sqrt()
    } else {
        0.0
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / count(values.len()).max(1.0)
}

fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

/// Sessions begin when registrations are done and go on for a minute.
const BEGIN: Duration = Duration::from_secs(10);
const END: Duration = Duration::from_secs(70);
/// Half of the request clock.
const QUESTIONS_PER_SECOND: f64 = 0.25;
const BIN: Duration = Duration::from_millis(500);
const BINS: usize = 120;
/// A question takes up to this many bins from its first link to its last.
const LAGS: usize = 6;

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::*;

    #[test]
    fn correlation_is_one_for_the_same_and_nothing_for_what_is_still() {
        let series = [1.0, 0.0, 2.0, 5.0];
        assert!((correlation(&series, &series) - 1.0).abs() < 1e-12);
        assert!(correlation(&series, &[3.0; 4]).abs() < 1e-12);
    }

    #[test]
    fn a_lag_is_found() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let first: Vec<f64> = (0..BINS).map(|_| rng.random::<f64>()).collect();
        let mut then = vec![0.0; 4];
        then.extend_from_slice(&first[..BINS - 4]);
        assert!(best(Some(&first), Some(&then)) > 0.99);
        assert!(best(Some(&then), Some(&first)) < 0.5);
    }

    #[test]
    fn the_interval_narrows_with_sessions() {
        let few = Area::of(&[0.0, 1.0, 0.5, 0.5]);
        let many = Area::of(&[0.0, 1.0, 0.5, 0.5].repeat(100));
        assert!(few.low < many.low && many.high < few.high);
        assert!((many.value - 0.5).abs() < 1e-12);
    }
}
