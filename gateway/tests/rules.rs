//! A gateway's rules, one by one, on a virtual clock.

#![allow(
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    unreachable_pub,
    reason = "tests"
)]

#[path = "rules/admission.rs"]
mod admission;
#[path = "rules/arrivals.rs"]
mod arrivals;
#[path = "rules/clocks.rs"]
mod clocks;
#[path = "rules/epochs.rs"]
mod epochs;
#[path = "rules/feeds.rs"]
mod feeds;
#[path = "rules/fixture.rs"]
mod fixture;
#[path = "rules/floods.rs"]
mod floods;
#[path = "rules/law.rs"]
mod law;
#[path = "rules/mailboxes.rs"]
mod mailboxes;
#[path = "rules/operations.rs"]
mod operations;
