//! What can go wrong, in words for the person who asked.

use std::fmt;
use std::time::Duration;

use directory::DirectoryError;
use link::LinkError;
use message::EdgeError;
use thiserror::Error;
use wire::RequestFailure;

/// Why a question has no answer.
///
/// Split by who can act: the first four are the caller's to mend, the next three the
/// network's or the clock's, the rest the provider's.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum QueryError {
    /// No provider of the catalogue serves a model of this name.
    #[error("no model \"{asked}\"{}(subrosa models lists {known})", DidYouMean(.nearest.as_deref()))]
    NoSuchModel {
        /// The name asked for.
        asked: String,
        /// The listed name that is closest to it, if one is close.
        nearest: Option<String>,
        /// How many models are listed.
        known: usize,
    },
    /// Providers offer different models under this name.
    #[error(
        "{model}: {versions} different models have this name; ask by graph hash (subrosa models lists them)"
    )]
    AmbiguousModel {
        /// The name asked for.
        model: String,
        /// How many there are.
        versions: usize,
    },
    /// The input has too few or too many numbers.
    #[error("{model}: expected {expected} numbers, got {got}")]
    BadInput {
        /// The model asked.
        model: String,
        /// How many numbers it takes.
        expected: usize,
        /// How many were given.
        got: usize,
    },
    /// A number of the input is infinite, or not a number at all.
    #[error("{model}: number {place} of the input is not finite")]
    NotFinite {
        /// The model asked.
        model: String,
        /// Which number, counted from 1.
        place: usize,
    },
    /// An integer of the input lies outside what the model takes.
    #[error("{model}: number {place} of the input is outside {lo}..={hi}")]
    OutOfRange {
        /// The model asked.
        model: String,
        /// Which number, counted from 1.
        place: usize,
        /// Smallest integer that the model takes.
        lo: i32,
        /// Largest integer that the model takes.
        hi: i32,
    },
    /// A proof was asked for, and no provider can give one yet; nothing was sent.
    #[error("{model}: no provider proves its answers yet; nothing was sent")]
    NoProof {
        /// The model asked.
        model: String,
    },
    /// The deadline is longer than repeats of a question are recognised.
    #[error("deadline of {} s is above the bound of {} s", .asked.as_secs(), .bound.as_secs())]
    DeadlineTooLong {
        /// The deadline asked for.
        asked: Duration,
        /// The longest that is accepted.
        bound: Duration,
    },
    /// The deadline passed.
    #[error("no answer within {:.1} s", .after.as_secs_f64())]
    Timeout {
        /// How long was waited.
        after: Duration,
    },
    /// The deadline passed while packets got lost on the way: then nothing real is sent.
    #[error(
        "packets get lost in the network; withheld for safety, no answer within {:.1} s",
        .after.as_secs_f64()
    )]
    Withheld {
        /// How long was waited.
        after: Duration,
    },
    /// It would have taken more reply blocks than a client has out, or than one question may use.
    #[error("out of reply blocks; too much was lost, or too much is asked at once")]
    SurbsExhausted,
    /// The provider is not in the newest directory document any more.
    #[error("{model}: the provider is gone from the directory; ask again for another")]
    ProviderGone {
        /// The model asked.
        model: String,
    },
    /// The input is longer than a request may be.
    #[error("{model}: the input is longer than a request may be")]
    TooLarge {
        /// The model asked.
        model: String,
    },
    /// The directory in force offers no way to the provider.
    #[error("no way to the provider: {0}")]
    NoRoute(EdgeError),
    /// There is no link to the gateway.
    #[error("not connected to a gateway")]
    NotConnected,
    /// The directory is too old to choose routes by.
    #[error(
        "directory: newest document is {epochs} epochs old; refusing to send (check the clock)"
    )]
    StaleDirectory {
        /// How old, in epochs.
        epochs: u64,
    },
    /// The directory is not to be trusted, or not safe to choose routes by.
    #[error("directory: {0}; refusing to send")]
    Directory(DirectoryError),
    /// As many questions are under way as this client allows.
    #[error("too many questions at once; wait for an answer")]
    Overload,
    /// The provider answered that it has no answer.
    #[error("provider: {}", reason(*.0))]
    ProviderFailed(RequestFailure),
    /// The provider's answer does not fit the model that was asked.
    #[error("{model}: the answer does not fit the model; not passed on")]
    BadAnswer {
        /// The model asked.
        model: String,
    },
    /// The client was closed.
    #[error("the client is closed")]
    Closed,
}

