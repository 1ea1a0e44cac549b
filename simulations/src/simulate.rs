//! From a scenario to its report: makes keys, seats every node, runs.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use directory::{AuthorityEntry, Identity, Network as Description, NetworkDraft, Role};
use message::{SealingKey, mailbox_gateways};
use provider::{Reach, Service, model_card};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;
use wire::{Epoch, NodeId, NodeName, Time};

use crate::membership::Member;
use crate::network::Network;
use crate::observer::{Nobody, Observer};
use crate::questions::models;
use crate::report::Report;
use crate::scenario::{Node, Scenario, ScenarioError};
use crate::seat::{Seat, stream};
use crate::seats::{AskerOwner, AuthoritySeat, GatewaySeat, MixSeat, ProviderOwner};
use crate::uplink::UplinkSeat;

/// Runs a scenario. The same scenario gives the same report.
///
/// # Errors
/// [`ScenarioError`] if there can be no such network.
pub fn run(scenario: &Scenario) -> Result<Report, ScenarioError> {
    run_observed(scenario, &mut Nobody)
}

/// The same, while somebody watches the links.
///
/// # Errors
/// [`ScenarioError`] if there can be no such network.
pub fn run_observed(
    scenario: &Scenario,
    observer: &mut dyn Observer,
) -> Result<Report, ScenarioError> {
    scenario.check()?;
    let plan = Plan::new(scenario)?;
    let schedule = plan.network.schedule();
    let begin = schedule.publish_at(Epoch(1)).before(HEAD_START);
    let rng = plan.rng(LINKS);
    let mut network = Network::new(scenario, observer, begin, plan.network.genesis(), rng);
    plan.seat_nodes(&mut network);
    plan.seat_edges(&mut network)?;
    plan.ask(&mut network);
    Ok(network.run())
}

/// Keys and names of everybody.
struct Plan<'a> {
    scenario: &'a Scenario,
    network: Arc<Description>,
}

impl<'a> Plan<'a> {
    fn new(scenario: &'a Scenario) -> Result<Self, ScenarioError> {
        let authorities = 0..scenario.counts.authorities;
        let entry = |number| AuthorityEntry {
            id: identity(scenario.seed, Node::Authority(number)).node_id(),
            name: name("authority", number),
            addresses: vec![address(Node::Authority(number))],
        };
        let n = scenario.counts.authorities;
        let threshold = u8::try_from(2 * n / 3 + 1).map_err(|_| ScenarioError::Network)?;
        let draft = NetworkDraft {
            authorities: authorities.map(entry).collect(),
            threshold,
            genesis: Time::ZERO.after(GENESIS),
            parameters: scenario.parameters.clone(),
            bootstrap: Vec::new(),
        };
        let network = Description::new(draft).map_err(|_| ScenarioError::Network)?;
        Ok(Self {
            scenario,
            network: Arc::new(network),
        })
    }

    fn seat_nodes(&self, network: &mut Network<'_>) {
        let counts = self.scenario.counts;
        for number in 0..counts.authorities {
            let node = Node::Authority(number);
            let seat = AuthoritySeat::new(seed(self.scenario.seed, node), self.network.clone());
            network.seat(node, Some(self.id(node)), Box::new(seat));
        }
        for number in 0..counts.mixes {
            let node = Node::Mix(number);
            let member = self.member(node, name("mix", number), Role::Mix);
            let seat = MixSeat::new(member, self.rng(stream(node)));
            network.seat(node, Some(self.id(node)), Box::new(seat));
        }
        for number in 0..counts.gateways {
            let node = Node::Gateway(number);
            let member = self.member(node, name("gateway", number), Role::Gateway);
            let seat = GatewaySeat::new(member, self.rng(stream(node)));
            network.seat(node, Some(self.id(node)), Box::new(seat));
        }
    }

    fn seat_edges(&self, network: &mut Network<'_>) -> Result<(), ScenarioError> {
        for number in 0..self.scenario.counts.providers {
            let node = Node::Provider(number);
            let seat = self.provider(node, number)?;
            network.seat(node, None, seat);
        }
        for number in 0..self.scenario.counts.clients {
            let node = Node::Client(number);
            // Clients and providers fill the gateways in turn.
            let first = self.scenario.counts.providers + number;
            let gateways = self.scenario.counts.gateways;
            let entries = (first..).take(gateways).map(|n| self.entry(n)).collect();
            let owner = AskerOwner::new(self.scenario.class, models());
            let rng = self.rng(stream(node));
            let seat = UplinkSeat::new(owner, self.network.clone(), entries, rng);
            network.seat(node, None, Box::new(seat));
        }
        Ok(())
    }

