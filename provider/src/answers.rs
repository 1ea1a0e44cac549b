//! The answers that a provider keeps: one an id, to the end of the epoch after the one in which
//! the question came, bounded in count and bytes.
//!
//! Nothing is forgotten to make room: a full book takes no new question, so that no question runs
//! twice. Room for an answer is reserved when its question is taken.

use std::collections::BTreeMap;
use std::time::Duration;

use wire::{Epoch, Outcome, RequestFailure, RequestId};
use zeroize::Zeroizing;

use crate::JobNumber;

/// Bounds of the book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BookBounds {
    /// Most answers.
    pub(crate) answers: usize,
    /// Most bytes of output in them.
    pub(crate) bytes: usize,
}

/// What came of a question that was run, kept for its repeats.
pub(crate) struct Settled {
    /// Output, or why there is none.
    pub(crate) outcome: Result<Zeroizing<Vec<u8>>, RequestFailure>,
    /// Time that the model ran.
    pub(crate) compute: Duration,
    /// From arrival to release, once it was released: each repeat says the same, so that parts
    /// of all that arrive are parts of one answer.
    pub(crate) held: Option<Duration>,
}

impl Settled {
    pub(crate) fn outcome(&self) -> Outcome {
        match &self.outcome {
            Ok(output) => Outcome::Output(output.to_vec()),
            Err(why) => Outcome::Failed(*why),
        }
    }
}

/// What the book knows about an id.
pub(crate) enum Known {
    /// Never seen.
    New,
    /// Being computed under this number.
    Running(JobNumber),
    /// Answered: this, after this much time in the model.
    Settled(Outcome, Duration),
    /// Run before a restart; its answer was not kept.
    Lost,
    /// Seen with another question in it.
    OtherQuestion,
}

/// The answers of this epoch and the one before.
pub(crate) struct AnswerBook {
    bounds: BookBounds,
    current: Generation,
    previous: Generation,
}

impl AnswerBook {
    pub(crate) fn new(bounds: BookBounds, epoch: Epoch) -> Self {
        Self {
            bounds,
            current: Generation::new(epoch),
            previous: Generation::new(epoch),
        }
    }

    /// Begins `epoch`: what is older than the epoch before it is wiped.
    pub(crate) fn turn(&mut self, epoch: Epoch) {
        if epoch <= self.current.epoch {
            return;
        }
        let ended = std::mem::replace(&mut self.current, Generation::new(epoch));
        self.previous = if epoch.previous() == Some(ended.epoch) {
            ended
        } else {
            Generation::new(epoch)
        };
    }

    /// What is known about `id`, asked now with a question of this digest.
    pub(crate) fn look_up(&self, id: &RequestId, question: &QuestionDigest) -> Known {
        let entries = [&self.current.entries, &self.previous.entries];
        let Some(entry) = entries.iter().find_map(|entries| entries.get(id)) else {
            return Known::New;
        };
        match &entry.state {
            State::Lost => Known::Lost,
            _ if entry.question != *question => Known::OtherQuestion,
            State::Running(number) => Known::Running(*number),
            State::Settled(settled) => Known::Settled(settled.outcome(), settled.compute),
        }
    }

    /// Takes a new id with room for `bytes` of output.
    ///
    /// # Errors
    /// [`RequestFailure::Overload`] at a bound.
    pub(crate) fn begin(
        &mut self,
        id: RequestId,
        question: QuestionDigest,
        number: JobNumber,
        bytes: usize,
    ) -> Result<(), RequestFailure> {
        let count = self.current.entries.len() + self.previous.entries.len();
        let used = self.current.bytes + self.previous.bytes;
        if count >= self.bounds.answers || used.saturating_add(bytes) > self.bounds.bytes {
            return Err(RequestFailure::Overload);
        }
        let state = State::Running(number);
        let entry = Entry { question, state };
        self.current.entries.insert(id, entry);
        self.current.bytes += bytes;
        Ok(())
    }

    /// Keeps what came of `id`; nothing if its epoch is over.
    pub(crate) fn settle(&mut self, id: &RequestId, settled: Settled) {
        let generations = [&mut self.current, &mut self.previous];
        for entry in generations
            .into_iter()
            .filter_map(|generation| generation.entries.get_mut(id))
        {
            if matches!(entry.state, State::Running(_)) {
                entry.state = State::Settled(settled);
                return;
            }
        }
    }

    /// Notes that an answer is released `held` after its question came, and returns what the
    /// first release noted.
    pub(crate) fn released(&mut self, id: &RequestId, held: Duration) -> Duration {
        let generations = [&mut self.current, &mut self.previous];
        let entries = generations
            .into_iter()
            .filter_map(|g| g.entries.get_mut(id));
        for entry in entries {
            if let State::Settled(settled) = &mut entry.state {
                return *settled.held.get_or_insert(held);
            }
        }
        held
    }

