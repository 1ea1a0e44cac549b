//! A client's owner: asks questions, and compares answers with the model's reference.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use client::{
    Answer, Asker, AskerConfig, AskerEvent, Input as ModelInput, QueryError, QueryId, Question,
};
use compiler::Model;
use directory::Topology;
use message::{EdgeConfig, EdgeError, Participant};
use provider::Reach;
use rand_chacha::ChaCha20Rng;
use wire::{Epoch, NodeId, Time};

use crate::report::Ending;
use crate::seat::{Asked, Input, Output, Way};
use crate::uplink::Owner;

/// Whose questions an [`Asker`] asks.
pub(crate) struct AskerOwner {
    class: u8,
    models: Arc<BTreeMap<&'static str, Model>>,
    under_way: BTreeMap<QueryId, Expected>,
    truth: Truth,
}

/// Which request packets are questions'. Requests leave in the order in which they were made,
/// one packet each: the questions simulated are no larger.
#[derive(Default)]
struct Truth {
    seen: (u64, u64, u64),
    queue: VecDeque<Request>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Request {
    Question,
    Dummy,
}

impl Truth {
    fn look(&mut self, core: &Asker) -> Vec<Way> {
        let counts = core.counts();
        let (questions, dummies, left) = self.seen;
        let requests = core.edge().counts().requests;
        let new = |now: u64, then: u64| usize::try_from(now.saturating_sub(then)).unwrap_or(0);
        self.queue
            .extend(vec![Request::Question; new(counts.sent, questions)]);
        self.queue
            .extend(vec![Request::Dummy; new(counts.dummies, dummies)]);
        self.seen = (counts.sent, counts.dummies, requests);
        let gone = self
            .queue
            .drain(..new(requests, left).min(self.queue.len()));
        gone.filter(|request| *request == Request::Question)
            .map(|_| Way::Out)
            .collect()
    }
}

/// What the reference says.
struct Expected {
    number: usize,
    output: Vec<i32>,
}

impl AskerOwner {
    pub(crate) fn new(class: u8, models: Arc<BTreeMap<&'static str, Model>>) -> Self {
        Self {
            class,
            models,
            under_way: BTreeMap::new(),
            truth: Truth::default(),
        }
    }

    fn begin(
        &mut self,
        now: Time,
        rng: &mut ChaCha20Rng,
        core: Option<&mut Asker>,
        asked: Asked,
    ) -> Result<(), QueryError> {
        let core = core.ok_or(QueryError::NotConnected)?;
        let topology = Arc::clone(core.edge().topology());
        let model = &self.models[asked.model];
        let expected = model
            .input
            .quantise(&asked.input)
            .expect("a shipped sample fits its model");
        let expected = model
            .graph
            .run(&expected)
            .expect("what was quantised for a model fits it");
        let input = ModelInput::from(asked.input);
        let question = match &asked.provider {
            Some(provider) => Question::of(&topology, provider, asked.model, &input)?,
            None => Question::choose(rng, &topology, asked.model, &input)?,
        };
        let query = core.ask(now, rng, question, asked.deadline)?;
        let expected = Expected {
            number: asked.number,
            output: expected,
        };
        self.under_way.insert(query, expected);
        Ok(())
    }
}

impl Owner for AskerOwner {
    type Core = Asker;

    fn make(
        &mut self,
        now: Time,
        rng: &mut ChaCha20Rng,
        topology: Arc<Topology>,
        gateway: NodeId,
    ) -> Result<Asker, EdgeError> {
        let config = AskerConfig {
            edge: EdgeConfig {
                gateway,
                class: self.class,
            },
            max_questions: 256,
        };
        Asker::new(now, rng, config, topology)
    }

    fn news(&mut self, _: Time, event: AskerEvent, outputs: &mut Vec<Output>) {
        let Some(expected) = self.under_way.remove(&event.id) else {
            return;
        };
        let ending = match event.result {
            Ok(answer) => answered(&answer, &expected.output),
            Err(error) => Ending::Failed(error),
        };
        outputs.push(Output::Ended {
            number: expected.number,
            ending,
        });
    }

    fn ask(
        &mut self,
        now: Time,
        rng: &mut ChaCha20Rng,
        core: Option<&mut Asker>,
        asked: Asked,
        outputs: &mut Vec<Output>,
    ) {
        let number = asked.number;
        if let Err(error) = self.begin(now, rng, core, asked) {
            let ending = Ending::Failed(error);
            outputs.push(Output::Ended { number, ending });
        }
    }

    fn truth(&mut self, core: &Asker) -> Vec<Way> {
        self.truth.look(core)
    }

    fn publishes(&self) -> Option<Reach> {
        None
    }

    fn descriptor(&self, _: Epoch, _: NodeId) -> Option<Vec<u8>> {
        None
    }

    fn command(&mut self, _: Input) -> Option<std::convert::Infallible> {
        None
    }

    fn crash(&mut self) {
        self.under_way.clear();
        self.truth = Truth::default();
    }
}

fn answered(answer: &Answer, expected: &[i32]) -> Ending {
    Ending::Answered {
        exact: answer.output == expected,
        latency: answer.latency.total,
        attempts: answer.attempts,
    }
}
