//! The uplink's one task.

mod elsewhere;
mod follow;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use directory::{Schedule, Subscriber, Topology, View};
use link::{Digest, Frame, LinkError, Mesh, MeshEvent, Peer, Services, Sight};
use metrics::counter;
use rand::CryptoRng;
use tokio::sync::{mpsc, watch};
use wire::{Call, CallRefused, Epoch, NodeId, Register, Reply, Time};

use super::{EdgeReport, Publishing, UplinkConfig, UplinkStatus};
use crate::{EdgeError, Participant};

/// Where the task tells what happens.
pub(super) struct Outputs<E> {
    pub(super) events: mpsc::Sender<E>,
    pub(super) status: watch::Sender<UplinkStatus>,
    pub(super) topology: watch::Sender<Option<Arc<Topology>>>,
    pub(super) report: watch::Sender<Option<EdgeReport>>,
}

/// Everything that the task owns.
pub(super) struct Run<P: Participant, M> {
    services: Services,
    rng: Box<dyn CryptoRng + Send>,
    mesh: Mesh,
    gateway: NodeId,
    addresses: Vec<SocketAddr>,
    /// Gateways to take when that one is gone.
    others: Vec<(NodeId, Vec<SocketAddr>)>,
    /// Since when the gateway is gone.
    gone_since: Option<Time>,
    role: &'static str,
    publish: Publishing,
    /// The epoch whose descriptor the core is to publish as soon as there is one.
    to_publish: Option<Epoch>,
    schedule: Schedule,
    subscriber: Subscriber,
    make: Option<M>,
    core: Option<P>,
    topology: Option<Arc<Topology>>,
    link: Link,
    /// When to look for the epoch's document again.
    look_at: Time,
    /// When to register, or to make the core's calls, again.
    retry_at: Option<Time>,
    report_at: Time,
    outputs: Outputs<P::Event>,
    replies: mpsc::Sender<Answered>,
    reply_queue: mpsc::Receiver<Answered>,
    ended: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Link {
    Down,
    /// The link is up.
    Up,
    /// A registration is on its way.
    Registering,
    /// The gateway took the registration.
    Registered,
}

/// A call that was made, and what came of it.
struct Answered {
    asked: Asked,
    reply: Result<Reply, LinkError>,
}

#[derive(Clone)]
enum Asked {
    Directory(Call),
    Register(Register),
    Core,
}

impl<P, M> Run<P, M>
where
    P: Participant,
    M: FnOnce(Time, &mut dyn CryptoRng, Arc<Topology>, NodeId) -> Result<P, EdgeError>,
{
    pub(super) fn new(
        config: UplinkConfig,
        view: View,
        services: Services,
        mesh: Mesh,
        outputs: Outputs<P::Event>,
        make: M,
    ) -> Self {
        let now = services.clock.now();
        let schedule = view.network().schedule();
        let sources = vec![config.gateway];
        let subscriber = match config.publish {
            Publishing::Nothing => Subscriber::new(now, view, sources),
            Publishing::OverTheLink(_) => Subscriber::publishing(now, view, sources),
            Publishing::ThroughTheMixes => {
                Subscriber::publishing(now, view, sources).publishing_early()
            }
        };
        let (replies, reply_queue) = mpsc::channel(CALLS);
        let run = Self {
            rng: services.entropy.rng(),
            services,
            mesh,
            gateway: config.gateway,
            addresses: config.addresses,
            others: config.others,
            gone_since: Some(now),
            role: config.role,
            publish: config.publish,
            to_publish: None,
            schedule,
            subscriber,
            make: Some(make),
            core: None,
            topology: None,
            link: Link::Down,
            look_at: now,
            retry_at: None,
            report_at: now,
            outputs,
            replies,
            reply_queue,
            ended: false,
        };
        run.dial();
        run
    }

    pub(super) async fn run(
        mut self,
        mut arrivals: mpsc::Receiver<MeshEvent>,
        mut commands: mpsc::Receiver<P::Command>,
    ) {
        while !self.ended {
            let now = self.services.clock.now();
            self.advance(now);
            let told = self.tell();
            let prepared = match &mut self.core {
                Some(core) => core.prepare(&mut *self.rng),
                None => false,
            };
            let wait = self.next_timeout().since(self.services.clock.now());
            let events = self.outputs.events.clone();
            tokio::select! {
                biased;
                arrival = arrivals.recv() => match arrival {
                    Some(arrival) => self.on_arrival(arrival),
                    None => self.ended = true,
                },
                Some(answered) = self.reply_queue.recv() => self.on_reply(answered),
                command = commands.recv(), if self.core.is_some() => match command {
                    Some(command) => self.on_command(command),
                    None => self.ended = true,
                },
                // The owner took some news: there may be room for more.
                _ = events.reserve(), if told == Told::InPart => {}
                () = tokio::task::yield_now(), if prepared => {}
                () = tokio::time::sleep(wait), if !prepared => {}
            }
            // Before there is a core nobody reads commands, but all handles may be gone.
            self.ended |= self.core.is_none() && commands.is_closed() && commands.is_empty();
        }
        self.report();
        self.outputs.status.send_replace(UplinkStatus::Closed);
        self.mesh.shutdown().await;
    }

    /// Does what is due.
    fn advance(&mut self, now: Time) {
        if self
            .gone_since
            .is_some_and(|since| now.since(since) >= GONE)
        {
            self.take_another(now);
        }
        self.follow_directory(now);
        if self.look_at <= now {
            self.look(now);
        }
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
            match self.link {
                Link::Up => self.register(now),
                Link::Registered => self.make_core_calls(now),
                Link::Down | Link::Registering => {}
            }
        }
        if let Some(core) = &mut self.core {
            if core.poll_timeout().is_some_and(|at| at <= now) {
                core.handle_timeout(now, &mut *self.rng);
            }
            self.transmit(now);
        }
        if self.report_at <= now {
            self.report_at = now.after(REPORT);
            self.report();
        }
    }

