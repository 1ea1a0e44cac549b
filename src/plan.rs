//! A network on this machine: who is in it, under which keys and ports.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use directory::{AuthorityEntry, Identity, Network, NetworkDraft, Parameters};
use rand::{CryptoRng, RngExt};
use wire::{NodeName, Time};
use zeroize::Zeroizing;

use crate::config::Role;

/// How many nodes of each role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Authorities; three quarters of them, rounded up, must sign.
    pub authorities: usize,
    /// Mixes, spread over three layers.
    pub mixes: usize,
    /// Gateways.
    pub gateways: usize,
    /// Providers.
    pub providers: usize,
}

/// 4 authorities, 9 mixes, 4 gateways, 2 providers.
impl Default for Counts {
    fn default() -> Self {
        Self {
            authorities: 4,
            mixes: 9,
            gateways: 4,
            providers: 2,
        }
    }
}

/// One node of a planned network.
pub struct PlannedNode {
    /// Its part.
    pub role: Role,
    /// Its name.
    pub name: String,
    /// The seed of its identity; a provider's is its mailbox's.
    pub seed: Zeroizing<[u8; 32]>,
    /// Where it listens; a provider does not.
    pub listen: Option<SocketAddr>,
    /// Where others find it, if that is not where it listens.
    pub advertise: Option<SocketAddr>,
    /// A free port for its page of counters.
    pub metrics: SocketAddr,
}

impl PlannedNode {
    fn identity(&self) -> Identity {
        Identity::from_seed(&self.seed)
    }
}

/// A network and its nodes.
pub struct Plan {
    /// What all participants know beforehand.
    pub network: Network,
    /// The nodes, authorities first.
    pub nodes: Vec<PlannedNode>,
}

impl Plan {
    /// Draws keys, finds free ports on loopback, and sets the genesis so that the nodes have
    /// `start_up` to start and then a first vote fits before it. A node that starts later misses
    /// the first document.
    ///
    /// # Errors
    /// The operating system's, if it has no free ports.
    ///
    /// # Panics
    /// Never: the plan has a port for every node that wants one.
    pub fn draw(
        now: Time,
        rng: &mut dyn CryptoRng,
        counts: Counts,
        parameters: Parameters,
        start_up: Duration,
    ) -> std::io::Result<Self> {
        let wanted = counts.authorities + counts.mixes + counts.gateways;
        let mut ports = free_ports(rng, wanted, UdpSocket::bind)?.into_iter();
        let pages = free_ports(rng, wanted + counts.providers, TcpListener::bind)?;
        let mut pages = pages.into_iter();
        let roles = [
            (Role::Authority, counts.authorities),
            (Role::Mix, counts.mixes),
            (Role::Gateway, counts.gateways),
            (Role::Provider, counts.providers),
        ];
        let mut nodes = Vec::new();
        for (role, count) in roles {
            for number in 1..=count {
                let mut seed = Zeroizing::new([0; 32]);
                rng.fill_bytes(seed.as_mut());
                let listen = if role == Role::Provider {
                    None
                } else {
                    ports.next()
                };
                nodes.push(PlannedNode {
                    role,
                    name: format!("{}-{number}", role.label()),
                    seed,
                    listen,
                    advertise: None,
                    metrics: pages.next().expect("as many pages as nodes were found"),
                });
            }
        }
        let network = network(now.after(start_up), &nodes, counts, parameters);
        Ok(Self { network, nodes })
    }

    /// The same network, whose nodes are found where `front` says of where they listen.
    ///
    /// # Errors
    /// What `front` says.
    ///
    /// # Panics
    /// Never: other addresses leave a sound network sound.
    pub fn behind<E>(
        mut self,
        mut front: impl FnMut(SocketAddr) -> Result<SocketAddr, E>,
    ) -> Result<Self, E> {
        for node in &mut self.nodes {
            node.advertise = node.listen.map(&mut front).transpose()?;
        }
        let found = |listen: SocketAddr| {
            let node = self.nodes.iter().find(|node| node.listen == Some(listen));
            node.and_then(|node| node.advertise).unwrap_or(listen)
        };
        let mut draft = self.network.draft().clone();
        let authorities = draft.authorities.iter_mut();
        let gateways = draft.bootstrap.iter_mut().map(|(_, address)| address);
        for address in authorities
            .flat_map(|entry| &mut entry.addresses)
            .chain(gateways)
        {
            *address = found(*address);
        }
        self.network = Network::new(draft).expect("other addresses leave a sound network sound");
        Ok(self)
    }
}

fn network(now: Time, nodes: &[PlannedNode], counts: Counts, parameters: Parameters) -> Network {
    let listening = |role: Role| {
        nodes
            .iter()
            .filter(move |node| node.role == role)
            .filter_map(|node| Some((node, node.listen?)))
    };
    let authorities = listening(Role::Authority)
        .map(|(node, address)| AuthorityEntry {
            id: node.identity().node_id(),
            name: NodeName::new(&node.name).expect("a role and a number are a name"),
            addresses: vec![address],
        })
        .collect();
    let bootstrap = listening(Role::Gateway)
        .map(|(node, address)| (node.identity().node_id(), address))
        .collect();
    let lead = parameters.vote_step * Parameters::PUBLISH_STEPS;
    // Whole milliseconds: what the network's file can say.
    let genesis = now.after(lead).as_nanos().div_ceil(1_000_000);
    let threshold = (counts.authorities * 3).div_ceil(4);
    Network::new(NetworkDraft {
        authorities,
        threshold: u8::try_from(threshold).unwrap_or(u8::MAX),
        genesis: Time::ZERO.after(Duration::from_millis(genesis)),
        parameters,
        bootstrap,
    })
    .expect("a planned network of at least one authority is sound")
}

/// Ports that are free now, below those that systems give to whoever names none: a client's
/// socket would take one before its node has started.
fn free_ports<S>(
    rng: &mut dyn CryptoRng,
    count: usize,
    bind: impl Fn(SocketAddr) -> std::io::Result<S>,
) -> std::io::Result<Vec<SocketAddr>> {
    // All are held until the last is found, so that no port is given twice.
    let mut held = Vec::new();
    let mut failures = 0;
    while held.len() < count {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, rng.random_range(PORTS)));
        match bind(address) {
            Ok(socket) => held.push((address, socket)),
            Err(why) if failures >= MOST_TAKEN => return Err(why),
            Err(_) => failures += 1,
        }
    }
    Ok(held.into_iter().map(|(address, _)| address).collect())
}

const PORTS: std::ops::Range<u16> = 10_240..32_768;

/// Ports that may be taken before none is looked for any more.
const MOST_TAKEN: usize = 1_000;

/// The shipped models that provider `number`, counted from 0, serves of all `providers`: each in
/// turn takes one.
#[must_use]
pub fn share(number: usize, providers: usize) -> Vec<String> {
    let shipped = compiler::shipped().iter().skip(number);
    let own = shipped.step_by(providers.max(1));
    own.map(|model| model.name.to_owned()).collect()
}
