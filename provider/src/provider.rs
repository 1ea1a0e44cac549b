//! The serving core: takes requests, hands out jobs, keeps answers, releases them on the tick.
//! It runs no model, and knows no clock and no socket.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use directory::{Descriptor, ServiceDescriptor, Topology};
use message::{
    AnonymousMailbox, Edge, EdgeConfig, EdgeError, EdgeEvent, OpenedRequest, Participant,
    ReplyPath, SealingKey,
};
use rand::CryptoRng;
use sphinx::Packet;
use traffic::Rate;
use wire::{
    Call, Encode, Epoch, GraphHash, Ledger, NodeId, Outcome, Register, Reply, RequestFailure,
    RequestId, Response, Time,
};
use zeroize::Zeroizing;

use crate::answers::{AnswerBook, BookBounds, Known, QuestionDigest, Settled};
use crate::catalogue::Catalogue;
use crate::{Reach, SandboxFault, Service};

/// What makes a provider. No `Debug`: it holds keys.
pub struct ProviderConfig {
    /// What it serves, and behind which mailbox.
    pub service: Arc<Service>,
    /// Its entry gateway.
    pub gateway: NodeId,
    /// How it is reached.
    pub reach: Reach,
    /// Opens what is sealed to the service.
    pub sealing_key: SealingKey,
    /// Index of its rate class in the signed parameters.
    pub class: u8,
    /// Bounds of its memory.
    pub bounds: Bounds,
}

/// Bounds of a provider's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Most jobs, running ones included; beyond it `Overload`.
    pub jobs: usize,
    /// Most answers kept for repeats; beyond it `Overload`.
    pub answers: usize,
    /// Most bytes of output in them; beyond it `Overload`.
    pub answer_bytes: usize,
    /// Most answers that wait for a tick; beyond it requests are dropped, and asked again.
    pub releases: usize,
    /// Longest that a job may take, waiting included; beyond it `ModelTimeout`.
    pub patience: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            jobs: 256,
            answers: 65_536,
            answer_bytes: 64 << 20,
            releases: 1_024,
            patience: Duration::from_secs(5),
        }
    }
}

/// A job's number: local, rising.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct JobNumber(pub(crate) u64);

/// One run of one model. No `Debug`: it holds a question.
pub struct Job {
    /// By which [`Provider::job_done`] knows it.
    pub number: JobNumber,
    /// The id that will not run again. A driver that keeps ids on disk writes this one before
    /// it runs the job, and gives it back through [`Provider::remember`].
    pub id: RequestId,
    /// Which model.
    pub model: GraphHash,
    /// Its input, of the length and range that the model's card says.
    pub input: Zeroizing<Vec<i32>>,
}

/// What a provider counted since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProviderCounts {
    /// Requests that arrived whole.
    pub requests: u64,
    /// Requests whose id was seen before.
    pub repeats: u64,
    /// Jobs handed out.
    pub jobs: u64,
    /// Jobs that ended in an output.
    pub outputs: u64,
    /// Answers released that say why there is no output.
    pub failures: u64,
    /// Answers released.
    pub released: u64,
    /// Requests dropped without an answer: no usable reply block, or a queue at its bound.
    pub dropped: u64,
    /// Descriptors that the authorities took, published through the mixes.
    pub published: u64,
    /// Descriptors that they did not take.
    pub unpublished: u64,
}

/// The serving side of a provider. Sans-IO: `now` and `rng` are arguments.
pub struct Provider {
    edge: Edge,
    service: Arc<Service>,
    reach: Reach,
    catalogue: Catalogue,
    bounds: Bounds,
    tick: Duration,
    book: AnswerBook,
    running: BTreeMap<JobNumber, Running>,
    waiting: VecDeque<Job>,
    releases: VecDeque<Release>,
    next: u64,
    counts: ProviderCounts,
}

/// A question that is being computed, with the way back of its newest request.
struct Running {
    id: RequestId,
    model: GraphHash,
    way_back: WayBack,
    until: Time,
}

/// Where an answer goes, and since when it is waited for.
struct WayBack {
    path: ReplyPath,
    arrived: Time,
}

/// An answer that waits for its tick.
struct Release {
    at: Time,
    way_back: WayBack,
    id: RequestId,
    outcome: Outcome,
    compute: Duration,
}