    /// Nothing is sent until the gateway has taken a registration for the document in use.
    fn fail_closed(&mut self) {
        if let Some(core) = &mut self.core {
            core.link_down();
        }
        if self.link != Link::Down {
            self.link = Link::Up;
        }
    }

    fn register(&mut self, now: Time) {
        let Some(core) = &self.core else {
            self.status(UplinkStatus::NoDocument(None));
            return;
        };
        let stale = self.subscriber.current(now).is_err();
        if self.link != Link::Up || stale {
            return;
        }
        let register = core.register();
        self.link = Link::Registering;
        self.status(UplinkStatus::Registering);
        self.call(Asked::Register(register), Call::Register(register));
    }

    fn make_core_calls(&mut self, now: Time) {
        let calls = self.core.as_mut().map(|core| core.calls(now));
        for call in calls.unwrap_or_default() {
            self.call(Asked::Core, call);
        }
    }

    fn on_arrival(&mut self, arrival: MeshEvent) {
        let now = self.services.clock.now();
        match arrival {
            MeshEvent::Frames { frames, .. } => {
                for frame in frames {
                    self.witness(now, &frame, Way::In);
                    if let Some(core) = &mut self.core {
                        core.handle_frame(now, &mut *self.rng, frame.as_bytes());
                    }
                }
            }
            MeshEvent::Up(peer) if peer == Peer::Node(self.gateway) => {
                self.link = Link::Up;
                self.subscriber.doubt_clock(now);
                self.gone_since = None;
                self.register(now);
            }
            MeshEvent::Down(peer) if peer == Peer::Node(self.gateway) => {
                self.fail_closed();
                self.link = Link::Down;
                self.gone_since.get_or_insert(now);
                self.status(UplinkStatus::Connecting);
            }
            // Of a gateway that was left.
            MeshEvent::Up(_) | MeshEvent::Down(_) => {}
            MeshEvent::Call { responder, .. } => {
                responder.respond(Reply::Refused(CallRefused::NotForThisNode));
            }
        }
    }

    fn on_command(&mut self, command: P::Command) {
        let now = self.services.clock.now();
        if let Some(core) = &mut self.core {
            core.handle_command(now, &mut *self.rng, command);
        }
    }

    fn on_reply(&mut self, answered: Answered) {
        let now = self.services.clock.now();
        match (answered.asked, answered.reply) {
            (Asked::Directory(call), Ok(reply)) => {
                self.subscriber
                    .handle_reply(now, self.gateway, &call, reply);
            }
            // The subscriber asks again at its own gaps.
            (Asked::Directory(_), Err(_)) => {}
            (Asked::Register(register), reply) => self.registered(now, &register, &reply),
            (Asked::Core, Ok(Reply::Done)) => {}
            (Asked::Core, reply) => {
                tracing::warn!(reply = name(&reply), "the gateway did not do as asked");
                self.retry_at = Some(now.after(RETRY));
            }
        }
    }

    fn registered(&mut self, now: Time, register: &Register, reply: &Result<Reply, LinkError>) {
        let current = self.core.as_ref().map(P::register);
        if self.link != Link::Registering || current.as_ref() != Some(register) {
            // For a link or an epoch that is over.
            return;
        }
        if *reply == Ok(Reply::Done) {
            self.link = Link::Registered;
            if let Some(core) = &mut self.core {
                core.link_up();
            }
            self.status(UplinkStatus::Ready);
            self.make_core_calls(now);
        } else {
            tracing::warn!(reply = name(reply), "the gateway did not register us");
            self.link = Link::Up;
            self.retry_at = Some(now.after(RETRY));
        }
    }

