//! How a driver publishes its account of packets: to the metrics facade and to the tap.

use metrics::{counter, gauge};
use wire::Ledger;

use crate::{Services, Sight};

impl Services {
    /// Publishes the totals of one node under its role, by names from closed lists. Drivers call
    /// it about once a second, and once before they end.
    pub fn publish(&self, role: &'static str, ledger: &Ledger, held: u64) {
        for (kind, count) in [
            ("received", ledger.received),
            ("made", ledger.made),
            ("sent", ledger.sent),
            ("consumed", ledger.consumed),
            ("lost", ledger.lost),
        ] {
            counter!("subrosa_packets_total", "role" => role, "kind" => kind).absolute(count);
        }
        for refusal in wire::Refusal::ALL {
            counter!("subrosa_refused_total", "role" => role, "reason" => refusal.label())
                .absolute(ledger.refused.of(refusal));
        }
        // Counts of held packets are far below 2^52.
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
        gauge!("subrosa_packets_held", "role" => role).set(held as f64);
        if let Some(tap) = &self.tap {
            tap.saw(Sight::Account {
                ledger: Box::new(ledger.clone()),
                held,
            });
        }
    }
}
