//! The seat of whoever is linked to an entry gateway: what their driver does, in memory.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use directory::{Network, Subscriber, SubscriberEvent, Topology, View};
use link::{Frame, GuestId, Peer};
use message::{EdgeError, Participant};
use provider::Reach;
use rand_chacha::ChaCha20Rng;
use wire::{Call, Epoch, Ledger, NodeId, Reply, Time};

use crate::seat::{Asked, Input, Output, Seat, Way};

/// What a client and a provider do differently.
pub(crate) trait Owner {
    /// Its core.
    type Core: Participant;

    /// Makes the core, when the first document is there.
    fn make(
        &mut self,
        now: Time,
        rng: &mut ChaCha20Rng,
        topology: Arc<Topology>,
        gateway: NodeId,
    ) -> Result<Self::Core, EdgeError>;

    /// How it publishes a descriptor, if it publishes any.
    fn publishes(&self) -> Option<Reach>;

    /// The descriptor for `epoch` of an attached owner, kept by `gateway`.
    fn descriptor(&self, epoch: Epoch, gateway: NodeId) -> Option<Vec<u8>>;

    /// Takes news of its core.
    fn news(
        &mut self,
        now: Time,
        event: <Self::Core as Participant>::Event,
        outputs: &mut Vec<Output>,
    );

    /// Asks a question, if it asks any.
    fn ask(
        &mut self,
        now: Time,
        rng: &mut ChaCha20Rng,
        core: Option<&mut Self::Core>,
        asked: Asked,
        outputs: &mut Vec<Output>,
    );

    /// Which packets of questions went over the link since it was asked last.
    fn truth(&mut self, core: &Self::Core) -> Vec<Way>;

    /// Takes what only it is sent.
    fn command(&mut self, input: Input) -> Option<<Self::Core as Participant>::Command>;

    /// Forgets what is not on disk.
    fn crash(&mut self);
}

/// A client or a provider.
pub(crate) struct UplinkSeat<O: Owner> {
    owner: O,
    network: Arc<Network>,
    /// Where it may enter: the first is its entry gateway.
    entries: VecDeque<NodeId>,
    rng: ChaCha20Rng,
    live: Option<Live<O::Core>>,
    past: Ledger,
}

struct Live<C> {
    subscriber: Subscriber,
    core: Option<C>,
    topology: Option<Arc<Topology>>,
    link: Link,
    /// Since when the entry gateway is gone.
    gone_since: Option<Time>,
    /// The epoch whose descriptor is to be published as soon as there is a core.
    to_publish: Option<Epoch>,
    /// When to dial, or to register, again.
    retry_at: Option<Time>,
    look_at: Time,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Link {
    Down,
    Dialling,
    Up,
    Registering,
    Registered,
}

impl<O: Owner> UplinkSeat<O> {
    /// A seat whose entry gateway is the first of `entries`; there is at least one.
    pub(crate) fn new(
        owner: O,
        network: Arc<Network>,
        entries: VecDeque<NodeId>,
        rng: ChaCha20Rng,
    ) -> Self {
        Self {
            owner,
            network,
            entries,
            rng,
            live: None,
            past: Ledger::default(),
        }
    }

    fn gateway(&self) -> NodeId {
        self.entries[0]
    }

    fn settle(&mut self, now: Time, mut outputs: Vec<Output>) -> Vec<Output> {
        self.take_another(now);
        self.follow(now, &mut outputs);
        self.look(now);
        self.retry(now, &mut outputs);
        let to = Peer::Node(self.gateway());
        let Some(live) = &mut self.live else {
            return outputs;
        };
        let Some(core) = &mut live.core else {
            return outputs;
        };
        if core.poll_timeout().is_some_and(|due| due <= now) {
            core.handle_timeout(now, &mut self.rng);
        }
        while let Some((first, packet)) = core.poll_transmit(now) {
            let frame = Frame::new(first, packet.as_bytes());
            outputs.push(Output::Frame { to, frame });
        }
        while let Some(event) = core.poll_event() {
            self.owner.news(now, event, &mut outputs);
        }
        let truth = self.owner.truth(core).into_iter();
        outputs.extend(truth.map(Output::Question));
        while core.prepare(&mut self.rng) {}
        outputs
    }

