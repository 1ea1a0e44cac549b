//! The thread that owns the state machine, its logs and its timers.
//!
//! It reads the clock that it is given, waits for what comes or what is due, and hands what
//! leaves to an [`Outlet`]: the links, or whatever a bench puts in their place.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use link::{Digest, Frame, Mesh, Peer, Services, Sight};
use metrics::gauge;
use rand::CryptoRng;
use sphinx::Peeled;
use store::StoreError;
use wire::{NodeId, Refusal, Time};

use crate::logs::Logs;
use crate::membership::MemberEvent;
use crate::mix::Mix;
use crate::peel::{LogEntry, Unsealed};
use crate::workers::{Done, Job, Workers};

/// Takes what leaves.
pub trait Outlet: Send {
    /// Queues frames for a neighbour.
    ///
    /// # Errors
    /// Why the last frames were not queued, and how many.
    fn send(&mut self, to: NodeId, frames: Vec<Frame>) -> Result<(), (Refusal, u64)>;

    /// The address at the other end, for the tap.
    fn remote(&self, to: NodeId) -> Option<SocketAddr>;
}

impl Outlet for Mesh {
    fn send(&mut self, to: NodeId, frames: Vec<Frame>) -> Result<(), (Refusal, u64)> {
        Mesh::send(self, Peer::Node(to), frames)
    }

    fn remote(&self, to: NodeId) -> Option<SocketAddr> {
        Mesh::remote(self, Peer::Node(to))
    }
}

/// What reaches the core.
pub enum Input {
    /// A batch is back from the workers.
    Done(Done),
    /// The directory has news.
    Member(MemberEvent),
    /// Refuse what comes, send what is held, end.
    Drain,
}

/// The state machine with its logs, workers and timers.
pub struct Engine<O> {
    /// First, so that it goes before the workers: none of them waits for room in it then.
    inputs: Receiver<Input>,
    mix: Mix,
    logs: Logs,
    workers: Workers,
    outlet: O,
    services: Services,
    rng: Box<dyn CryptoRng + Send>,
    unseen: Arc<Unseen>,
    publish_at: Time,
    /// When to end, once draining.
    end_by: Option<Time>,
}

impl<O: Outlet> Engine<O> {
    /// An engine whose inputs come over `inputs`; starts the thread that syncs the logs.
    ///
    /// # Errors
    /// What the system says about a new thread.
    pub fn new(
        mix: Mix,
        workers: Workers,
        outlet: O,
        services: Services,
        unseen: Arc<Unseen>,
        inputs: Receiver<Input>,
    ) -> io::Result<Self> {
        Ok(Self {
            inputs,
            mix,
            logs: Logs::start("mix")?,
            workers,
            outlet,
            rng: services.entropy.rng(),
            publish_at: services.clock.now(),
            services,
            unseen,
            end_by: None,
        })
    }

