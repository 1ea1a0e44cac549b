//! What the driver tells the `metrics` facade: totals, by names from closed lists.

use ::metrics::{counter, gauge};

use super::EdgeReport;

/// Publishes the totals of one participant; `role` is `client` or `provider`.
pub(super) fn publish(role: &'static str, report: &EdgeReport) {
    let ledger = &report.ledger;
    for (kind, count) in [
        ("received", ledger.received),
        ("made", ledger.made),
        ("sent", ledger.sent),
        ("consumed", ledger.consumed),
        ("lost", ledger.lost),
    ] {
        counter!("subrosa_packets_total", "role" => role, "kind" => kind).absolute(count);
    }
    for (reason, count) in ledger.refused.iter() {
        counter!("subrosa_refused_total", "role" => role, "reason" => reason.label())
            .absolute(count);
    }
    // Counts of held packets are far below 2^52.
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
    gauge!("subrosa_packets_held", "role" => role).set(report.held as f64);
    counter!("subrosa_made_late_total", "role" => role).absolute(report.counts.made_late);
    counter!("subrosa_clock_stalls_total", "role" => role).absolute(report.counts.stalls);
}
