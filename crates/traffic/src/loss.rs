//! A sequential test for loss: CUSUM (Page 1954) over loops that came back or did not.

/// Whether the loops over one node are lost more often than a healthy network loses them.
///
/// The score rises by [`Self::LOST`] with a loop that did not come back and falls by one with
/// a loop that did, never below 0 nor above [`Self::THRESHOLD`]. At the threshold the alarm
/// begins; it ends when the score is down at [`Self::CLEAR`]. Bounds, exact and by Siegmund's
/// closed form, are in docs/spec/message.md, 12; the tests in `tests/loss.rs`
/// hold them and print them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LossTest {
    score: u8,
    alarm: bool,
}

impl LossTest {
    /// What a lost loop adds.
    pub const LOST: u8 = 5;
    /// The score at which the alarm begins.
    pub const THRESHOLD: u8 = 32;
    /// The score at which it ends.
    pub const CLEAR: u8 = 16;

    /// The present score, 0 when all is well.
    #[must_use]
    pub const fn score(&self) -> u8 {
        self.score
    }

    /// Whether more is lost than a healthy network loses.
    #[must_use]
    pub const fn alarms(&self) -> bool {
        self.alarm
    }

    /// A loop came back.
    pub const fn returned(&mut self) {
        self.score = self.score.saturating_sub(1);
        if self.score <= Self::CLEAR {
            self.alarm = false;
        }
    }

    /// A loop did not come back.
    pub const fn lost(&mut self) {
        self.score += Self::LOST;
        if self.score >= Self::THRESHOLD {
            // No higher, so that the alarm ends soon after the loss does.
            self.score = Self::THRESHOLD;
            self.alarm = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn total_loss_alarms_after_seven_loops() {
        let mut test = LossTest::default();
        let alarm = (1..).find(|_| {
            test.lost();
            test.alarms()
        });
        assert_eq!(alarm, Some(7));
    }

    #[test]
    fn the_alarm_ends_after_sixteen_healthy_loops_and_not_before() {
        let mut test = LossTest::default();
        (0..100).for_each(|_| test.lost());
        let over = (1..).find(|_| {
            test.returned();
            !test.alarms()
        });
        assert_eq!(over, Some(16));
    }

    #[test]
    fn the_alarm_does_not_flutter() {
        let mut test = LossTest::default();
        (0..7).for_each(|_| test.lost());
        // One in six is lost: the score goes nowhere, and the alarm stays.
        for number in 0..600 {
            if number % 6 == 5 {
                test.lost();
            } else {
                test.returned();
            }
            assert!(test.alarms());
        }
    }
}
