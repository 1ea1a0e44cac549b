//! A node's seat in the simulation: the shipped core, what the node keeps on disk, and the
//! little that its driver does, in memory.

use link::{Frame, Peer};
use provider::JobDone;
use wire::{Call, Epoch, Ledger, NodeId, NodeName, Reply, Time};

use crate::report::Ending;
use crate::scenario::Node;

/// What reaches a node.
pub(crate) enum Input {
    /// Its timer is due.
    Timeout,
    /// A frame came over a link.
    Frame {
        /// From whom.
        from: Peer,
        /// The frame.
        frame: Frame,
    },
    /// Somebody asks something; the answer goes under the ticket.
    Call {
        /// Who.
        from: Peer,
        /// Under which the reply goes back.
        ticket: u64,
        /// What.
        call: Call,
    },
    /// What came of a call of this node; no reply if the other end was away.
    Answer {
        /// Who was asked.
        from: NodeId,
        /// What the caller marked it with.
        tag: u64,
        /// What was asked.
        call: Call,
        /// What was said.
        reply: Option<Reply>,
    },
    /// The link that it dialled is up, or nobody was there.
    Dialled {
        /// Whether somebody was there.
        up: bool,
    },
    /// A client's link is down; to the client, its own.
    Down(Peer),
    /// A model has run.
    JobDone(JobDone),
    /// A client's owner asks a question.
    Ask(Asked),
}

/// A question that a client is to ask.
pub(crate) struct Asked {
    pub(crate) number: usize,
    pub(crate) model: &'static str,
    /// The provider asked; any that serves the model if none is named.
    pub(crate) provider: Option<NodeName>,
    pub(crate) input: Vec<f32>,
    pub(crate) deadline: Time,
}

/// What a node does.
pub(crate) enum Output {
    /// Sends a frame to a node.
    Frame {
        /// To whom; a client's only peer is its entry gateway.
        to: Peer,
        /// The frame.
        frame: Frame,
    },
    /// Tells who is given the truth that a packet of a question went over its link.
    Question(Way),
    /// Calls a node.
    Call {
        /// Whom.
        to: NodeId,
        /// Comes back with the answer.
        tag: u64,
        /// What.
        call: Call,
    },
    /// Answers a call.
    Reply {
        /// Which.
        ticket: u64,
        /// What.
        reply: Reply,
    },
    /// Dials its entry gateway.
    Dial(NodeId),
    /// Comes back to this node at that time.
    Later(Time, Input),
    /// A question has ended.
    Ended {
        /// Which.
        number: usize,
        /// How.
        ending: Ending,
    },
}

/// Over an edge's own link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// To its gateway.
    Out,
    /// From its gateway.
    In,
}

/// A node of the simulation.
pub(crate) trait Seat {
    /// Starts, with what is on its disk.
    fn start(&mut self, now: Time) -> Vec<Output>;

    /// Takes what reaches it, and does what is due.
    fn handle(&mut self, now: Time, input: Input) -> Vec<Output>;

    /// When it wants [`Input::Timeout`].
    fn poll_timeout(&self) -> Option<Time>;

    /// Stops at once: all but the disk is gone, and what was held is counted as lost.
    fn crash(&mut self);

    /// The account of its packets since the beginning, crashes included, and what it holds.
    fn account(&self) -> (Ledger, u64);

    /// The epoch of the newest document that it serves as an authority.
    fn newest(&self) -> Option<Epoch> {
        None
    }
}

/// The number of a seat's stream of randomness.
pub(crate) fn stream(node: Node) -> u64 {
    let (kind, number) = match node {
        Node::Authority(number) => (1, number),
        Node::Mix(number) => (2, number),
        Node::Gateway(number) => (3, number),
        Node::Provider(number) => (4, number),
        Node::Client(number) => (5, number),
    };
    kind << 32 | number as u64
}