    /// Runs until drained, or until everyone else has gone.
    ///
    /// # Errors
    /// What the store says of a replay log.
    pub fn run(mut self) -> Result<(), StoreError> {
        while !self.is_over()? {
            match self.inputs.recv_timeout(self.next_wait()) {
                Ok(input) => {
                    self.take(input)?;
                    // What came with it, but not without end: packets are due, too.
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
        self.publish();
        drop(self.inputs);
        drop(self.workers);
        self.logs.close()
    }

    fn next_wait(&self) -> Duration {
        let due = self.mix.poll_timeout().unwrap_or(self.publish_at);
        let wait = due.min(self.publish_at).since(self.services.clock.now());
        match self.end_by {
            Some(_) => wait.min(DRAIN_STEP),
            None => wait,
        }
    }

    /// Whether all that came in before the drain has left, or the time for that is over.
    fn is_over(&mut self) -> Result<bool, StoreError> {
        let Some(end) = self.end_by else {
            return Ok(false);
        };
        // Asked before the inputs are emptied: a batch in nobody's hand is among them.
        let idle = self.workers.in_hand() == 0;
        while let Ok(input) = self.inputs.try_recv() {
            self.take(input)?;
        }
        Ok(self.services.clock.now() >= end || (idle && self.mix.held() == 0))
    }

    fn take(&mut self, input: Input) -> Result<(), StoreError> {
        match input {
            Input::Done(Done::Opened(batch)) => self.admit(batch),
            Input::Done(Done::Finished(batch)) => self.hold(batch),
            Input::Member(event) => self.learn(event)?,
            Input::Drain => {
                self.mix.drain();
                self.end_by = Some(self.services.clock.now().after(DRAIN));
            }
        }
        Ok(())
    }

    /// What is due: loops, expiries, packets whose delays have ended.
    fn turn(&mut self) {
        let now = self.services.clock.now();
        if self.mix.handle_timeout(now, &mut *self.rng) {
            self.keys_changed();
        }
        self.transmit(now);
        if now >= self.publish_at {
            self.publish();
            self.publish_at = now.after(PUBLISH_GAP);
        }
    }

    fn admit(&mut self, batch: Vec<Job<Result<Unsealed, Refusal>>>) {
        if self.mix.receive(batch.len() as u64) == 0 {
            return;
        }
        let now = self.services.clock.now();
        let mut admitted = Vec::with_capacity(batch.len());
        for job in batch {
            if let Some(item) = self.mix.admit(now, job.item) {
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
        let entries: Vec<LogEntry> = std::iter::from_fn(|| self.mix.poll_log()).collect();
        let count = admitted.len();
        if !self.logs.append(&entries) {
            self.refuse(count, Refusal::ReplayLogFailed);
        } else if self.workers.finish(admitted).is_err() {
            self.refuse(count, Refusal::Overload);
        }
    }

    fn hold(&mut self, batch: Vec<Job<Peeled>>) {
        for job in batch {
            if let (Some(tap), Some(input)) = (&self.services.tap, job.input) {
                let (output, delay) = match &job.item {
                    Peeled::Forward { packet, delay, .. } => {
                        (Some(Digest::of(packet.as_bytes())), *delay)
                    }
                    Peeled::Deliver { .. } => (None, Duration::ZERO),
                };
                tap.saw(Sight::Peeled {
                    at: job.arrival,
                    input,
                    output,
                    delay,
                    pool: self.mix.pool_len(),
                });
            }
            self.mix.hold(job.arrival, job.item);
        }
    }

    fn learn(&mut self, event: MemberEvent) -> Result<(), StoreError> {
        let now = self.services.clock.now();
        match event {
            MemberEvent::Key { key, window } => {
                self.logs.add(key.epoch, key.log)?;
                self.mix.set_key(key.epoch, window, key.secret, &key.logged);
                self.keys_changed();
            }
            MemberEvent::Document { topology, .. } => self.mix.set_topology(topology),
            MemberEvent::Current(Ok(topology)) => {
                let epoch = topology.epoch();
                self.mix.set_topology(topology);
                self.mix.enter_epoch(now, &mut *self.rng, epoch);
            }
            MemberEvent::Current(Err(_)) => self.mix.stop_loops(),
            MemberEvent::Clocks(_) => {}
        }
        Ok(())
    }

    fn keys_changed(&mut self) {
        self.workers.set_opener(self.mix.opener().clone());
        self.logs.retain(|epoch| self.mix.has_key(epoch));
    }

    /// Sends what is due, all that goes to one neighbour at once.
    fn transmit(&mut self, now: Time) {
        let mut leaving: BTreeMap<NodeId, Vec<Frame>> = BTreeMap::new();
        while let Some((to, packet)) = self.mix.poll_transmit(now) {
            let frame = Frame::new(0, packet.as_bytes());
            leaving.entry(to).or_default().push(frame);
        }
        for (to, frames) in leaving {
            if self.services.tap.is_some() {
                frames
                    .iter()
                    .for_each(|frame| self.saw_leave(now, to, frame));
            }
            if let Err((refusal, count)) = self.outlet.send(to, frames) {
                self.mix.unsent(count, refusal);
            }
        }
    }

    fn saw_leave(&self, now: Time, to: NodeId, frame: &Frame) {
        if let Some(tap) = &self.services.tap {
            tap.saw(Sight::FrameOut {
                at: now,
                peer: Peer::Node(to),
                remote: self.outlet.remote(to),
                digest: Digest::of(frame.packet()),
            });
        }
    }

    fn publish(&mut self) {
        for (refusal, count) in self.unseen.take() {
            self.mix.refuse_unseen(refusal, count);
        }
        self.services
            .publish(ROLE, self.mix.ledger(), self.mix.held());
        let loops = self.mix.loops().counts();
        if let Some(tap) = &self.services.tap {
            tap.saw(Sight::Kinds(vec![("mix loops", self.mix.ledger().made)]));
        }
        for (outcome, count) in [
            ("sent", loops.sent),
            ("returned", loops.returned),
            ("lost", loops.lost),
        ] {
            metrics::counter!("subrosa_loops_total", "role" => ROLE, "outcome" => outcome)
                .absolute(count);
        }
        for (node, test) in self.mix.loops().tests() {
            if let Some(name) = self.mix.name(node) {
                gauge!("subrosa_loop_loss_score", "role" => ROLE, "node" => name.to_string())
                    .set(test.score());
            }
        }
    }

    fn refuse(&mut self, count: usize, refusal: Refusal) {
        (0..count).for_each(|_| self.mix.refuse(refusal));
    }
}

/// Packets that were refused before the core saw them.
#[derive(Default)]
pub struct Unseen([AtomicU64; Refusal::ALL.len()]);

impl Unseen {
    /// Counts `count` of them.
    pub fn add(&self, refusal: Refusal, count: u64) {
        if let Some(total) = self.0.get(refusal as usize) {
            total.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// What came together since this was last asked.
    fn take(&self) -> impl Iterator<Item = (Refusal, u64)> + '_ {
        let counts = self.0.iter().map(|total| total.swap(0, Ordering::Relaxed));
        Refusal::ALL.into_iter().zip(counts).filter(|(_, n)| *n > 0)
    }
}

const ROLE: &str = "mix";
/// Between two publications of the account.
const PUBLISH_GAP: Duration = Duration::from_secs(1);
/// Batches taken before packets that are due get their turn.
const INPUTS_A_ROUND: usize = 16;
/// While draining, how often to look whether all has left.
const DRAIN_STEP: Duration = Duration::from_millis(5);
/// Longest wait for what is held to leave.
const DRAIN: Duration = Duration::from_secs(2);
