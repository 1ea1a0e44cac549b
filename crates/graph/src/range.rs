//! Intervals: what is proven of every value before any input is seen.

/// The closed interval in which every element of a value lies, for every input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    lo: i64,
    hi: i64,
}

impl Range {
    /// `None` if `lo` is above `hi`, or either is `2^46` or more in magnitude.
    #[must_use]
    pub const fn new(lo: i64, hi: i64) -> Option<Self> {
        if lo <= hi && lo > -WIDE_BOUND && hi < WIDE_BOUND {
            Some(Self { lo, hi })
        } else {
            None
        }
    }

    /// Everything below `bound` in magnitude.
    pub(crate) const fn below(bound: i64) -> Self {
        Self {
            lo: -(bound - 1),
            hi: bound - 1,
        }
    }

    /// Smallest element possible.
    #[must_use]
    pub const fn lo(self) -> i64 {
        self.lo
    }

    /// Largest element possible.
    #[must_use]
    pub const fn hi(self) -> i64 {
        self.hi
    }

    /// Largest magnitude possible.
    #[must_use]
    pub const fn magnitude(self) -> i64 {
        let (below, above) = (self.lo.abs(), self.hi.abs());
        if below > above { below } else { above }
    }

    /// Whether every element is an `i16`: an activation.
    #[must_use]
    pub const fn fits_i16(self) -> bool {
        self.lo >= i16::MIN as i64 && self.hi <= i16::MAX as i64
    }

    /// Whether every element is an `i32`.
    #[must_use]
    pub const fn fits_i32(self) -> bool {
        self.lo >= i32::MIN as i64 && self.hi <= i32::MAX as i64
    }

    /// What is left of the interval after `clamp(x, lo, hi)`.
    pub(crate) fn clamped(self, lo: i32, hi: i32) -> Self {
        let clamp = |x: i64| x.clamp(lo.into(), hi.into());
        Self {
            lo: clamp(self.lo),
            hi: clamp(self.hi),
        }
    }
}

/// Magnitudes of narrow accumulators stay below this.
pub(crate) const NARROW_BOUND: i64 = 1 << 30;

/// Magnitudes of wide accumulators stay below this, so that one times a `u16` is an `i64`.
pub(crate) const WIDE_BOUND: i64 = 1 << 46;
