//! A sequential test for loss: CUSUM (Page 1954) over loops that came back or did not.

/// Tells "about one loop in a hundred is lost" from "one in five or more".
///
/// `S <- max(0, S + ln(P(outcome | faulty) / P(outcome | healthy)))`, alarm at
/// [`LossTest::THRESHOLD`]. Everything lost: alarm after 5 loops. Half of them: after about 10.
/// Healthy: a false alarm in more than a million loops.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct LossTest {
    score: f64,
}

impl LossTest {
    /// The score at which the test alarms.
    pub const THRESHOLD: f64 = 14.0;

    /// The present score, 0 when all is well.
    #[must_use]
    pub fn score(&self) -> f64 {
        self.score
    }

    /// Whether more is lost than a healthy network loses.
    #[must_use]
    pub fn alarms(&self) -> bool {
        self.score >= Self::THRESHOLD
    }

    /// A loop came back.
    pub fn returned(&mut self) {
        self.step(RETURNED);
    }

    /// A loop did not come back.
    pub fn lost(&mut self) {
        self.step(LOST);
    }

    fn step(&mut self, by: f64) {
        // Bounded above, so that the alarm ends soon after the loss does.
        self.score = (self.score + by).clamp(0.0, 2.0 * Self::THRESHOLD);
    }
}

/// `ln(0.20 / 0.01)`.
const LOST: f64 = 2.995_732_273_553_991;
/// `ln(0.80 / 0.99)`.
const RETURNED: f64 = -0.213_093_215_460_704_4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn total_loss_alarms_after_five_loops() {
        let mut test = LossTest::default();
        let alarm = (1..).find(|_| {
            test.lost();
            test.alarms()
        });
        assert_eq!(alarm, Some(5));
    }

    #[test]
    fn a_loss_of_one_in_a_hundred_never_alarms() {
        let mut test = LossTest::default();
        for loop_number in 0..100_000 {
            if loop_number % 100 == 99 {
                test.lost();
            } else {
                test.returned();
            }
            assert!(!test.alarms());
        }
    }

    #[test]
    fn a_loss_of_one_in_three_alarms_and_the_alarm_ends_with_it() {
        let mut test = LossTest::default();
        for loop_number in 0..60 {
            if loop_number % 3 == 0 {
                test.lost();
            } else {
                test.returned();
            }
        }
        assert!(test.alarms());
        (0..200).for_each(|_| test.returned());
        assert!(!test.alarms());
    }
}
