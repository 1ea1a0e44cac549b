//! The asker at its uplink: questions come as commands, each with the place for its answer.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use directory::{Identity, Topology};
use link::{Sight, Tap};
use message::{Edge, EdgeError, Participant};
use rand::CryptoRng;
use sphinx::Packet;
use tokio::sync::{mpsc, oneshot};
use wire::{MailboxAddress, Register, Time};
use zeroize::Zeroizing;

use crate::{Answer, Asker, Contact, Input, LetterError, QueryError, QueryId, Question, WriteId};

/// What a client's handles want done.
pub(crate) enum Command {
    Ask(Ask),
    Listen(Listen),
    Write(Write),
}

/// Open a mailbox, of a new key if there is no seed, and put its letters there.
pub(crate) struct Listen {
    pub(crate) seed: Option<Zeroizing<[u8; 32]>>,
    pub(crate) letters: mpsc::Sender<Zeroizing<Vec<u8>>>,
    pub(crate) opened: oneshot::Sender<Result<Contact, EdgeError>>,
}

/// Send this letter, and say there what came of it.
pub(crate) struct Write {
    pub(crate) to: Contact,
    pub(crate) body: Zeroizing<Vec<u8>>,
    pub(crate) deadline: Duration,
    pub(crate) ended: oneshot::Sender<Result<(), LetterError>>,
}

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
    writing: BTreeMap<WriteId, oneshot::Sender<Result<(), LetterError>>>,
    listening: BTreeMap<MailboxAddress, mpsc::Sender<Zeroizing<Vec<u8>>>>,
    tap: Option<Tap>,
}

impl Seat {
    pub(crate) fn new(asker: Asker, tap: Option<Tap>) -> Self {
        Self {
            asker,
            waiting: BTreeMap::new(),
            writing: BTreeMap::new(),
            listening: BTreeMap::new(),
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

    fn listen(&mut self, now: Time, rng: &mut dyn CryptoRng, listen: Listen) {
        let key = match &listen.seed {
            Some(seed) => Identity::from_seed(seed),
            None => Identity::generate(rng),
        };
        let opened = self.asker.listen(now, rng, key);
        if let Ok(contact) = &opened {
            self.listening.insert(contact.mailbox(), listen.letters);
        }
        // Who stopped waiting has dropped the other end, which closes the mailbox.
        let _ = listen.opened.send(opened);
    }

    fn write(&mut self, now: Time, rng: &mut dyn CryptoRng, write: Write) {
        let deadline = now.after(write.deadline);
        let written = self.asker.write(now, rng, write.to, write.body, deadline);
        match written {
            Ok(id) => {
                self.writing.insert(id, write.ended);
            }
            Err(why) => drop(write.ended.send(Err(why))),
        }
    }

    /// Hands out letters, where there is room for them, and what came of those sent.
    fn deliver_letters(&mut self) {
        let listening = &self.listening;
        let has_room = |mailbox: &MailboxAddress| {
            let sender = listening.get(mailbox);
            sender.is_some_and(|sender| sender.capacity() > 0)
        };
        while let Some((mailbox, letter)) = self.asker.poll_letter(has_room) {
            if let Some(sender) = listening.get(&mailbox) {
                // Whoever hung up meanwhile gets nothing.
                let _ = sender.try_send(letter);
            }
        }
        while let Some((id, result)) = self.asker.poll_written() {
            if let Some(ended) = self.writing.remove(&id) {
                let _ = ended.send(result);
            }
        }
    }

    /// Hands out what has come of questions and letters. Who stopped waiting gets nothing.
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
        self.deliver_letters();
    }

    /// Forgets the questions and letters that nobody waits for any more, and closes the mailboxes
    /// that nobody reads.
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
        let given_up = self.writing.iter().filter(|(_, ended)| ended.is_closed());
        for id in given_up.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.writing.remove(&id);
            self.asker.unwrite(now, id);
        }
        let unread = self
            .listening
            .iter()
            .filter(|(_, letters)| letters.is_closed());
        for mailbox in unread.map(|(mailbox, _)| *mailbox).collect::<Vec<_>>() {
            self.listening.remove(&mailbox);
            self.asker.hang_up(&mailbox);
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
    type Command = Command;
    type Event = Infallible;

    fn edge(&self) -> &Edge {
        self.asker.edge()
    }

    fn edge_mut(&mut self) -> &mut Edge {
        self.asker.edge_mut()
    }

    fn handle_command(&mut self, now: Time, rng: &mut dyn CryptoRng, command: Command) {
        match command {
            Command::Ask(ask) => match self.ask(now, rng, &ask) {
                Ok(id) => {
                    self.waiting.insert(id, ask.answer);
                }
                // Who stopped waiting gets nothing.
                Err(why) => drop(ask.answer.send(Err(why))),
            },
            Command::Listen(listen) => self.listen(now, rng, listen),
            Command::Write(write) => self.write(now, rng, write),
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
