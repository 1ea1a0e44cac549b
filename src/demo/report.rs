//! What a demo found, as one value: the closing screen and the JSON are made from it.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::demo::inspector::{Journey, Knowledge};

/// One question and what came of it.
#[derive(Debug, Clone, Serialize)]
pub struct Asked {
    /// The model asked.
    pub model: String,
    /// Which held-out sample, counted from 0.
    pub sample: usize,
    /// Its true label.
    pub label: String,
    /// The label answered; `None` if no answer came.
    pub answer: Option<String>,
    /// Whether the output equals the local reference interpreter's, bit for bit.
    pub exact: bool,
    /// From the question to the answer.
    pub latency_ms: Option<f64>,
    /// Why there is no answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Asked {
    /// Whether the answer is the true label.
    #[must_use]
    pub fn correct(&self) -> bool {
        self.answer.as_deref() == Some(&self.label)
    }
}

/// How often a model's answers were right.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Score {
    /// Questions.
    pub asked: usize,
    /// Answers.
    pub answered: usize,
    /// Answers equal to the reference bit for bit.
    pub exact: usize,
    /// Answers equal to the true label.
    pub correct: usize,
    /// Correct over asked.
    pub accuracy: f64,
}

/// Packets of all nodes together.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Packets {
    /// Length of every packet on every link.
    pub size_bytes: usize,
    /// Made at the edge and by relays, by kind.
    pub made: BTreeMap<String, u64>,
    /// Sent over links, all nodes together.
    pub sent: u64,
    /// Whether every node's account balances: received + made = sent + consumed + refused + held.
    pub balanced: bool,
    /// Below the packets, with `--loss`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub datagrams: Option<Datagrams>,
}

/// Datagrams of all nodes and clients together, on paths that lose some.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Datagrams {
    /// The share that was to be lost.
    pub loss: f64,
    /// Put on a path.
    pub came: u64,
    /// Of those, what did not arrive.
    pub dropped: u64,
}

/// One row of the table who learnt what.
#[derive(Debug, Clone, Serialize)]
pub struct Party {
    /// Its part in the followed question.
    pub part: String,
    /// The nodes that played it.
    pub nodes: Vec<String>,
    /// What any of them learnt.
    #[serde(flatten)]
    pub knowledge: Knowledge,
}

/// One question, followed by its packets.
#[derive(Debug, Clone)]
pub struct Followed {
    /// The question.
    pub asked: Asked,
    /// Its packet's way to the provider.
    pub out: Option<Journey>,
    /// Its answer's way back.
    pub back: Option<Journey>,
    /// Where the milliseconds went, by the client's own account.
    pub split_ms: Vec<(&'static str, f64)>,
}

/// Everything that a demo found.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Whether every question was answered exactly.
    pub ok: bool,
    /// Every question.
    pub questions: Vec<Asked>,
    /// Scores by model.
    pub accuracy: BTreeMap<String, Score>,
    /// Packets of all nodes together.
    pub packets: Packets,
    /// Packets refused, by reason, all nodes together.
    pub refused: BTreeMap<String, u64>,
    /// Who learnt what of the followed question.
    pub learnt: Vec<Party>,
    /// From start to end.
    pub wall_s: f64,
}

impl Report {
    /// Puts a report together.
    #[must_use]
    pub fn new(
        questions: Vec<Asked>,
        packets: Packets,
        refused: BTreeMap<String, u64>,
        learnt: Vec<Party>,
        wall_s: f64,
    ) -> Self {
        let mut accuracy: BTreeMap<String, Score> = BTreeMap::new();
        for asked in &questions {
            let score = accuracy.entry(asked.model.clone()).or_default();
            score.asked += 1;
            score.answered += usize::from(asked.answer.is_some());
            score.exact += usize::from(asked.exact);
            score.correct += usize::from(asked.correct());
        }
        for score in accuracy.values_mut() {
            #[allow(clippy::cast_precision_loss, reason = "a few hundred at most")]
            let ratio = score.correct as f64 / score.asked as f64;
            score.accuracy = ratio;
        }
        let complete = !questions.is_empty() && questions.iter().all(|asked| asked.exact);
        let joined = learnt
            .iter()
            .any(|party| party.knowledge.joins_asker_to_question());
        let ok = complete && packets.balanced && !joined;
        Self {
            ok,
            questions,
            accuracy,
            packets,
            refused,
            learnt,
            wall_s,
        }
    }

    /// Median, 99th percentile and worst latency in milliseconds.
    #[must_use]
    pub fn latencies(&self) -> Option<[f64; 3]> {
        let mut all: Vec<f64> = self.questions.iter().filter_map(|a| a.latency_ms).collect();
        all.sort_by(f64::total_cmp);
        let rank = |percent: usize| (all.len() * percent).div_ceil(100).saturating_sub(1);
        Some([*all.get(rank(50))?, *all.get(rank(99))?, *all.last()?])
    }
}

/// The client that asks, as the inspector knows it. It has no row: it alone may know everything.
pub const ASKER: &str = "asker";

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(exact: bool) -> Asked {
        Asked {
            model: "tumour".into(),
            sample: 0,
            label: "benign".into(),
            answer: Some("benign".into()),
            exact,
            latency_ms: Some(500.0),
            error: None,
        }
    }

    fn report(questions: Vec<Asked>, balanced: bool, learnt: Vec<Party>) -> Report {
        let packets = Packets {
            balanced,
            ..Packets::default()
        };
        Report::new(questions, packets, BTreeMap::new(), learnt, 1.0)
    }

    #[test]
    fn latencies_are_those_of_so_many_in_a_hundred() {
        let of = |ms: u32| Asked {
            latency_ms: Some(ms.into()),
            ..asked(true)
        };
        let of_many = report((1..=200).rev().map(of).collect(), true, Vec::new());
        assert_eq!(of_many.latencies(), Some([100.0, 198.0, 200.0]));
        let of_one = report(vec![of(7)], true, Vec::new());
        assert_eq!(of_one.latencies(), Some([7.0, 7.0, 7.0]));
        assert_eq!(report(Vec::new(), true, Vec::new()).latencies(), None);
    }

    #[test]
    fn one_inexact_answer_is_a_failure() {
        assert!(report(vec![asked(true)], true, Vec::new()).ok);
        assert!(!report(vec![asked(true), asked(false)], true, Vec::new()).ok);
        assert!(!report(Vec::new(), true, Vec::new()).ok);
    }

    #[test]
    fn an_account_that_does_not_balance_is_a_failure() {
        assert!(!report(vec![asked(true)], false, Vec::new()).ok);
    }

    #[test]
    fn a_party_that_joins_asker_and_question_is_a_failure() {
        let all = Knowledge {
            address: true,
            question: true,
            ..Knowledge::default()
        };
        let party = |part: &str| Party {
            part: part.into(),
            nodes: Vec::new(),
            knowledge: all,
        };
        let half = Knowledge {
            question: true,
            answer: true,
            ..Knowledge::default()
        };
        let provider = Party {
            knowledge: half,
            ..party("provider")
        };
        assert!(report(vec![asked(true)], true, vec![provider]).ok);
        assert!(!report(vec![asked(true)], true, vec![party("mixes")]).ok);
    }
}