    /// Lets go of an id that was not run after all. Its room stays taken until its epoch ends.
    pub(crate) fn forget(&mut self, id: &RequestId) {
        self.current.entries.remove(id);
        self.previous.entries.remove(id);
    }

    /// Marks `id` as run before a restart; `false` at the bound.
    pub(crate) fn remember(&mut self, id: RequestId) -> bool {
        if self.current.entries.len() + self.previous.entries.len() >= self.bounds.answers {
            return false;
        }
        let question = QuestionDigest([0; 32]);
        let state = State::Lost;
        self.current.entries.insert(id, Entry { question, state });
        true
    }

    /// How many ids are kept.
    pub(crate) fn len(&self) -> usize {
        self.current.entries.len() + self.previous.entries.len()
    }
}

/// BLAKE3 of what is asked: model, class and input, not the reply blocks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct QuestionDigest(pub(crate) [u8; 32]);

struct Generation {
    epoch: Epoch,
    entries: BTreeMap<RequestId, Entry>,
    bytes: usize,
}

impl Generation {
    fn new(epoch: Epoch) -> Self {
        Self {
            epoch,
            entries: BTreeMap::new(),
            bytes: 0,
        }
    }
}

struct Entry {
    question: QuestionDigest,
    state: State,
}

enum State {
    Running(JobNumber),
    Settled(Settled),
    Lost,
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUESTION: QuestionDigest = QuestionDigest([1; 32]);

    fn book(answers: usize, bytes: usize) -> AnswerBook {
        AnswerBook::new(BookBounds { answers, bytes }, Epoch(1))
    }

    fn id(n: u8) -> RequestId {
        RequestId([n; 16])
    }

    fn output() -> Settled {
        Settled {
            outcome: Ok(Zeroizing::new(vec![7])),
            compute: Duration::ZERO,
            held: None,
        }
    }

    #[test]
    fn says_the_same_however_often_it_is_released() {
        let mut book = book(9, 99);
        book.begin(id(1), QUESTION, JobNumber(1), 4).unwrap();
        book.settle(&id(1), output());
        let seconds = Duration::from_secs;
        assert_eq!(book.released(&id(1), seconds(2)), seconds(2));
        book.turn(Epoch(2));
        assert_eq!(book.released(&id(1), seconds(9)), seconds(2));
        assert_eq!(book.released(&id(7), seconds(9)), seconds(9));
    }

    #[test]
    fn keeps_an_answer_through_the_next_epoch_and_no_longer() {
        let mut book = book(9, 99);
        book.begin(id(1), QUESTION, JobNumber(1), 4).unwrap();
        book.turn(Epoch(2));
        book.settle(&id(1), output());
        assert!(matches!(
            book.look_up(&id(1), &QUESTION),
            Known::Settled(..)
        ));
        book.turn(Epoch(3));
        assert!(matches!(book.look_up(&id(1), &QUESTION), Known::New));
        assert_eq!(book.len(), 0);
    }

    #[test]
    fn a_skipped_epoch_ends_both() {
        let mut book = book(9, 99);
        book.begin(id(1), QUESTION, JobNumber(1), 4).unwrap();
        book.turn(Epoch(3));
        assert!(matches!(book.look_up(&id(1), &QUESTION), Known::New));
    }

    #[test]
    fn takes_no_question_beyond_its_bounds() {
        let mut few = book(1, 99);
        let mut small = book(9, 7);
        few.begin(id(1), QUESTION, JobNumber(1), 4).unwrap();
        small.begin(id(1), QUESTION, JobNumber(1), 4).unwrap();
        for book in [&mut few, &mut small] {
            let refused = book.begin(id(2), QUESTION, JobNumber(2), 4);
            assert_eq!(refused, Err(RequestFailure::Overload));
            assert!(matches!(book.look_up(&id(2), &QUESTION), Known::New));
        }
    }

    #[test]
    fn an_id_stands_for_one_question() {
        let mut book = book(9, 99);
        book.begin(id(1), QUESTION, JobNumber(1), 4).unwrap();
        let other = QuestionDigest([2; 32]);
        assert!(matches!(book.look_up(&id(1), &other), Known::OtherQuestion));
    }

    #[test]
    fn what_was_run_before_a_restart_is_not_run_again() {
        let mut book = book(1, 99);
        assert!(book.remember(id(1)));
        assert!(!book.remember(id(2)));
        assert!(matches!(book.look_up(&id(1), &QUESTION), Known::Lost));
    }
}
