//! The asker at its uplink: questions come as commands, each with the place for its answer.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use directory::Topology;
use link::{Sight, Tap};
use message::{Edge, EdgeError, Participant};
use rand::CryptoRng;
use sphinx::Packet;
use tokio::sync::oneshot;
use wire::{Register, Time};

use crate::{Answer, Asker, Input, QueryError, QueryId, Question};

/// Ask this, and put the answer there.
pub(crate) struct Ask {
    pub(crate) model: String,
    pub(crate) input: Input,
    pub(crate) deadline: Duration,
    pub(crate) answer: AnswerSender,
}

pub(crate) type AnswerSender = oneshot::Sender<Result<Answer, QueryError>>;

/// An asker, and who waits for what.
pub(crate) struct Seat {
    asker: Asker,
    waiting: BTreeMap<QueryId, AnswerSender>,
    tap: Option<Tap>,
}

impl Seat {
    pub(crate) fn new(asker: Asker, tap: Option<Tap>) -> Self {
        Self {
            asker,
            waiting: BTreeMap::new(),
            tap,
        }
    }

    fn ask(
        &mut self,
        now: Time,
        rng: &mut dyn CryptoRng,
        ask: &Ask,
    ) -> Result<QueryId, QueryError> {
        let topology = Arc::clone(self.asker.edge().topology());
        let question = Question::choose(rng, &topology, &ask.model, &ask.input)?;
        self.saw(now, "question", question.input());
        let deadline = now.after(ask.deadline);
        self.asker.ask(now, rng, question, deadline)
    }

    /// Hands out what has come of questions. Who stopped waiting gets nothing.
    fn deliver(&mut self, now: Time) {
        while let Some(event) = self.asker.poll_event() {
            if let Ok(answer) = &event.result {
                let bytes: Vec<u8> = answer.output.iter().flat_map(|n| n.to_le_bytes()).collect();
                self.saw(now, "answer", &bytes);
            }
            if let Some(sender) = self.waiting.remove(&event.id) {
                let _ = sender.send(event.result);
            }
        }
    }

    /// Forgets the questions that nobody waits for any more.
    fn forget_unwanted(&mut self, now: Time) {
        let unwanted = |(_, sender): &(&QueryId, &AnswerSender)| sender.is_closed();
        let ids: Vec<QueryId> = self
            .waiting
            .iter()
            .filter(unwanted)
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            self.waiting.remove(&id);
            self.asker.forget(now, id);
        }
    }

    fn saw(&self, at: Time, label: &'static str, bytes: &[u8]) {
        if let Some(tap) = &self.tap {
            let bytes = bytes.to_vec();
            tap.saw(Sight::Plaintext { at, label, bytes });
        }
    }
}

impl Participant for Seat {
    type Command = Ask;
    type Event = Infallible;

    fn edge(&self) -> &Edge {
        self.asker.edge()
    }

    fn edge_mut(&mut self) -> &mut Edge {
        self.asker.edge_mut()
    }

    fn handle_command(&mut self, now: Time, rng: &mut dyn CryptoRng, ask: Ask) {
        match self.ask(now, rng, &ask) {
            Ok(id) => {
                self.waiting.insert(id, ask.answer);
            }
            // Who stopped waiting gets nothing.
            Err(why) => drop(ask.answer.send(Err(why))),
        }
    }

    fn handle_frame(&mut self, now: Time, rng: &mut dyn CryptoRng, frame: &[u8]) {
        self.asker.handle_frame(now, rng, frame);
        self.deliver(now);
    }

    fn handle_timeout(&mut self, now: Time, rng: &mut dyn CryptoRng) {
        self.forget_unwanted(now);
        self.asker.handle_timeout(now, rng);
        self.deliver(now);
    }

    fn poll_timeout(&self) -> Option<Time> {
        self.asker.poll_timeout()
    }

    fn poll_transmit(&mut self, now: Time) -> Option<(u16, Packet)> {
        self.asker.poll_transmit(now)
    }

    fn poll_event(&mut self) -> Option<Infallible> {
        None
    }

    fn prepare(&mut self, rng: &mut dyn CryptoRng) -> bool {
        self.asker.prepare(rng)
    }

    fn set_topology(
        &mut self,
        now: Time,
        rng: &mut dyn CryptoRng,
        topology: Arc<Topology>,
    ) -> Result<(), EdgeError> {
        self.asker.set_topology(now, rng, topology)
    }

    fn link_up(&mut self) {
        self.asker.link_up();
    }

    fn link_down(&mut self) {
        self.asker.link_down();
    }

    fn register(&self) -> Register {
        self.asker.register()
    }
}