    /// Hands the core's packets to the link. What the link cannot take is lost, like anything
    /// that a link loses.
    fn transmit(&mut self, now: Time) {
        let mut frames = Vec::new();
        while let Some((first, packet)) =
            self.core.as_mut().and_then(|core| core.poll_transmit(now))
        {
            let frame = Frame::new(first, packet.as_bytes());
            self.witness(now, &frame, Way::Out);
            frames.push(frame);
        }
        if !frames.is_empty()
            && let Err((refusal, _)) = self.mesh.send(Peer::Node(self.gateway), frames)
        {
            tracing::debug!(reason = refusal.label(), "the link took no frames");
        }
    }

    /// Passes news on while the owner has room for them.
    fn tell(&mut self) -> Told {
        let Some(core) = &mut self.core else {
            return Told::All;
        };
        loop {
            let Ok(permit) = self.outputs.events.try_reserve() else {
                return match self.outputs.events.is_closed() {
                    true => Told::All,
                    false => Told::InPart,
                };
            };
            match core.poll_event() {
                Some(event) => permit.send(event),
                None => return Told::All,
            }
        }
    }

    fn report(&mut self) {
        let Some(core) = &self.core else { return };
        let edge = core.edge();
        let report = EdgeReport {
            ledger: edge.ledger().clone(),
            held: edge.held(),
            counts: edge.counts(),
            loops: edge.loops(),
            memory: edge.memory(),
        };
        self.services
            .publish(self.role, &report.ledger, report.held);
        if let Some(tap) = &self.services.tap {
            let counts = &report.counts;
            tap.saw(Sight::Kinds(vec![
                ("requests", counts.requests),
                ("replies", counts.replies),
                ("feeds", counts.feeds + counts.parts),
                ("client loops", counts.loops),
                ("drops", counts.drops),
            ]));
        }
        counter!("subrosa_made_late_total", "role" => self.role).absolute(report.counts.made_late);
        counter!("subrosa_clock_stalls_total", "role" => self.role).absolute(report.counts.stalls);
        self.outputs.report.send_replace(Some(report));
    }

    fn next_timeout(&self) -> Time {
        let core = self.core.as_ref().and_then(P::poll_timeout);
        let directory = (self.link != Link::Down).then(|| self.subscriber.poll_timeout());
        let gone = self.gone_since.map(|since| since.after(GONE));
        [core, directory, gone, self.retry_at, Some(self.look_at)]
            .into_iter()
            .flatten()
            .fold(self.report_at, Time::min)
    }

    fn dial(&self) {
        let neighbour = (self.gateway, self.addresses.clone());
        self.mesh.set_neighbours(vec![neighbour], Vec::new());
    }

    /// Makes a call; its reply comes back by the queue.
    fn call(&self, asked: Asked, call: Call) {
        let mesh = self.mesh.clone();
        let replies = self.replies.clone();
        let gateway = self.gateway;
        tokio::spawn(async move {
            let reply = mesh.call(Peer::Node(gateway), &call, DEADLINE).await;
            // The task is gone if nobody listens.
            let _ = replies.send(Answered { asked, reply }).await;
        });
    }

    fn status(&self, status: UplinkStatus) {
        self.outputs.status.send_if_modified(|held| {
            let differs = *held != status;
            *held = status;
            differs
        });
    }

    fn witness(&self, at: Time, frame: &Frame, way: Way) {
        let Some(tap) = &self.services.tap else {
            return;
        };
        let peer = Peer::Node(self.gateway);
        let remote = self.mesh.remote(peer);
        let digest = Digest::of(frame.packet());
        tap.saw(match way {
            Way::In => Sight::FrameIn {
                at,
                peer,
                remote,
                digest,
            },
            Way::Out => Sight::FrameOut {
                at,
                peer,
                remote,
                digest,
            },
        });
    }
}

#[derive(PartialEq, Eq)]
enum Told {
    All,
    InPart,
}

#[derive(Clone, Copy)]
enum Way {
    In,
    Out,
}

fn name(reply: &Result<Reply, LinkError>) -> String {
    match reply {
        Ok(Reply::Refused(why)) => why.to_string(),
        Ok(_) => "not an answer to this".to_owned(),
        Err(why) => why.to_string(),
    }
}

/// Replies that wait for the task.
const CALLS: usize = 16;

/// How long a call may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// After this a registration or claim that was refused is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// How often to look for a document while there is none.
const LOOK: Duration = Duration::from_secs(1);

/// How soon after the genesis to look.
const MOMENT: Duration = Duration::from_millis(1);

/// After this a gateway that does not come back is given up.
const GONE: Duration = Duration::from_secs(10);

/// How often totals are published.
const REPORT: Duration = Duration::from_secs(1);
