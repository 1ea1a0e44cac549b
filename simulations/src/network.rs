//! A whole network on a virtual clock: nodes in their seats, links between them, time.

mod audit;

use std::collections::BTreeMap;
use std::time::Duration;

use link::{Frame, Peer};
use rand::RngExt;
use rand_chacha::ChaCha20Rng;
use wire::{Call, Encode, NodeId, NodeName, Reply, Time};

use crate::agenda::Agenda;
use crate::links::LinkCounts;
use crate::observer::{Observer, Sighting};
use crate::report::{Ending, Imbalance, QuestionReport, Report};
use crate::scenario::{Node, Scenario};
use crate::seat::{Input, Output, Seat, Way};
use crate::trace::Trace;
use crate::uplink::guest;
use crate::wrong_clock::ByWrongClock;

/// The network, with everything that is under way.
pub(crate) struct Network<'a> {
    scenario: &'a Scenario,
    observer: &'a mut dyn Observer,
    begin: Time,
    genesis: Time,
    now: Time,
    slots: BTreeMap<Node, Slot>,
    ids: BTreeMap<NodeId, Node>,
    agenda: Agenda<Event>,
    /// What links do to frames.
    rng: ChaCha20Rng,
    calls: BTreeMap<u64, OpenCall>,
    dialled: BTreeMap<u64, Uplink>,
    numbered: u64,
    links: LinkCounts,
    trace: Trace,
    questions: Vec<QuestionReport>,
    /// The client that has each question, and the provider that it is for, if not for any.
    asked_by: Vec<(Node, Option<NodeName>)>,
    imbalances: Vec<Imbalance>,
    checkpoints: u64,
}

/// A seat, and what the network keeps about it.
struct Slot {
    seat: Box<dyn Seat>,
    /// The identity under which others reach it; a client's and a provider's is its link.
    id: Option<NodeId>,
    up: bool,
    /// Rises with every start: what was meant for an earlier one does not arrive.
    incarnation: u64,
    crashes: u64,
    /// The entry in the agenda that counts.
    wake: Option<Time>,
    /// Its link to its entry gateway, if it has one.
    link: Option<u64>,
}

/// A link of a client or provider to its entry gateway.
struct Uplink {
    edge: Node,
    gateway: Node,
}

/// A call whose answer is awaited.
struct OpenCall {
    from: Node,
    incarnation: u64,
    to: Node,
    tag: u64,
    call: Call,
}

/// Something that happens.
enum Event {
    /// A frame arrives; over the link of this number, if it is one of a client's.
    Frame {
        from: Peer,
        to: Node,
        link: Option<u64>,
        frame: Frame,
    },
    /// A call arrives.
    Call { from: Peer, ticket: u64 },
    /// The answer to a call arrives.
    Answer { ticket: u64, reply: Option<Reply> },
    /// A node is told something by the network or by itself.
    Told {
        to: Node,
        incarnation: u64,
        input: Input,
    },
    /// A node dials its entry gateway.
    Dial { from: Node, gateway: NodeId },
    /// A node's timer is due.
    Wake(Node),
    /// A node crashes, for this long.
    Crash(Node, Duration),
    /// A node starts.
    Start(Node),
    /// A question is asked.
    Ask(usize),
    /// All accounts are checked.
    Checkpoint,
}

impl<'a> Network<'a> {
    pub(crate) fn new(
        scenario: &'a Scenario,
        observer: &'a mut dyn Observer,
        begin: Time,
        genesis: Time,
        rng: ChaCha20Rng,
    ) -> Self {
        Self {
            scenario,
            observer,
            begin,
            genesis,
            now: begin,
            slots: BTreeMap::new(),
            ids: BTreeMap::new(),
            agenda: Agenda::default(),
            rng,
            calls: BTreeMap::new(),
            dialled: BTreeMap::new(),
            numbered: 0,
            links: LinkCounts::default(),
            trace: Trace::default(),
            questions: Vec::new(),
            asked_by: Vec::new(),
            imbalances: Vec::new(),
            checkpoints: 0,
        }
    }