    /// When the entry gateway is gone for long, takes the next one that the document lists.
    fn take_another(&mut self, now: Time) {
        let Some(live) = &mut self.live else {
            return;
        };
        let gone = live
            .gone_since
            .is_some_and(|since| now.since(since) >= GONE);
        if !gone {
            return;
        }
        live.gone_since = Some(now);
        let Some(next) = self.entries.get(1).copied() else {
            return;
        };
        let taken = live
            .core
            .as_mut()
            .map(|core| core.set_gateway(now, &mut self.rng, next));
        if matches!(taken, Some(Err(_))) {
            return;
        }
        self.entries.rotate_left(1);
        live.link = Link::Down;
        live.retry_at = Some(now);
        live.subscriber.set_sources(now, vec![next]);
    }

    /// Follows the directory through the gateway.
    fn follow(&mut self, now: Time, outputs: &mut Vec<Output>) {
        let gateway = self.gateway();
        let Some(live) = &mut self.live else {
            return;
        };
        if matches!(live.link, Link::Down | Link::Dialling) {
            return;
        }
        live.subscriber.handle_timeout(now);
        while let Some(event) = live.subscriber.poll_event() {
            match event {
                SubscriberEvent::NeedDescriptor(epoch) => {
                    match self.owner.descriptor(epoch, gateway) {
                        Some(descriptor) => live.subscriber.offer(now, epoch, descriptor),
                        None => live.to_publish = Some(epoch),
                    }
                }
                SubscriberEvent::Document(topology) => {
                    live.look_at = now;
                    if let Some(core) = &mut live.core {
                        core.foresee(&mut self.rng, topology);
                    }
                }
                SubscriberEvent::Clock(_) => live.look_at = now,
                _ => {}
            }
        }
        let open = self.network.schedule().open_for(now);
        live.to_publish = live.to_publish.filter(|epoch| *epoch >= open);
        if let Some(core) = &mut live.core
            && self.owner.publishes() == Some(Reach::Anonymous)
            && let Some(epoch) = live.to_publish.take()
        {
            core.publish(now, epoch);
        }
        while let Some((to, call)) = live.subscriber.poll_transmit() {
            outputs.push(Output::Call { to, tag: 0, call });
        }
    }

    /// Takes the document that is current, or stops sending without one.
    fn look(&mut self, now: Time) {
        let gateway = self.gateway();
        let Some(live) = self.live.as_mut().filter(|live| live.look_at <= now) else {
            return;
        };
        let Ok(topology) = live.subscriber.current(now) else {
            live.look_at = now.after(LOOK);
            live.fail_closed();
            return;
        };
        let starts = self.network.schedule().start(topology.epoch().next());
        live.look_at = if starts > now {
            starts
        } else {
            now.after(LOOK)
        };
        if live
            .topology
            .as_ref()
            .is_some_and(|held| Arc::ptr_eq(held, &topology))
        {
            return;
        }
        let taken = match &mut live.core {
            Some(core) => core.set_topology(now, &mut self.rng, Arc::clone(&topology)),
            None => {
                let made = self
                    .owner
                    .make(now, &mut self.rng, Arc::clone(&topology), gateway);
                live.to_publish = Some(self.network.schedule().open_for(now));
                made.map(|core| live.core = Some(core))
            }
        };
        live.fail_closed();
        if taken.is_ok() {
            live.topology = Some(topology);
            live.retry_at = Some(now);
        }
    }

    /// Dials or registers, when it is time to.
    fn retry(&mut self, now: Time, outputs: &mut Vec<Output>) {
        let gateway = self.gateway();
        let Some(live) = &mut self.live else {
            return;
        };
        if live.retry_at.is_none_or(|at| at > now) {
            return;
        }
        live.retry_at = None;
        match (live.link, &mut live.core) {
            (Link::Down, _) => {
                live.link = Link::Dialling;
                outputs.push(Output::Dial(gateway));
            }
            (Link::Up, Some(core)) => {
                live.link = Link::Registering;
                let call = Call::Register(core.register());
                let to = gateway;
                outputs.push(Output::Call { to, tag: 0, call });
            }
            (Link::Registered, Some(core)) => {
                let calls = core.calls(now).into_iter();
                let to = gateway;
                outputs.extend(calls.map(|call| Output::Call { to, tag: 0, call }));
            }
            _ => {}
        }
    }

