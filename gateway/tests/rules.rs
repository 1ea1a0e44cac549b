//! A gateway's rules, one by one, on a virtual clock.

#[path = "rules/admission.rs"]
mod admission;
#[path = "rules/fixture.rs"]
mod fixture;
