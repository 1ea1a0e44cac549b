//! What is simulated: how many nodes, at which rates, over which links, with which faults.

use std::time::Duration;

use directory::Parameters;
use provider::Reach;
use thiserror::Error;

use crate::links::LinkLaw;

/// A whole network for a span of virtual time.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// The same seed and scenario give the same run.
    pub seed: u64,
    /// How long the network runs, from its genesis.
    pub duration: Duration,
    /// How many of each.
    pub counts: Counts,
    /// What the authorities sign: rates, epoch, geometry.
    pub parameters: Parameters,
    /// How providers are reached. Anonymous ones are listed in the second document at the
    /// earliest, and take three gateways.
    pub reach: Reach,
    /// Index of the rate class of every client.
    pub class: u8,
    /// Every link between two nodes.
    pub links: LinkLaw,
    /// Nodes that crash.
    pub faults: Vec<Fault>,
    /// What befalls packets beyond what links do to them.
    pub harm: Harm,
    /// What clients ask.
    pub questions: Questions,
    /// What single clients ask of single providers besides.
    pub sessions: Vec<Session>,
    /// How often the ledgers of all nodes are checked.
    pub checkpoint: Duration,
}

/// How many nodes of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Authorities; all but a quarter must sign.
    pub authorities: usize,
    /// Mixes; the directory spreads them over three layers.
    pub mixes: usize,
    /// Gateways.
    pub gateways: usize,
    /// Providers.
    pub providers: usize,
    /// Clients that ask, and send cover all the time.
    pub clients: usize,
}

/// A node of the simulation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Node {
    /// The authority of this number.
    Authority(usize),
    /// The mix of this number.
    Mix(usize),
    /// The gateway of this number.
    Gateway(usize),
    /// The provider of this number.
    Provider(usize),
    /// The client of this number.
    Client(usize),
}

/// A crash: what the node held is lost, what it keeps on disk is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Who.
    pub node: Node,
    /// When, from genesis.
    pub at: Duration,
    /// For how long the node stays away.
    pub down: Duration,
}

/// What befalls packets beyond what links do to them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Harm {
    /// Share of packets that every mix drops, having accounted for them as sent.
    pub mix_loss: f64,
    /// Times at which nodes are cut off.
    pub cuts: Vec<Cut>,
    /// Nodes whose clocks are off.
    pub clocks: Vec<(Node, WrongClock)>,
}

/// How far a clock is off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WrongClock {
    /// It shows an earlier time.
    Behind(Duration),
    /// It shows a later time.
    Ahead(Duration),
}

/// A partition: no frame and no call passes between these nodes and all others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// Who is cut off.
    pub nodes: Vec<Node>,
    /// When, from genesis.
    pub at: Duration,
    /// For how long.
    pub lasts: Duration,
}

/// Questions, spread over clients and providers in turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Questions {
    /// When the first is asked, from genesis.
    pub first: Duration,
    /// Time between two.
    pub every: Duration,
    /// Time within which each is answered or ends in its error.
    pub deadline: Duration,
}

/// One client's questions to one provider, each with the deadline of [`Questions`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The client's number.
    pub client: usize,
    /// The provider's number.
    pub provider: usize,
    /// When it asks, from genesis.
    pub at: Vec<Duration>,
}

/// Why there can be no such network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ScenarioError {
    /// Too few authorities, or parameters that cannot carry a network.
    #[error("authorities or parameters cannot carry a network")]
    Network,
    /// Fewer than three mixes, or no gateway.
    #[error("a network needs three mixes and a gateway")]
    Nodes,
    /// No such rate class.
    #[error("the parameters have no such rate class")]
    Class,
    /// Links or mixes lose everything, or something that is no share.
    #[error("the share of lost frames is not between 0 and 1")]
    Loss,
    /// The time between two checkpoints is zero.
    #[error("the time between two checkpoints is zero")]
    Checkpoint,
    /// A fault, a cut or a clock of a node that is not there.
    #[error("a fault names a node that is not there")]
    Fault,
    /// A session of a client or provider that is not there.
    #[error("a session names a client or provider that is not there")]
    Session,
    /// The shipped models do not fit the geometry.
    #[error("the models do not fit the geometry")]
    Models,
}

impl Scenario {
    /// Whether there can be such a network.
    pub(crate) fn check(&self) -> Result<(), ScenarioError> {
        if self.counts.mixes < 3 || self.counts.gateways == 0 {
            return Err(ScenarioError::Nodes);
        }
        if self.parameters.class(self.class).is_none() {
            return Err(ScenarioError::Class);
        }
        let shares = [self.links.loss, self.harm.mix_loss];
        if shares.iter().any(|loss| !(0.0..1.0).contains(loss)) {
            return Err(ScenarioError::Loss);
        }
        if self.checkpoint.is_zero() {
            return Err(ScenarioError::Checkpoint);
        }
        let here = |session: &Session| {
            session.client < self.counts.clients && session.provider < self.counts.providers
        };
        if !self.sessions.iter().all(here) {
            return Err(ScenarioError::Session);
        }
        let cut_off = self.harm.cuts.iter().flat_map(|cut| &cut.nodes);
        let off = self.harm.clocks.iter().map(|(node, _)| node);
        let hit = self.faults.iter().map(|fault| &fault.node);
        let mut named = hit.chain(cut_off).chain(off);
        if named.all(|node| self.has(*node)) {
            Ok(())
        } else {
            Err(ScenarioError::Fault)
        }
    }

    fn has(&self, node: Node) -> bool {
        let Counts {
            authorities,
            mixes,
            gateways,
            providers,
            clients,
        } = self.counts;
        match node {
            Node::Authority(number) => number < authorities,
            Node::Mix(number) => number < mixes,
            Node::Gateway(number) => number < gateways,
            Node::Provider(number) => number < providers,
            Node::Client(number) => number < clients,
        }
    }
}