    fn answered(&mut self, now: Time, from: NodeId, call: &Call, reply: Option<Reply>) {
        let Some(live) = &mut self.live else {
            return;
        };
        match call {
            Call::Register(register) => {
                let current = live.core.as_ref().map(Participant::register);
                if live.link != Link::Registering || current.as_ref() != Some(register) {
                    return;
                }
                if reply == Some(Reply::Done) {
                    live.link = Link::Registered;
                    if let Some(core) = &mut live.core {
                        core.link_up();
                    }
                    // Now what the core asks of its gateway.
                    live.retry_at = Some(now);
                } else {
                    live.link = Link::Up;
                    live.retry_at = Some(now.after(RETRY));
                }
            }
            Call::Attach(_) => {
                if reply != Some(Reply::Done) {
                    live.retry_at = Some(now.after(RETRY));
                }
            }
            _ => {
                if let Some(reply) = reply {
                    live.subscriber.handle_reply(now, from, call, reply);
                }
            }
        }
    }
}

impl<C: Participant> Live<C> {
    /// Nothing is sent until the gateway has taken a registration for the document in use.
    fn fail_closed(&mut self) {
        if let Some(core) = &mut self.core {
            core.link_down();
        }
        if matches!(self.link, Link::Registering | Link::Registered) {
            self.link = Link::Up;
        }
    }
}

impl<O: Owner> Seat for UplinkSeat<O> {
    fn start(&mut self, now: Time) -> Vec<Output> {
        let view = View::new(Arc::clone(&self.network));
        let sources = vec![self.gateway()];
        let subscriber = match self.owner.publishes() {
            None => Subscriber::new(now, view, sources),
            Some(Reach::Attached) => Subscriber::publishing(now, view, sources),
            Some(Reach::Anonymous) => Subscriber::publishing(now, view, sources).publishing_early(),
        };
        self.live = Some(Live {
            subscriber,
            core: None,
            topology: None,
            link: Link::Down,
            gone_since: Some(now),
            to_publish: None,
            retry_at: Some(now),
            look_at: now,
        });
        self.settle(now, Vec::new())
    }

    fn handle(&mut self, now: Time, input: Input) -> Vec<Output> {
        let mut outputs = Vec::new();
        let Some(live) = &mut self.live else {
            return outputs;
        };
        match input {
            Input::Frame { frame, .. } => {
                if let Some(core) = &mut live.core {
                    core.handle_frame(now, &mut self.rng, frame.as_bytes());
                }
            }
            Input::Answer {
                from, call, reply, ..
            } => self.answered(now, from, &call, reply),
            Input::Dialled { up } => {
                live.link = if up { Link::Up } else { Link::Down };
                live.subscriber.doubt_clock(now);
                if up {
                    live.gone_since = None;
                }
                live.retry_at = Some(if up { now } else { now.after(REDIAL) });
            }
            Input::Down(_) => {
                live.fail_closed();
                live.link = Link::Down;
                live.gone_since.get_or_insert(now);
                live.retry_at = Some(now.after(REDIAL));
            }
            Input::Ask(asked) => {
                let core = live.core.as_mut();
                self.owner
                    .ask(now, &mut self.rng, core, asked, &mut outputs);
            }
            Input::Timeout | Input::Call { .. } => {}
            input @ Input::JobDone(_) => {
                if let (Some(command), Some(core)) = (self.owner.command(input), &mut live.core) {
                    core.handle_command(now, &mut self.rng, command);
                }
            }
        }
        self.settle(now, outputs)
    }

    fn poll_timeout(&self) -> Option<Time> {
        let live = self.live.as_ref()?;
        let linked = !matches!(live.link, Link::Down | Link::Dialling);
        let subscriber = linked.then(|| live.subscriber.poll_timeout());
        let core = live.core.as_ref().and_then(Participant::poll_timeout);
        let gone = live.gone_since.map(|since| since.after(GONE));
        let own = [subscriber, core, gone, live.retry_at]
            .into_iter()
            .flatten();
        own.chain([live.look_at]).min()
    }

    fn crash(&mut self) {
        let (mut ledger, held) = self.account();
        ledger.lost += held;
        self.past = ledger;
        self.live = None;
        self.owner.crash();
    }

    fn account(&self) -> (Ledger, u64) {
        let mut ledger = self.past.clone();
        let core = self.live.as_ref().and_then(|live| live.core.as_ref());
        let Some(core) = core else {
            return (ledger, 0);
        };
        ledger.merge(core.edge().ledger());
        (ledger, core.edge().held())
    }
}

/// The number of a link, as its gateway knows it.
pub(crate) fn guest(link: u64) -> Peer {
    Peer::Guest(GuestId(link))
}

/// After this a gateway that does not come back is given up.
const GONE: Duration = Duration::from_secs(10);
/// Between two looks for a document that should be there.
const LOOK: Duration = Duration::from_secs(1);
/// Between two attempts to register.
const RETRY: Duration = Duration::from_secs(1);
/// Between two attempts to dial.
const REDIAL: Duration = Duration::from_millis(500);
