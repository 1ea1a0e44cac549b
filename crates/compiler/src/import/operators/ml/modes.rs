//! What a tree's node asks of a feature, and the splits that ask it of integers.

use graph::Split;

use super::exact::{Feature, Side};

/// What a node asks of `x`, with its threshold `t`.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Mode {
    AtMost(f64),
    Below(f64),
    AtLeast(f64),
    Above(f64),
    Equal(f64),
    Unequal(f64),
    /// Whether `x` is one of these: sorted, at least one.
    Member(Vec<f64>),
}

/// Where a descent goes: out of the node, or to another of the splits that ask its question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Yes,
    No,
    To(usize),
}

/// `x <= t` or `x < t`.
#[derive(Debug, Clone, Copy)]
enum Test {
    AtMost(f64),
    Below(f64),
}

/// One test, where it leads, and where a number leads that is missing.
struct Question {
    test: Test,
    holds: Way,
    fails: Way,
    missing: Way,
}

impl Mode {
    /// The splits that ask this of `feature`, the first of which will be at place `first`.
    ///
    /// A comparison with a number that is missing fails, unless `missing` says that it holds.
    /// `heeded` is whether any node of the model is told of missing numbers: if none is, they do
    /// not come.
    pub(super) fn splits(
        &self,
        feature: &Feature,
        first: usize,
        [yes, no]: [usize; 2],
        [missing, heeded]: [bool; 2],
    ) -> Vec<Split> {
        let place = |way: Way| match way {
            Way::Yes => yes,
            Way::No => no,
            Way::To(question) => first + question,
        };
        let index = |way: Way| u32::try_from(place(way)).unwrap_or(u32::MAX);
        let split = |question: Question| {
            let side = feature.side(|x| match question.test {
                Test::AtMost(t) => x <= t,
                Test::Below(t) => x < t,
            });
            let (threshold, yes, no) = match side {
                Side::Holds(key) => (key, question.holds, question.fails),
                Side::Fails(key) => (key, question.fails, question.holds),
            };
            Split {
                feature: feature.element,
                threshold,
                missing: heeded && question.missing == yes,
                yes: index(yes),
                no: index(no),
            }
        };
        self.questions(missing).into_iter().map(split).collect()
    }

    /// How many splits ask this.
    pub(super) const fn count(&self) -> usize {
        match self {
            Self::AtMost(_) | Self::Below(_) | Self::AtLeast(_) | Self::Above(_) => 1,
            Self::Equal(_) | Self::Unequal(_) => 2,
            Self::Member(members) => 2 * members.len(),
        }
    }

    fn questions(&self, missing: bool) -> Vec<Question> {
        let lost = if missing { Way::Yes } else { Way::No };
        let one = |test, holds, fails| {
            vec![Question {
                test,
                holds,
                fails,
                missing: lost,
            }]
        };
        match self {
            Self::AtMost(t) => one(Test::AtMost(*t), Way::Yes, Way::No),
            Self::Below(t) => one(Test::Below(*t), Way::Yes, Way::No),
            Self::AtLeast(t) => one(Test::Below(*t), Way::No, Way::Yes),
            Self::Above(t) => one(Test::AtMost(*t), Way::No, Way::Yes),
            Self::Equal(t) => members(&[*t], Way::Yes, Way::No, lost),
            // What is missing is unlike every number.
            Self::Unequal(t) => members(&[*t], Way::No, Way::Yes, Way::Yes),
            Self::Member(all) => members(all, Way::Yes, Way::No, lost),
        }
    }
}

/// Is `x` at most this member, and not below it? Else the next.
fn members(all: &[f64], inside: Way, outside: Way, lost: Way) -> Vec<Question> {
    let pair = |(place, t): (usize, &f64)| {
        let last = place + 1 == all.len();
        // The last of the questions has both ways out.
        let next = if last {
            outside
        } else {
            Way::To(2 * place + 2)
        };
        let on = if next == lost {
            next
        } else {
            Way::To(2 * place + 1)
        };
        let at_most = Question {
            test: Test::AtMost(*t),
            holds: Way::To(2 * place + 1),
            fails: next,
            missing: on,
        };
        let below = Question {
            test: Test::Below(*t),
            holds: outside,
            fails: inside,
            missing: lost,
        };
        [at_most, below]
    };
    all.iter().enumerate().flat_map(pair).collect()
}