/// Why a letter was not delivered, or nobody said that it was.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LetterError {
    /// It is longer than a letter may be.
    #[error("a letter of {length} B; at most {bound} B are sent in one")]
    TooLarge {
        /// Its length.
        length: usize,
        /// The longest.
        bound: usize,
    },
    /// The deadline is longer than repeats of a letter are recognised.
    #[error("deadline of {} s is above the bound of {} s", .asked.as_secs(), .bound.as_secs())]
    DeadlineTooLong {
        /// The deadline asked for.
        asked: Duration,
        /// The longest that is accepted.
        bound: Duration,
    },
    /// Nobody said in time that it arrived. It may have arrived all the same.
    #[error(
        "nobody said within {:.1} s that the letter arrived; is anybody listening there?",
        .after.as_secs_f64()
    )]
    Timeout {
        /// How long was waited.
        after: Duration,
    },
    /// The deadline passed while packets got lost on the way: then nothing real is sent.
    #[error(
        "packets get lost in the network; withheld for safety, not delivered within {:.1} s",
        .after.as_secs_f64()
    )]
    Withheld {
        /// How long was waited.
        after: Duration,
    },
    /// It would have taken more reply blocks than a client has out, or than one letter may use.
    #[error("out of reply blocks; too much was lost, or too much is sent at once")]
    SurbsExhausted,
    /// The directory lists none of the gateways that kept the mailbox.
    #[error("the directory lists none of the contact's gateways; ask its owner for a new contact")]
    Unreachable,
    /// As many letters as a client sends at once are on their way.
    #[error("too many letters at once; try again when some have arrived")]
    Overload,
    /// The directory in force offers no way.
    #[error("no way there: {0}")]
    NoRoute(EdgeError),
    /// There is no link to the gateway, no document to send by, or the client is closed.
    #[error("{0}")]
    NotUsable(QueryError),
}

impl From<EdgeError> for LetterError {
    fn from(why: EdgeError) -> Self {
        match why {
            EdgeError::Overload => Self::Overload,
            EdgeError::SurbsExhausted => Self::SurbsExhausted,
            EdgeError::UnknownMailboxGateway => Self::Unreachable,
            why => Self::NoRoute(why),
        }
    }
}

/// Why a client could not join the network.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The builder was given no network.
    #[error("no network given; pass the network file's contents to the builder")]
    NoNetwork,
    /// The signed parameters have no such rate class.
    #[error("rate class {asked} does not exist; the network has {known}")]
    NoSuchClass {
        /// The class asked for.
        asked: u8,
        /// How many there are.
        known: usize,
    },
    /// The network's bootstrap list does not have the gateway asked for, or none at all.
    #[error("the network file lists no such gateway in its bootstrap list")]
    NoGateway,
    /// The socket could not be opened.
    #[error("link: {0}")]
    Link(LinkError),
    /// The directory is not to be trusted, or not safe to choose routes by.
    #[error("directory: {0}; refusing to send")]
    Directory(DirectoryError),
    /// The directory in force has no place for this client.
    #[error("cannot join: {0}")]
    Unfit(EdgeError),
    /// None of the network's addresses gave a directory document in time.
    #[error("no gateway reached within {:.1} s", .after.as_secs_f64())]
    Unreachable {
        /// How long was tried.
        after: Duration,
    },
    /// The directory is too old to choose routes by.
    #[error(
        "directory: newest document is {epochs} epochs old; refusing to send (check the clock)"
    )]
    StaleDirectory {
        /// How old, in epochs.
        epochs: u64,
    },
}

/// The words for a failure that a provider may report.
const fn reason(failure: RequestFailure) -> &'static str {
    match failure {
        RequestFailure::UnknownModel => "does not serve this model any more",
        RequestFailure::BadInput => "the input does not fit its model",
        RequestFailure::AnswerTooLarge => "the answer does not fit its class",
        RequestFailure::ModelTimeout => "the model took too long",
        RequestFailure::ModelMemory => "the model ran out of memory",
        RequestFailure::Overload => "at its bound; ask again later",
        RequestFailure::ModelFault => "the model failed",
        _ => "failed for a reason that this client does not know",
    }
}

/// The middle of "no model ..; did you mean ..?".
struct DidYouMean<'a>(Option<&'a str>);

impl fmt::Display for DidYouMean<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(name) => write!(f, "; did you mean \"{name}\"? "),
            None => f.write_str(" "),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_thing_the_reason_and_the_way_out() {
        let near = QueryError::NoSuchModel {
            asked: "tumor".into(),
            nearest: Some("tumour".into()),
            known: 2,
        };
        let far = QueryError::NoSuchModel {
            asked: "weather".into(),
            nearest: None,
            known: 2,
        };
        let short = QueryError::BadInput {
            model: "tumour".into(),
            expected: 30,
            got: 29,
        };
        let stale = QueryError::StaleDirectory { epochs: 3 };
        assert_eq!(
            near.to_string(),
            "no model \"tumor\"; did you mean \"tumour\"? (subrosa models lists 2)"
        );
        assert_eq!(
            far.to_string(),
            "no model \"weather\" (subrosa models lists 2)"
        );
        assert_eq!(short.to_string(), "tumour: expected 30 numbers, got 29");
        assert_eq!(
            stale.to_string(),
            "directory: newest document is 3 epochs old; refusing to send (check the clock)"
        );
    }
}
