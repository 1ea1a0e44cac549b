//! Who becomes a client of this gateway.
//!
//! Today everyone does, up to a bound. Tokens will be checked here: they arrive in the
//! [`Applicant`], and another [`Admission`] decides.

use wire::CallRefused;

/// Someone who asks for an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Applicant {
    /// Index of the rate class asked for; the signed parameters have it.
    pub class: u8,
    /// Accounts in use.
    pub accounts: usize,
    /// Accounts that the gateway keeps at most.
    pub bound: usize,
}

/// What becomes of an applicant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// An account is opened.
    Admit,
    /// No account, for this reason.
    Refuse(CallRefused),
}

/// The rule by which a gateway opens accounts.
pub trait Admission: Send + Sync {
    /// Decides about `applicant`, who has no account yet.
    fn decide(&mut self, applicant: &Applicant) -> Decision;
}

/// Everyone, up to the bound.
#[derive(Debug, Clone, Copy, Default)]
pub struct EveryoneUpToTheBound;

impl Admission for EveryoneUpToTheBound {
    fn decide(&mut self, applicant: &Applicant) -> Decision {
        if applicant.accounts < applicant.bound {
            Decision::Admit
        } else {
            Decision::Refuse(CallRefused::Busy)
        }
    }
}