    fn provider(&self, node: Node, number: usize) -> Result<Box<dyn Seat>, ScenarioError> {
        let mut rng = self.rng(stream(node));
        let sealing_seed: [u8; 32] = rng.random();
        let geometry = self.scenario.parameters.geometry;
        let models = models();
        let cards = models.values().map(|model| model_card(geometry, model));
        let cards: Result<Vec<_>, _> = cards.collect();
        let mailbox = Identity::generate(&mut rng);
        // The entry gateway keeps no mailbox of its own guest.
        let all = 0..self.scenario.counts.gateways;
        let kept = mailbox_gateways(&mailbox, all.map(|n| self.id(Node::Gateway(n))), None);
        let free = (number..).map(|number| self.entry(number));
        let gateways = self.scenario.counts.gateways;
        let reach = self.scenario.reach;
        let entries: VecDeque<NodeId> = match reach {
            Reach::Attached => free.take(1).collect(),
            Reach::Anonymous => free
                .take(gateways)
                .filter(|gateway| !kept.contains(gateway))
                .collect(),
        };
        if entries.is_empty() {
            return Err(ScenarioError::Network);
        }
        let service = Service::new(
            name("provider", number),
            mailbox,
            SealingKey::from_bytes(&sealing_seed).public().clone(),
            cards.map_err(|_| ScenarioError::Models)?,
        );
        let service = Arc::new(service.map_err(|_| ScenarioError::Models)?);
        let class = self.scenario.parameters.provider_class;
        let owner = ProviderOwner::new(service, reach, sealing_seed, class, models);
        let seat = UplinkSeat::new(owner, self.network.clone(), entries, rng);
        Ok(Box::new(seat))
    }

    /// Enters all questions.
    fn ask(&self, network: &mut Network<'_>) {
        for session in &self.scenario.sessions {
            for at in &session.at {
                let (client, provider) = (Node::Client(session.client), session.provider);
                network.question(*at, client, Some(name("provider", provider)));
            }
        }
        let questions = self.scenario.questions;
        let clients = self.scenario.counts.clients;
        if clients == 0 || questions.every.is_zero() {
            return;
        }
        let mut at = questions.first;
        let mut number = 0;
        while at + questions.deadline < self.scenario.duration {
            network.question(at, Node::Client(number % clients), None);
            at += questions.every;
            number += 1;
        }
    }

    fn member(&self, node: Node, name: NodeName, role: Role) -> Member {
        Member {
            name,
            role,
            address: address(node),
            identity: identity(self.scenario.seed, node),
            network: self.network.clone(),
        }
    }

    fn entry(&self, number: usize) -> NodeId {
        self.id(Node::Gateway(number % self.scenario.counts.gateways))
    }

    fn id(&self, node: Node) -> NodeId {
        identity(self.scenario.seed, node).node_id()
    }

    fn rng(&self, stream: u64) -> ChaCha20Rng {
        rng(self.scenario.seed, stream)
    }
}

fn rng(seed: u64, stream: u64) -> ChaCha20Rng {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    rng.set_stream(stream);
    rng
}

fn seed(seed: u64, node: Node) -> [u8; 32] {
    rng(seed, IDENTITIES | stream(node)).random()
}

fn identity(scenario_seed: u64, node: Node) -> Identity {
    Identity::from_seed(&seed(scenario_seed, node))
}

fn name(kind: &str, number: usize) -> NodeName {
    NodeName::new(&format!("{kind}-{number}")).expect("kinds are short and numbers are digits")
}

/// Somewhere that is nowhere: nobody dials it.
fn address(node: Node) -> SocketAddr {
    let stream = stream(node);
    let [.., a, b] = stream.to_be_bytes();
    let kind = (stream >> 32) as u16;
    SocketAddr::from((Ipv4Addr::new(127, a, b, 1), 40_000 + kind))
}

/// The stream of what links do.
const LINKS: u64 = 0;
/// Streams from which identities are drawn.
const IDENTITIES: u64 = 1 << 48;
/// When epoch 1 starts.
const GENESIS: Duration = Duration::from_secs(1_000_000);
/// Everybody starts this long before the first descriptors are due.
const HEAD_START: Duration = Duration::from_secs(1);
