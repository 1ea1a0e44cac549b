//! How many packets a message takes: measured loss, repair to match, reply blocks in each
//! (docs/spec/message.md, 5).

use sphinx::Geometry;

use crate::fragment::{MAX_SURBS, Shape};
use crate::layout::request_symbol_len;

/// The share of packets that the network loses one way, as far as it was seen: by
/// acknowledgements of fragments, and by the own loops.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Loss(f64);

impl Loss {
    /// Before anything was seen.
    pub(crate) const UNKNOWN: Self = Self(0.03);

    /// Takes that one packet arrived.
    pub(crate) fn arrived(&mut self) {
        self.0 += (0.0 - self.0) * WEIGHT;
    }

    /// Takes that one packet did not.
    pub(crate) fn lost(&mut self) {
        self.0 += (1.0 - self.0) * WEIGHT;
    }

    /// The share by which to reckon: never none, never so much that everything is repair.
    pub(crate) fn share(self) -> f64 {
        self.0.clamp(0.005, 0.4)
    }

    /// How many packets beside `wanted` to send, so that fewer than `wanted` arrive in one case
    /// of a hundred.
    pub(crate) fn spare(self, wanted: u32) -> u32 {
        (0..=wanted.saturating_mul(2) + 8)
            .find(|spare| self.too_few(wanted, *spare) <= 0.01)
            .unwrap_or(wanted)
    }

    /// How likely it is that more than `spare` of `wanted + spare` packets are lost.
    fn too_few(self, wanted: u32, spare: u32) -> f64 {
        let (lost, kept) = (self.share(), 1.0 - self.share());
        let packets = f64::from(wanted + spare);
        // The binomial law, term by term.
        let mut term = kept.powf(packets);
        let mut at_most = term;
        for count in 0..spare {
            let count = f64::from(count);
            term *= (packets - count) / (count + 1.0) * lost / kept;
            at_most += term;
        }
        1.0 - at_most
    }
}

/// How a message to a mailbox is sent at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) shape: Shape,
    /// Reply blocks in each packet.
    pub(crate) surbs: usize,
    /// Packets, those that loss calls for included; one has no spare.
    pub(crate) packets: u32,
}

impl Plan {
    /// The plan of fewest packets for a message of `length` bytes to which up to `replies`
    /// packets come back; `None` if it is too large.
    pub(crate) fn of(geometry: Geometry, loss: Loss, length: u32, replies: u32) -> Option<Self> {
        (1..=MAX_SURBS)
            .filter_map(|surbs| {
                let symbol_len = request_symbol_len(geometry, surbs)?;
                let shape = Shape::of(length, symbol_len)?;
                // One way back is for the acknowledgement that a message of several packets
                // may need.
                let replies = replies + u32::from(shape.source() > 1);
                let each = u32::try_from(surbs).ok()?;
                let wanted = shape.source().max(replies.div_ceil(each));
                let spare = if wanted == 1 {
                    0
                } else {
                    loss.spare(wanted).max(1)
                };
                Some(Self {
                    shape,
                    surbs,
                    packets: wanted + spare,
                })
            })
            .min_by_key(|plan| plan.packets)
    }
}

/// Of the last packet among those before it: a hundred packets make the measure.
const WEIGHT: f64 = 0.01;

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha20Rng;

    use super::*;

    fn measured(share: f64) -> Loss {
        Loss(share)
    }

    fn plan(length: u32, replies: u32) -> (u32, usize, u32) {
        let plan = Plan::of(Geometry::DEFAULT, Loss::UNKNOWN, length, replies).unwrap();
        (plan.shape.source(), plan.surbs, plan.packets)
    }

    #[test]
    fn spare_packets_are_enough_in_99_cases_of_100() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        for share in [0.01, 0.05, 0.1, 0.3] {
            let loss = measured(share);
            for wanted in [1, 2, 10, 60, 163] {
                let spare = loss.spare(wanted);
                let short = (0..10_000)
                    .filter(|_| {
                        let draw = |_: &u32| rng.random_range(0.0..1.0) >= share;
                        (0..wanted + spare).filter(draw).count() < wanted as usize
                    })
                    .count();
                // Five standard deviations of Binomial(10,000, 0.01).
                assert!(short <= 150, "{wanted} of {share}: {short}");
                assert!(spare == 0 || loss.too_few(wanted, spare - 1) > 0.01);
            }
        }
    }

    #[test]
    fn repair_follows_what_was_seen() {
        let mut loss = Loss::UNKNOWN;
        let at_first = loss.spare(100);
        assert!((5..=10).contains(&at_first), "about a tenth: {at_first}");
        for _ in 0..500 {
            loss.arrived();
        }
        assert!(loss.spare(100) < at_first);
        for number in 0..500 {
            if number % 5 == 0 {
                loss.lost();
            } else {
                loss.arrived();
            }
        }
        assert!((0.1..0.3).contains(&loss.share()), "{}", loss.share());
        assert!(loss.spare(100) > 25);
    }

    #[test]
    fn one_packet_there_and_back_is_one_packet() {
        assert_eq!(plan(6_486, 1), (1, 1, 1));
        assert_eq!(plan(200, 4), (1, 4, 1));
        assert_eq!(plan(200, 16), (1, 16, 1));
    }

    #[test]
    fn reply_blocks_are_spread_over_the_fewest_packets() {
        // Sixty-four ways back, and one more for an acknowledgement if there are fragments.
        let (source, surbs, packets) = plan(200, 64);
        assert!(source == 1 && surbs * (packets as usize - 1) >= 64 && packets <= 6);
        let (source, surbs, packets) = plan(131_200, 64);
        assert!(source as usize * surbs > 64, "enough without the spare");
        assert!(packets <= 30, "{source} {surbs} {packets}");
        let (source, surbs, _) = plan(1 << 20, 64);
        assert_eq!((source, surbs), (162, 1));
    }

    #[test]
    fn what_fills_more_than_the_most_symbols_is_refused() {
        let most = 256 * 6_486;
        let of = |length| Plan::of(Geometry::DEFAULT, Loss::UNKNOWN, length, 1);
        assert!(of(most).is_some());
        assert_eq!(of(most + 1), None);
        assert_eq!(of(0), None);
        let tiny = Geometry::new(1_024).unwrap();
        assert_eq!(Plan::of(tiny, Loss::UNKNOWN, 1, 1), None);
    }
}
