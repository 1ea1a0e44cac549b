//! Time as an argument: nanoseconds since the Unix epoch, from a clock that only the front door reads.

use std::time::Duration;

use crate::{Decode, DecodeError, Encode, Reader, Writer};

/// A point in time: nanoseconds since the Unix epoch.
///
/// Within a process it never runs backwards: the front door adds a monotonic clock to the
/// wall clock read at the start. Simulations count from zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(u64);

impl Time {
    /// The Unix epoch.
    pub const ZERO: Self = Self(0);
    /// Later than anything that happens.
    pub const MAX: Self = Self(u64::MAX);

    /// `nanos` nanoseconds after the Unix epoch.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the Unix epoch.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// How long after `earlier` this is; zero if it is not after.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// This much later, or [`Time::MAX`].
    #[must_use]
    pub fn after(self, gap: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(gap.as_nanos()).unwrap_or(u64::MAX)),
        )
    }

    /// This much earlier, or [`Time::ZERO`].
    #[must_use]
    pub fn before(self, gap: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(u64::try_from(gap.as_nanos()).unwrap_or(u64::MAX)),
        )
    }
}

impl Encode for Time {
    fn encode(&self, writer: &mut Writer) {
        writer.u64(self.0);
    }
}

impl Decode for Time {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.u64().map(Self)
    }
}
