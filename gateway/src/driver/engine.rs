//! The thread that owns the state machine, its logs and its timers.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use link::{Digest, Frame, GuestId, Mesh, Peer, Responder, Services, Sight};
use metrics::{counter, gauge};
use mix::logs::Logs;
use mix::membership::MemberEvent;
use mix::peel::{LogEntry, Unsealed};
use mix::workers::{Done, Job, Workers};
use rand::CryptoRng;
use sphinx::{Address, Payload, Peeled};
use store::StoreError;
use tokio::sync::mpsc;
use wire::{Call, CallRefused, MailboxAddress, Refusal, Reply, Time};

use super::relay::{Asker, Publication};
use super::unseen::Unseen;
use crate::calls::Answer;
use crate::feeding::fed_item;
use crate::gateway::Gateway;
use crate::mailbox;
use crate::publications::PublicationTicket;

/// What reaches the core.
pub(super) enum Input {
    /// A batch is back from the workers.
    Done(Done),
    /// Frames of a client.
    Frames { guest: GuestId, frames: Vec<Frame> },
    /// Somebody asks something.
    Call {
        from: Peer,
        call: Call,
        responder: Responder,
    },
    /// The authorities' word on a descriptor that came through the mixes.
    Verdict(PublicationTicket, Reply),
    /// A client's link is down.
    Gone(GuestId),
    /// The directory has news.
    Member(MemberEvent),
    /// Refuse what comes and what waits, end.
    Drain,
}

pub(super) struct Engine {
    /// First, so that it goes before the workers: none of them waits for room in it then.
    inputs: Receiver<Input>,
    core: Gateway,
    logs: Logs,
    workers: Workers,
    mesh: Mesh,
    services: Services,
    rng: Box<dyn CryptoRng + Send>,
    unseen: Arc<Unseen>,
    publications: mpsc::Sender<Publication>,
    publish_at: Time,
    draining: bool,
}

impl Engine {
    pub(super) fn new(
        core: Gateway,
        workers: Workers,
        mesh: Mesh,
        services: Services,
        unseen: Arc<Unseen>,
        publications: mpsc::Sender<Publication>,
        inputs: Receiver<Input>,
    ) -> io::Result<Self> {
        let mut core = core;
        if services.tap.is_some() {
            core.note_forwarded();
        }
        Ok(Self {
            inputs,
            core,
            logs: Logs::start("gateway")?,
            workers,
            mesh,
            rng: services.entropy.rng(),
            publish_at: services.clock.now(),
            services,
            unseen,
            publications,
            draining: false,
        })
    }