impl Provider {
    /// A provider on `topology`, its mailbox open.
    ///
    /// # Errors
    /// [`EdgeError`] if gateway or class are not of this topology.
    pub fn new(
        now: Time,
        rng: &mut dyn CryptoRng,
        config: ProviderConfig,
        topology: Arc<Topology>,
    ) -> Result<Self, EdgeError> {
        let (service, bounds) = (config.service, config.bounds);
        let book_bounds = BookBounds {
            answers: bounds.answers,
            bytes: bounds.answer_bytes,
        };
        let tick = topology.parameters().answer_tick;
        let catalogue = Catalogue::new(topology.geometry(), Arc::clone(&service));
        let book = AnswerBook::new(book_bounds, topology.epoch());
        let edge_config = EdgeConfig {
            gateway: config.gateway,
            class: config.class,
        };
        let mut edge = Edge::new(now, rng, edge_config, topology)?;
        match config.reach {
            Reach::Attached => edge.open_mailbox(service.mailbox(), config.sealing_key)?,
            Reach::Anonymous => {
                let mailbox = AnonymousMailbox {
                    key: Arc::clone(service.identity()),
                    strangers: strangers(edge.topology(), config.class),
                };
                edge.own_mailbox(now, rng, mailbox, config.sealing_key)?;
            }
        }
        Ok(Self {
            edge,
            service,
            reach: config.reach,
            catalogue,
            bounds,
            tick,
            book,
            running: BTreeMap::new(),
            waiting: VecDeque::new(),
            releases: VecDeque::new(),
            next: 0,
            counts: ProviderCounts::default(),
        })
    }

    /// The next job to run, oldest first.
    pub fn poll_job(&mut self) -> Option<Job> {
        let job = self.waiting.pop_front()?;
        self.counts.jobs += 1;
        Some(job)
    }

    /// Takes what came of a job: kept for repeats, and released on the next tick.
    ///
    /// A job whose patience ran out was answered already; its result is dropped.
    pub fn job_done(
        &mut self,
        now: Time,
        number: JobNumber,
        result: Result<Vec<i32>, SandboxFault>,
        compute: Duration,
    ) {
        let Some(running) = self.running.remove(&number) else {
            return;
        };
        if result == Err(SandboxFault::Busy) {
            // It did not run, so that its id may be asked again.
            self.book.forget(&running.id);
            let why = Outcome::Failed(RequestFailure::Overload);
            return self.release(now, running.id, running.way_back, why, compute);
        }
        let output = match result.map(Zeroizing::new) {
            Ok(output) if self.catalogue.has_length(&running.model, output.len()) => {
                self.counts.outputs += 1;
                Ok(to_bytes(&output))
            }
            Ok(_) => Err(RequestFailure::ModelFault),
            Err(fault) => Err(failure(fault)),
        };
        self.settle(now, running, output, compute);
    }

    /// Marks an id as run before this provider started; `false` at the bound of answers kept.
    ///
    /// Its answer is gone: a request with this id is told `ModelFault`, and not run.
    pub fn remember(&mut self, id: RequestId) -> bool {
        self.book.remember(id)
    }

    /// What was counted so far.
    #[must_use]
    pub const fn counts(&self) -> ProviderCounts {
        self.counts
    }