    /// Seats a node; it starts with the run.
    pub(crate) fn seat(&mut self, node: Node, id: Option<NodeId>, seat: Box<dyn Seat>) {
        self.ids.extend(id.map(|id| (id, node)));
        let mut clocks = self.scenario.harm.clocks.iter();
        let seat = match clocks.find(|(off, _)| *off == node) {
            Some((_, clock)) => Box::new(ByWrongClock::new(seat, *clock)),
            None => seat,
        };
        let slot = Slot {
            seat,
            id,
            up: false,
            incarnation: 0,
            crashes: 0,
            wake: None,
            link: None,
        };
        self.slots.insert(node, slot);
        self.agenda.enter(self.begin, Event::Start(node));
    }

    /// Enters a question of a client.
    pub(crate) fn question(&mut self, at: Duration, client: Node, provider: Option<NodeName>) {
        let number = self.questions.len();
        self.questions.push(QuestionReport {
            at,
            ended_after: None,
            ending: None,
        });
        self.asked_by.push((client, provider));
        self.agenda
            .enter(self.genesis.after(at), Event::Ask(number));
    }

    /// Runs to the end of the scenario.
    pub(crate) fn run(mut self) -> Report {
        let end = self.genesis.after(self.scenario.duration);
        for fault in &self.scenario.faults {
            let crash = Event::Crash(fault.node, fault.down);
            self.agenda.enter(self.genesis.after(fault.at), crash);
        }
        self.agenda.enter(
            self.begin.after(self.scenario.checkpoint),
            Event::Checkpoint,
        );
        while let Some((at, event)) = self.agenda.next_until(end) {
            self.now = at;
            self.happen(event);
        }
        self.now = end;
        self.check();
        self.report()
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Frame {
                from,
                to,
                link,
                frame,
            } => self.arrive(from, to, link, frame),
            Event::Call { from, ticket } => self.called(from, ticket),
            Event::Answer { ticket, reply } => self.answered(ticket, reply),
            Event::Told {
                to,
                incarnation,
                input,
            } => {
                if self.slots[&to].incarnation == incarnation {
                    self.tell(to, input);
                }
            }
            Event::Dial { from, gateway } => self.dial(from, gateway),
            Event::Wake(node) => {
                let now = self.now;
                let slot = self.slot(node);
                // A timer that was moved since is entered elsewhere.
                if slot.wake == Some(now) {
                    slot.wake = None;
                    self.tell(node, Input::Timeout);
                }
            }
            Event::Crash(node, down) => self.crash(node, down),
            Event::Start(node) => self.start(node),
            Event::Ask(number) => self.ask(number),
            Event::Checkpoint => {
                self.check();
                let next = self.now.after(self.scenario.checkpoint);
                self.agenda.enter(next, Event::Checkpoint);
            }
        }
    }

    fn start(&mut self, node: Node) {
        self.trace.node(self.now, b"start", node);
        let now = self.now;
        let slot = self.slot(node);
        slot.up = true;
        slot.incarnation += 1;
        let outputs = slot.seat.start(now);
        self.act(node, outputs);
    }

    /// The node is gone, its links are down, who waits for it hears that it is not there.
    fn crash(&mut self, node: Node, down: Duration) {
        self.trace.node(self.now, b"crash", node);
        let slot = self.slot(node);
        if !slot.up {
            return;
        }
        slot.up = false;
        slot.crashes += 1;
        slot.incarnation += 1;
        slot.wake = None;
        slot.seat.crash();
        let ended = |uplink: &Uplink| uplink.edge == node || uplink.gateway == node;
        let over: Vec<u64> = self
            .dialled
            .iter()
            .filter(|(_, uplink)| ended(uplink))
            .map(|(link, _)| *link)
            .collect();
        for link in over {
            self.hang_up(link);
        }
        let unanswered = self.calls.iter().filter(|(_, call)| call.to == node);
        let unanswered: Vec<u64> = unanswered.map(|(ticket, _)| *ticket).collect();
        for ticket in unanswered {
            self.later(Event::Answer {
                ticket,
                reply: None,
            });
        }
        self.lose_questions(node);
        self.agenda.enter(self.now.after(down), Event::Start(node));
    }

    /// A link is down: both ends hear of it.
    fn hang_up(&mut self, link: u64) {
        let Some(uplink) = self.dialled.remove(&link) else {
            return;
        };
        self.slot(uplink.edge).link = None;
        for to in [uplink.edge, uplink.gateway] {
            let input = Input::Down(guest(link));
            let incarnation = self.slots[&to].incarnation;
            self.later(Event::Told {
                to,
                incarnation,
                input,
            });
        }
    }

    fn dial(&mut self, from: Node, gateway: NodeId) {
        let gateway = self.ids[&gateway];
        let up = self.slots[&gateway].up && self.slots[&from].up;
        if up {
            self.numbered += 1;
            let link = self.numbered;
            let uplink = Uplink {
                edge: from,
                gateway,
            };
            self.dialled.insert(link, uplink);
            self.slot(from).link = Some(link);
        }
        self.tell(from, Input::Dialled { up });
    }

    fn arrive(&mut self, from: Peer, to: Node, link: Option<u64>, frame: Frame) {
        let stands = link.is_none_or(|link| self.dialled.contains_key(&link));
        if !stands || !self.slots[&to].up {
            self.links.stranded += 1;
            return;
        }
        self.links.arrived += 1;
        self.trace.frame(self.now, to, &frame);
        self.tell(to, Input::Frame { from, frame });
    }

    fn called(&mut self, from: Peer, ticket: u64) {
        let Some(open) = self.calls.get(&ticket) else {
            return;
        };
        let (from_node, to, call) = (open.from, open.to, open.call.clone());
        self.trace.bytes(self.now, to, b"call", &call.to_bytes());
        if self.slots[&to].up && !self.is_cut(from_node, to) {
            self.tell(to, Input::Call { from, ticket, call });
        } else {
            self.later(Event::Answer {
                ticket,
                reply: None,
            });
        }
    }

    fn answered(&mut self, ticket: u64, reply: Option<Reply>) {
        let Some(open) = self.calls.remove(&ticket) else {
            return;
        };
        let said = reply.as_ref().map(Encode::to_bytes).unwrap_or_default();
        self.trace.bytes(self.now, open.from, b"answer", &said);
        let Some(from) = self.slots[&open.to].id else {
            return;
        };
        let input = Input::Answer {
            from,
            tag: open.tag,
            call: open.call,
            reply,
        };
        if self.slots[&open.from].incarnation == open.incarnation {
            self.tell(open.from, input);
        }
    }

    fn tell(&mut self, node: Node, input: Input) {
        let now = self.now;
        let slot = self.slot(node);
        if slot.up {
            let outputs = slot.seat.handle(now, input);
            self.act(node, outputs);
        }
    }

    /// Does what a node did, and looks when it wants to be woken.
    fn act(&mut self, node: Node, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Frame { to, frame } => self.send(node, to, frame),
                Output::Question(way) => self.tell_truth(node, way),
                Output::Call { to, tag, call } => self.call(node, to, tag, call),
                Output::Reply { ticket, reply } => {
                    let reply = Some(reply);
                    self.later(Event::Answer { ticket, reply });
                }
                Output::Dial(gateway) => self.later(Event::Dial {
                    from: node,
                    gateway,
                }),
                Output::Later(at, input) => {
                    let incarnation = self.slots[&node].incarnation;
                    self.agenda.enter(
                        at,
                        Event::Told {
                            to: node,
                            incarnation,
                            input,
                        },
                    );
                }
                Output::Ended { number, ending } => self.ended(number, ending),
            }
        }
        self.arm(node);
    }

    fn arm(&mut self, node: Node) {
        let soonest = self.now.after(RESOLUTION);
        let slot = self.slot(node);
        let Some(due) = slot.seat.poll_timeout() else {
            return;
        };
        let due = due.max(soonest);
        if slot.wake.is_none_or(|wake| due < wake) {
            slot.wake = Some(due);
            self.agenda.enter(due, Event::Wake(node));
        }
    }

    fn send(&mut self, from: Node, to: Peer, frame: Frame) {
        self.links.sent += 1;
        let (peer, to, link) = match to {
            Peer::Node(id) => {
                let slot = &self.slots[&from];
                let link = slot.link;
                let peer = match (slot.id, link) {
                    (Some(id), _) => Some(Peer::Node(id)),
                    (None, link) => link.map(guest),
                };
                (peer, self.ids.get(&id).copied(), link)
            }
            Peer::Guest(number) => {
                let uplink = self.dialled.get(&number.0);
                let peer = self.slots[&from].id.map(Peer::Node);
                (peer, uplink.map(|uplink| uplink.edge), Some(number.0))
            }
        };
        let (Some(peer), Some(to)) = (peer, to) else {
            self.links.stranded += 1;
            return;
        };
        if let Some(sighting) = self.sighting(from, to) {
            self.observer.sees(sighting);
        }
        if self.is_lost(from, to) {
            self.links.lost += 1;
            return;
        }
        self.later(Event::Frame {
            from: peer,
            to,
            link,
            frame,
        });
    }

    fn sighting(&self, from: Node, to: Node) -> Option<Sighting> {
        let at = self.now.since(self.genesis);
        (self.now >= self.genesis).then_some(Sighting { at, from, to })
    }

    fn tell_truth(&mut self, node: Node, way: Way) {
        let link = self.slots[&node].link;
        let gateway = link
            .and_then(|link| self.dialled.get(&link))
            .map(|uplink| uplink.gateway);
        let sighting = gateway.and_then(|gateway| match way {
            Way::Out => self.sighting(node, gateway),
            Way::In => self.sighting(gateway, node),
        });
        if let Some(sighting) = sighting {
            self.observer.is_told(sighting);
        }
    }

    /// Whether a frame falls to a cut, a mix or a link.
    fn is_lost(&mut self, from: Node, to: Node) -> bool {
        if self.is_cut(from, to) {
            self.links.cut += 1;
            return true;
        }
        let share = self.scenario.harm.mix_loss;
        if matches!(from, Node::Mix(_)) && share > 0.0 && self.rng.random_bool(share) {
            self.links.dropped_by_mixes += 1;
            return true;
        }
        self.scenario.links.loses(&mut self.rng)
    }

    /// Whether a cut stands between two nodes now.
    fn is_cut(&self, one: Node, other: Node) -> bool {
        self.scenario.harm.cuts.iter().any(|cut| {
            let from = self.genesis.after(cut.at);
            let lasts = from <= self.now && self.now < from.after(cut.lasts);
            lasts && cut.nodes.contains(&one) != cut.nodes.contains(&other)
        })
    }

    fn call(&mut self, from: Node, to: NodeId, tag: u64, call: Call) {
        let slot = &self.slots[&from];
        let incarnation = slot.incarnation;
        let peer = slot.id.map(Peer::Node).or(slot.link.map(guest));
        let (Some(peer), Some(to)) = (peer, self.ids.get(&to).copied()) else {
            return;
        };
        self.numbered += 1;
        let ticket = self.numbered;
        let open = OpenCall {
            from,
            incarnation,
            to,
            tag,
            call,
        };
        self.calls.insert(ticket, open);
        self.later(Event::Call { from: peer, ticket });
    }

    /// Enters what takes the time of a link.
    fn later(&mut self, event: Event) {
        let delay = self.scenario.links.delay(&mut self.rng);
        self.agenda.enter(self.now.after(delay), event);
    }

    fn ask(&mut self, number: usize) {
        let (client, provider) = self.asked_by[number].clone();
        if !self.slots[&client].up {
            return self.ended(number, Ending::Crashed);
        }
        let asked = crate::questions::asked(number, self.now, self.scenario, provider);
        self.tell(client, Input::Ask(asked));
    }

    fn ended(&mut self, number: usize, ending: Ending) {
        self.trace.ending(self.now, number, &ending);
        let question = &mut self.questions[number];
        let asked = self.genesis.after(question.at);
        question.ended_after = Some(self.now.since(asked));
        question.ending = Some(ending);
    }

    /// Questions that a client had are gone with it.
    fn lose_questions(&mut self, client: Node) {
        for number in 0..self.questions.len() {
            let question = &self.questions[number];
            let asked = self.genesis.after(question.at) <= self.now;
            if self.asked_by[number].0 == client && asked && question.ending.is_none() {
                self.ended(number, Ending::Crashed);
            }
        }
    }

    fn slot(&mut self, node: Node) -> &mut Slot {
        self.slots.get_mut(&node).expect("every node has its seat")
    }
}

/// Nothing happens twice within this time at one node by its own timer.
const RESOLUTION: Duration = Duration::from_micros(1);
