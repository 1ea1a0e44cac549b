//! What an asker gets: the model's output and where the time went.

use std::time::Duration;

use wire::GraphHash;

/// A model's answer to one question.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answer {
    /// The model's output as it came: one integer an element.
    pub output: Vec<i32>,
    /// The label of the largest output (the first of equals), if the model names its outputs.
    pub label: Option<String>,
    /// The model's name in the catalogue.
    pub model: String,
    /// Which model exactly: the hash of its graph.
    pub graph_hash: GraphHash,
    /// Where the time went.
    pub latency: Latency,
    /// How often the question was sent, the first time included.
    pub attempts: u32,
    /// Packets of the question that left, repair included.
    pub packets: u32,
    /// What is known about the computation.
    pub proof: ProofStatus,
}

/// Where a question's time went. The parts add up to `total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Latency {
    /// From the question to the answer.
    pub total: Duration,
    /// The delays at mixes that this client drew, both ways.
    pub mixing: Duration,
    /// Waiting for this client's request clock and slots, and at the provider for its answer
    /// tick.
    pub slots: Duration,
    /// All else: links, the clocks of gateways and provider, attempts that were lost.
    pub network: Duration,
    /// The model's run, as the provider reports it.
    pub compute: Duration,
}

impl Latency {
    /// Splits `total`. What a provider claims is cut to what fits, so that the sum holds.
    pub(crate) fn split(
        total: Duration,
        mixing: Duration,
        slots: Duration,
        compute: Duration,
    ) -> Self {
        let mut left = total;
        let mut take = |part: Duration| {
            let taken = part.min(left);
            left -= taken;
            taken
        };
        let mixing = take(mixing);
        let compute = take(compute);
        let slots = take(slots);
        Self {
            total,
            mixing,
            slots,
            network: left,
            compute,
        }
    }
}

/// What is known about the computation behind an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProofStatus {
    /// No proof was asked for: the provider's word.
    NotAsked,
}

/// The place of the largest value, the lowest among equals.
pub(crate) fn argmax(values: &[i32]) -> Option<usize> {
    let largest = values.iter().max()?;
    values.iter().position(|value| value == largest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_equal_outputs_wins() {
        assert_eq!(argmax(&[3, 9, -1, 9]), Some(1));
        assert_eq!(argmax(&[]), None);
    }

    #[test]
    fn the_parts_add_up_whatever_the_provider_claims() {
        bolero::check!()
            .with_type::<(u32, u32, u32, u32)>()
            .for_each(|&(total, mixing, slots, compute)| {
                let micros = |n: u32| Duration::from_micros(n.into());
                let latency = Latency::split(
                    micros(total),
                    micros(mixing),
                    micros(slots),
                    micros(compute),
                );
                let sum = latency.mixing + latency.slots + latency.network + latency.compute;
                assert_eq!(sum, latency.total);
            });
    }
}