    /// The account of its packets.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        self.edge.ledger()
    }

    /// Packets made and not yet gone.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.edge.held()
    }

    /// How many ids are kept, with their answers or still to be answered.
    #[must_use]
    pub fn answers_kept(&self) -> usize {
        self.book.len()
    }

    /// Its descriptor for `epoch`, naming the gateways that keep the mailbox now.
    #[must_use]
    pub fn descriptor(&self, epoch: Epoch) -> ServiceDescriptor {
        let gateways = match self.reach {
            Reach::Attached => vec![self.edge.gateway()],
            Reach::Anonymous => self.edge.mailbox_gateways(&self.service.mailbox()),
        };
        self.service.descriptor(epoch, gateways)
    }

    /// What it serves.
    #[must_use]
    pub fn service(&self) -> &Service {
        &self.service
    }

    fn on_request(&mut self, now: Time, request: OpenedRequest) {
        self.counts.requests += 1;
        let question = digest(&request);
        match self.book.look_up(&request.id, &question) {
            Known::New => self.begin(now, request, question),
            Known::Running(number) => {
                self.counts.repeats += 1;
                // The answer takes the newest way back: the older one may be what was lost.
                if let Some(running) = self.running.get_mut(&number) {
                    running.way_back = request.into();
                }
            }
            Known::Settled(outcome, compute) => {
                self.counts.repeats += 1;
                let id = request.id;
                self.release(now, id, request.into(), outcome, compute);
            }
            Known::Lost => self.fail(now, request, RequestFailure::ModelFault),
            Known::OtherQuestion => self.fail(now, request, RequestFailure::BadInput),
        }
    }

    /// Makes a job of a request that was not seen before.
    fn begin(&mut self, now: Time, request: OpenedRequest, question: QuestionDigest) {
        let number = JobNumber(self.next);
        let taken = self.catalogue.accept(&request).and_then(|(input, len)| {
            if self.running.len() >= self.bounds.jobs {
                return Err(RequestFailure::Overload);
            }
            self.book.begin(request.id, question, number, len)?;
            Ok(input)
        });
        let input = match taken {
            Ok(input) => input,
            Err(why) => return self.fail(now, request, why),
        };
        self.next += 1;
        let (id, model) = (request.id, request.model);
        self.waiting.push_back(Job {
            number,
            id,
            model,
            input,
        });
        let running = Running {
            id,
            model,
            way_back: request.into(),
            until: now.after(self.bounds.patience),
        };
        self.running.insert(number, running);
    }

    /// Ends jobs that took too long. Numbers rise with time, so the lowest is the oldest.
    fn lose_patience(&mut self, now: Time) {
        while let Some(oldest) = self.running.first_entry()
            && oldest.get().until <= now
        {
            let (number, running) = oldest.remove_entry();
            self.waiting.retain(|job| job.number != number);
            let why = RequestFailure::ModelTimeout;
            self.settle(now, running, Err(why), Duration::ZERO);
        }
    }

    fn settle(
        &mut self,
        now: Time,
        running: Running,
        outcome: Result<Zeroizing<Vec<u8>>, RequestFailure>,
        compute: Duration,
    ) {
        let settled = Settled {
            outcome,
            compute,
            held: None,
        };
        let answer = settled.outcome();
        self.book.settle(&running.id, settled);
        self.release(now, running.id, running.way_back, answer, compute);
    }

    fn fail(&mut self, now: Time, request: OpenedRequest, why: RequestFailure) {
        let (id, outcome) = (request.id, Outcome::Failed(why));
        self.release(now, id, request.into(), outcome, Duration::ZERO);
    }

    /// Lets an answer wait for the next tick.
    fn release(
        &mut self,
        now: Time,
        id: RequestId,
        way_back: WayBack,
        outcome: Outcome,
        compute: Duration,
    ) {
        if self.releases.len() >= self.bounds.releases {
            self.counts.dropped += 1;
            return;
        }
        self.releases.push_back(Release {
            at: next_tick(now, self.tick),
            way_back,
            id,
            outcome,
            compute,
        });
    }

    /// Gives the answers whose tick has come to the slots.
    fn send_due(&mut self, now: Time, rng: &mut dyn CryptoRng) {
        while let Some(release) = self.releases.pop_front_if(|release| release.at <= now) {
            let failed = matches!(release.outcome, Outcome::Failed(_));
            let held = now.since(release.way_back.arrived);
            let response = Response {
                id: release.id,
                compute: release.compute,
                held: self.book.released(&release.id, held),
                outcome: release.outcome,
            };
            let path = release.way_back.path;
            match self.edge.send_response(now, rng, path, &response) {
                Ok(()) => {
                    self.counts.released += 1;
                    self.counts.failures += u64::from(failed);
                }
                Err(_) => self.counts.dropped += 1,
            }
        }
    }
}

/// A job's end, as the driver hands it back.
pub struct JobDone {
    /// Which job.
    pub number: JobNumber,
    /// The model's output, or why there is none.
    pub result: Result<Vec<i32>, SandboxFault>,
    /// Time that the model ran.
    pub compute: Duration,
}

impl Participant for Provider {
    type Command = JobDone;
    type Event = Job;

    fn edge(&self) -> &Edge {
        &self.edge
    }

    fn edge_mut(&mut self) -> &mut Edge {
        &mut self.edge
    }

    fn handle_command(&mut self, now: Time, _: &mut dyn CryptoRng, done: JobDone) {
        self.job_done(now, done.number, done.result, done.compute);
    }