    /// Runs until drained, or until everyone else has gone.
    pub(super) fn run(mut self) -> Result<(), StoreError> {
        while !self.draining {
            match self.inputs.recv_timeout(self.next_wait()) {
                Ok(input) => {
                    self.take(input)?;
                    // What came with it, but not without end: clocks tick, too.
                    for _ in 0..INPUTS_A_ROUND {
                        let Ok(input) = self.inputs.try_recv() else {
                            break;
                        };
                        self.take(input)?;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.turn();
        }
        self.core.drain();
        self.publish();
        drop(self.inputs);
        drop(self.workers);
        self.logs.close()
    }

    fn next_wait(&self) -> Duration {
        let due = self.core.poll_timeout().unwrap_or(self.publish_at);
        due.min(self.publish_at).since(self.services.clock.now())
    }

    fn take(&mut self, input: Input) -> Result<(), StoreError> {
        match input {
            Input::Done(Done::Opened(batch)) => self.admit(batch),
            Input::Done(Done::Finished(batch)) => self.arrive(batch),
            Input::Frames { guest, frames } => {
                let now = self.services.clock.now();
                for frame in frames {
                    let (prefix, packet) = (frame.prefix(), frame.packet());
                    self.core.handle_client_frame(now, guest, prefix, packet);
                }
            }
            Input::Call {
                from,
                call,
                responder,
            } => self.call(from, call, responder),
            Input::Verdict(ticket, reply) => self.core.published(ticket, &reply),
            Input::Gone(guest) => {
                let now = self.services.clock.now();
                self.core.handle_disconnect(now, guest);
            }
            Input::Member(event) => self.learn(event)?,
            Input::Drain => self.draining = true,
        }
        Ok(())
    }

    /// Sends what is due; builds ahead only then.
    fn turn(&mut self) {
        let now = self.services.clock.now();
        if self.core.handle_timeout(now, &mut *self.rng) {
            self.keys_changed();
        }
        self.transmit(now);
        self.core.prepare(now, &mut *self.rng);
        self.saw_forwarded(now);
        self.relay_published(now);
        if now >= self.publish_at {
            self.publish();
            self.publish_at = now.after(PUBLISH_GAP);
        }
    }

    fn admit(&mut self, batch: Vec<Job<Result<Unsealed, Refusal>>>) {
        if self.core.receive(batch.len() as u64) == 0 {
            return;
        }
        let now = self.services.clock.now();
        let mut admitted = Vec::with_capacity(batch.len());
        for job in batch {
            if let Some(item) = self.core.admit(now, job.item) {
                admitted.push(Job {
                    input: job.input,
                    arrival: job.arrival,
                    item,
                });
            }
        }
        if admitted.is_empty() {
            return;
        }
        let entries: Vec<LogEntry> = std::iter::from_fn(|| self.core.poll_log()).collect();
        let count = admitted.len();
        if !self.logs.append(&entries) {
            self.refuse(count, Refusal::ReplayLogFailed);
        } else if self.workers.finish(admitted).is_err() {
            self.refuse(count, Refusal::Overload);
        }
    }

    fn arrive(&mut self, batch: Vec<Job<Peeled>>) {
        let now = self.services.clock.now();
        for job in batch {
            if let Some(input) = job.input {
                self.saw_peeled(job.arrival, input, &job.item);
            }
            self.core.arrive(now, job.item);
        }
    }

    fn call(&mut self, from: Peer, call: Call, responder: Responder) {
        let now = self.services.clock.now();
        match self.core.handle_call(now, &mut *self.rng, from, call) {
            Answer::Reply(reply) => responder.respond(reply),
            Answer::Relay(descriptor) => {
                self.relay(Publication {
                    descriptor,
                    asker: Asker::Link(responder),
                });
            }
        }
    }

    fn relay(&mut self, publication: Publication) {
        let Err(unsent) = self.publications.try_send(publication) else {
            return;
        };
        let busy = Reply::Refused(CallRefused::Busy);
        match unsent.into_inner().asker {
            Asker::Link(responder) => responder.respond(busy),
            Asker::Mixes(ticket) => self.core.published(ticket, &busy),
        }
    }

    /// Passes on descriptors that came through the mixes.
    fn relay_published(&mut self, now: Time) {
        while let Some((ticket, descriptor)) = self.core.poll_publication(now) {
            self.relay(Publication {
                descriptor,
                asker: Asker::Mixes(ticket),
            });
        }
    }

    fn learn(&mut self, event: MemberEvent) -> Result<(), StoreError> {
        let now = self.services.clock.now();
        match event {
            MemberEvent::Key { key, window } => {
                self.logs.add(key.epoch, key.log)?;
                self.core
                    .set_key(key.epoch, window, key.secret, &key.logged);
                self.keys_changed();
            }
            MemberEvent::Document {
                topology,
                consensus,
            } => {
                self.core.set_document(topology.epoch(), consensus);
                self.core.set_topology(topology);
            }
            MemberEvent::Current(Ok(topology)) => {
                let epoch = topology.epoch();
                self.core.set_topology(topology);
                self.core.enter_epoch(now, &mut *self.rng, epoch);
            }
            MemberEvent::Current(Err(_)) => self.core.stop_loops(),
            MemberEvent::Clocks(readings) => self.core.set_clocks(now, readings),
            _ => {}
        }
        Ok(())
    }

    fn keys_changed(&mut self) {
        self.workers.set_opener(self.core.opener().clone());
        self.logs.retain(|epoch| self.core.has_key(epoch));
    }

    /// Sends what is due, all that goes to one peer at once.
    fn transmit(&mut self, now: Time) {
        let mut leaving: BTreeMap<Peer, Vec<Frame>> = BTreeMap::new();
        while let Some((to, frame)) = self.core.poll_transmit() {
            leaving.entry(to).or_default().push(frame);
        }
        for (to, frames) in leaving {
            if self.services.tap.is_some() {
                frames
                    .iter()
                    .for_each(|frame| self.saw_leave(now, to, frame));
            }
            if let Err((refusal, count)) = self.mesh.send(to, frames) {
                self.core.unsent(count, refusal);
            }
        }
    }

    fn saw_leave(&self, now: Time, to: Peer, frame: &Frame) {
        if let Some(tap) = &self.services.tap {
            tap.saw(Sight::FrameOut {
                at: now,
                peer: to,
                remote: self.mesh.remote(to),
                digest: Digest::of(frame.packet()),
            });
        }
    }

    /// What this gateway's own keys showed it: where a packet goes, or whose mailbox it is for.
    fn saw_peeled(&self, at: Time, input: Digest, peeled: &Peeled) {
        let Some(tap) = &self.services.tap else {
            return;
        };
        let (output, plaintext) = match peeled {
            Peeled::Forward { packet, next, .. } => {
                (Some(Digest::of(packet.as_bytes())), ("next hop", next))
            }
            Peeled::Deliver {
                address, payload, ..
            } => (
                self.item_digest(*address, payload),
                ("destination", address),
            ),
        };
        tap.saw(Sight::Peeled {
            at,
            input,
            output,
            delay: Duration::ZERO,
            pool: usize::try_from(self.core.held()).unwrap_or(usize::MAX),
        });
        let (label, address) = plaintext;
        if *address != Address::DROP && *address != Address::LOOP {
            let bytes = address.0.to_vec();
            tap.saw(Sight::Plaintext { at, label, bytes });
        }
    }

    /// Which packet an item left as, under the owner's reply block.
    fn saw_forwarded(&mut self, at: Time) {
        let Some(tap) = &self.services.tap else {
            return;
        };
        while let Some(forwarded) = self.core.poll_forwarded() {
            tap.saw(Sight::Peeled {
                at,
                input: forwarded.item,
                output: Some(forwarded.packet),
                delay: Duration::ZERO,
                pool: usize::try_from(self.core.held()).unwrap_or(usize::MAX),
            });
        }
    }

    /// The name of the item that a mailbox gets, so that the tap can follow it.
    fn item_digest(&self, address: Address, payload: &Payload) -> Option<Digest> {
        if address == Address::DROP || address == Address::LOOP {
            return None;
        }
        let plaintext = payload.plaintext().ok()?;
        let item = match self.core.keeps_fed(&MailboxAddress(address.0)) {
            true => fed_item(self.core.geometry, &plaintext).ok()?,
            false => mailbox::item(self.core.geometry, &plaintext).ok()?,
        };
        Some(Digest::of(&item))
    }

    fn publish(&mut self) {
        for (refusal, count) in self.unseen.take() {
            self.core.refuse_unseen(refusal, count);
        }
        let (ledger, held) = (self.core.ledger(), self.core.held());
        self.services.publish(ROLE, ledger, held);
        let loops = self.core.loops().counts();
        if let Some(tap) = &self.services.tap {
            let dummies = ledger.made.saturating_sub(loops.sent);
            let kinds = vec![("gateway loops", loops.sent), ("dummies", dummies)];
            tap.saw(Sight::Kinds(kinds));
        }
        for (outcome, count) in [
            ("sent", loops.sent),
            ("returned", loops.returned),
            ("lost", loops.lost),
        ] {
            counter!("subrosa_loops_total", "role" => ROLE, "outcome" => outcome).absolute(count);
        }
        for (node, test) in self.core.loops().tests() {
            if let Some(name) = self.core.name(node) {
                gauge!("subrosa_loop_loss_score", "role" => ROLE, "node" => name.to_string())
                    .set(test.score());
            }
        }
        let census = self.core.census();
        for (what, count) in [
            ("accounts", census.accounts),
            ("connected", census.connected),
            ("mailboxes", census.mailboxes),
            ("fed_mailboxes", census.fed_mailboxes),
            ("reply_blocks", census.stock),
        ] {
            // Bounded far below 2^52.
            #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
            gauge!("subrosa_gateway_clients", "what" => what).set(count as f64);
        }
    }

    fn refuse(&mut self, count: usize, refusal: Refusal) {
        (0..count).for_each(|_| self.core.refuse(refusal));
    }
}

const ROLE: &str = "gateway";
/// Between two publications of the account.
const PUBLISH_GAP: Duration = Duration::from_secs(1);
/// Inputs taken before the clocks get their turn.
const INPUTS_A_ROUND: usize = 16;
