//! Which run of the machine this is.

use std::fs;

/// Identifies one run of the machine, from start to power-off: what the page cache survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BootId(pub [u8; 16]);

impl BootId {
    /// The run of the machine that this process is part of.
    ///
    /// [`BootId::UNKNOWN`] where the system does not tell: every log that was not closed is
    /// then taken for one that a power cut interrupted.
    #[must_use]
    pub fn current() -> Self {
        let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let hex: String = text.chars().filter(char::is_ascii_hexdigit).collect();
        match u128::from_str_radix(&hex, 16) {
            Ok(number) if hex.len() == 32 => Self(number.to_be_bytes()),
            _ => Self::UNKNOWN,
        }
    }

    /// A run of which nothing is known; the same as none, not even itself.
    pub const UNKNOWN: Self = Self([0; 16]);

    /// Whether both are known and the same run.
    #[must_use]
    pub fn is_same_run(self, other: Self) -> bool {
        self == other && self != Self::UNKNOWN
    }
}