    fn handle_frame(&mut self, now: Time, rng: &mut dyn CryptoRng, frame: &[u8]) {
        self.edge.handle_frame(now, rng, frame);
        while let Some(event) = self.edge.poll_event() {
            match event {
                EdgeEvent::Request(request) => self.on_request(now, request),
                EdgeEvent::Verdict(Reply::Done) => self.counts.published += 1,
                EdgeEvent::Verdict(_) => self.counts.unpublished += 1,
                // A provider asks and writes nothing, and its loops are the edge's affair.
                _ => {}
            }
        }
    }

    fn handle_timeout(&mut self, now: Time, rng: &mut dyn CryptoRng) {
        self.lose_patience(now);
        self.send_due(now, rng);
        self.edge.handle_timeout(now, rng);
    }

    fn poll_timeout(&self) -> Option<Time> {
        let patience = self.running.values().next().map(|running| running.until);
        let tick = self.releases.front().map(|release| release.at);
        let own = [patience, tick].into_iter().flatten();
        own.chain(self.edge.poll_timeout()).min()
    }

    fn poll_transmit(&mut self, now: Time) -> Option<(u16, Packet)> {
        self.edge.poll_transmit(now)
    }

    fn poll_event(&mut self) -> Option<Job> {
        self.poll_job()
    }

    fn prepare(&mut self, rng: &mut dyn CryptoRng) -> bool {
        self.edge.prepare(rng)
    }

    fn set_topology(
        &mut self,
        now: Time,
        rng: &mut dyn CryptoRng,
        topology: Arc<Topology>,
    ) -> Result<(), EdgeError> {
        let epoch = topology.epoch();
        let tick = topology.parameters().answer_tick;
        self.edge.set_topology(now, rng, topology)?;
        self.tick = tick;
        self.book.turn(epoch);
        Ok(())
    }

    fn link_up(&mut self) {
        self.edge.link_up();
    }

    fn link_down(&mut self) {
        self.edge.link_down();
    }

    fn register(&self) -> Register {
        self.edge.register()
    }

    fn publish(&mut self, now: Time, epoch: Epoch) {
        let descriptor = Descriptor::Service(Box::new(self.descriptor(epoch)));
        self.edge.publish(now, descriptor.to_bytes());
    }

    fn calls(&mut self, now: Time) -> Vec<Call> {
        if self.reach == Reach::Anonymous {
            return Vec::new();
        }
        let counter = now.as_nanos() / 1_000;
        vec![Call::Attach(
            self.edge.attach(self.service.identity(), counter),
        )]
    }
}

/// What each of two gateways may let in of strangers: together as much as the own slots answer.
fn strangers(topology: &Topology, class: u8) -> Rate {
    let parameters = topology.parameters();
    let slots = parameters.class(class).unwrap_or(parameters.rates.payload);
    Rate::from_millihertz(slots.millihertz() / 2).unwrap_or(slots)
}

impl From<OpenedRequest> for WayBack {
    fn from(request: OpenedRequest) -> Self {
        Self {
            path: request.reply,
            arrived: request.arrived,
        }
    }
}

/// The first multiple of `tick` after `now`.
fn next_tick(now: Time, tick: Duration) -> Time {
    let tick = u64::try_from(tick.as_nanos()).unwrap_or(u64::MAX).max(1);
    Time::from_nanos(
        (now.as_nanos() / tick)
            .saturating_add(1)
            .saturating_mul(tick),
    )
}

/// BLAKE3 of all that a repeat has in common with its request.
fn digest(request: &OpenedRequest) -> QuestionDigest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(request.model.as_bytes());
    hasher.update(&request.class.to_bytes());
    hasher.update(&request.input);
    QuestionDigest(*hasher.finalize().as_bytes())
}

fn to_bytes(output: &[i32]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(
        output
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect(),
    )
}

/// What a client may learn of a fault.
const fn failure(fault: SandboxFault) -> RequestFailure {
    match fault {
        SandboxFault::BadInput => RequestFailure::BadInput,
        SandboxFault::ModelTimeout => RequestFailure::ModelTimeout,
        SandboxFault::ModelMemory | SandboxFault::StackOverflow => RequestFailure::ModelMemory,
        SandboxFault::Busy => RequestFailure::Overload,
        SandboxFault::GuestAbi | SandboxFault::Trap => RequestFailure::ModelFault,
    }
}
