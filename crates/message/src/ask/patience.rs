//! When something should have been heard of an attempt, and where its time went
//! (docs/spec/message.md, 7).

use std::time::Duration;

use rand::CryptoRng;
use wire::Time;

use super::{Attempt, Surroundings, Timing, What};
use crate::expect::{forwarding_quantile, randomised, shared_slots_quantile, slots_quantile};
use crate::fragment::Shape;
use crate::layout::to_usize;
use crate::repair::Loss;

impl Attempt {
    /// Sets the time by which something should be heard, once all packets have left: exact for
    /// what the sender chose, quantiles of public laws for what others choose.
    pub(super) fn expect(&mut self, now: Time, rng: &mut dyn CryptoRng, around: &Surroundings<'_>) {
        if !self.out.is_out() {
            return;
        }
        let chosen = self.out.last_reply().unwrap_or(now).since(now);
        let patience = f64::from(self.out.times_unheard().min(4)).mul_add(0.5, 1.0);
        let others = around.others(self.out.end(), self.what).mul_f64(patience);
        self.expected_by = Some(now.after(chosen + randomised(rng, others)));
    }

    /// Once a part of the answer is there, the rest follows closely.
    pub(super) fn hurry(
        &mut self,
        now: Time,
        rng: &mut dyn CryptoRng,
        around: &Surroundings<'_>,
        shape: Shape,
    ) {
        let rest = self.what.replies().saturating_sub(self.answer.symbols);
        let rest = rest.min(shape.source() + 2);
        let wait = self.out.longest_back() + around.deliveries(rest) + around.jitter.bound();
        let soon = now.after(randomised(rng, wait));
        if self.out.is_out() {
            self.expected_by = Some(self.expected_by.map_or(soon, |by| by.min(soon)));
        }
    }

    /// Reply blocks that the other side needs besides those that it has.
    pub(super) fn replies_wanted(&self, loss: Loss) -> u32 {
        let What::Question { class, .. } = self.what else {
            return 1;
        };
        if self.answer.symbols == 0 {
            return 1;
        }
        let source = Shape::of_class(class, 1).source();
        let missing = source.saturating_sub(self.answer.symbols).max(1);
        let missing = missing + loss.spare(missing);
        missing.saturating_sub(self.answer.held.into())
    }

    pub(super) fn timing(&self, now: Time, mixing_back: Duration) -> Timing {
        // The packet that made the request complete, had none been lost.
        let mut sent: Vec<(Time, Duration)> = self.out.departures().collect();
        sent.sort_by_key(|(left, delay)| left.after(*delay));
        let last = sent.get(to_usize(self.out.source()).saturating_sub(1));
        let (left, mixing_out) = last
            .or(sent.last())
            .copied()
            .unwrap_or((self.began, Duration::ZERO));
        Timing {
            total: now.since(self.began),
            queued: left.since(self.began),
            mixing_out,
            mixing_back,
            repeats: self.repeats,
            packets: u32::try_from(sent.len()).unwrap_or(u32::MAX),
        }
    }
}

impl Surroundings<'_> {
    /// What slots, links and the legs of others may add to the delays chosen, for a message of
    /// `packets` that have all left.
    fn others(&self, packets: u32, what: What) -> Duration {
        let parameters = self.topology.parameters();
        let slowest = parameters.classes.iter().copied();
        let slowest = slowest.min_by_key(|rate| rate.millihertz());
        let (theirs, answer) = match what {
            What::Question { .. } => {
                let rate = parameters.class(parameters.provider_class);
                (rate.unwrap_or(self.rate), self.deliveries(what.replies()))
            }
            // An agent may be of any class, and answers in its next slot.
            What::Letter(_) => (slowest.unwrap_or(self.rate), Duration::ZERO),
        };
        // The packets left one by one: most of them are through when the last one leaves.
        let behind = twice(theirs).per_second() / self.rate.per_second();
        let behind = if behind >= 1.0 { 1 } else { packets };
        let ticks = match what {
            What::Question { .. } => parameters.answer_tick * 2,
            What::Letter(_) => Duration::ZERO,
        };
        self.jitter.bound() * 2
            + forwarding_quantile(parameters, behind)
            + shared_slots_quantile(twice(theirs), behind)
            + ticks
            + shared_slots_quantile(theirs, what.replies())
            + answer
    }

    /// In what time the own gateway delivers `packets`.
    fn deliveries(&self, packets: u32) -> Duration {
        slots_quantile(self.rate, 1) + shared_slots_quantile(twice(self.rate), packets)
    }
}

fn twice(rate: traffic::Rate) -> traffic::Rate {
    traffic::Rate::new(rate.per_second() * 2.0).unwrap_or(rate)
}
