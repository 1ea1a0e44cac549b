//! A mix as a process on loopback: killed with SIGKILL between packets and started again, it
//! forwards none of them twice. The process is this test binary, started again.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test, helpers included, that stands where the front door does"
)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use directory::{
    AuthorityEntry, Consensus, Document, Identity, Network, NetworkDraft, NodeDescriptor,
    NodeDraft, Parameters, Previous, Role, sign_document,
};
use link::{
    Clock, Entropy, Frame, IdentitySeed, Mesh, MeshConfig, MeshEvent, Peer, Services, Sight, Tap,
    Witness,
};
use rand::CryptoRng;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use sphinx::{Address, Geometry, Hop, Next, Packet, PublicKey, RouteKey, SecretKey};
use store::{Batch, BootId, Bytes, StateDir, Table};
use subrosa_mix::keys::EpochKeys;
use subrosa_mix::replay::log_origin;
use subrosa_mix::{MixConfig, MixLimits};
use tokio::sync::mpsc::Receiver;
use wire::{Encode, Epoch, NodeId, NodeName, Time};

const GEOMETRY: Geometry = Geometry::new(1024).unwrap();
const MIX: [u8; 32] = [1; 32];
const NEXT: [u8; 32] = [2; 32];
const GATEWAY: [u8; 32] = [3; 32];
const OTHER: [u8; 32] = [4; 32];
const AUTHORITY: [u8; 32] = [5; 32];
const NEXT_SECRET: [u8; 32] = [6; 32];
/// State directory, genesis and port of the process.
const WHERE: &str = "SUBROSA_MIX_TEST";
const E: Epoch = Epoch(1);

struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Time {
        let since = SystemTime::UNIX_EPOCH.elapsed().unwrap();
        Time::from_nanos(since.as_nanos().try_into().unwrap())
    }
}

/// Nothing in this test depends on numbers that cannot be guessed.
struct ClockEntropy;

impl Entropy for ClockEntropy {
    fn rng(&self) -> Box<dyn CryptoRng + Send> {
        Box::new(ChaCha20Rng::seed_from_u64(SystemClock.now().as_nanos()))
    }
}

/// Prints each account, a line each.
struct Printer;

impl Witness for Printer {
    fn saw(&self, _: &str, sight: Sight) {
        if let Sight::Account { ledger, held } = sight {
            let balances = ledger.balances(held);
            let replays = ledger.refused.of(wire::Refusal::Replay);
            println!("\naccount {} {replays} {balances}", ledger.received);
        }
    }
}

/// Does nothing unless started by the test below; then is a mix until its input ends.
#[test]
fn mix_process() {
    let Some(place) = std::env::var_os(WHERE) else {
        return;
    };
    let place = place.into_string().unwrap();
    let mut fields = place.split('|');
    let mut field = || fields.next().unwrap();
    let state = StateDir::open(field()).unwrap();
    let network = network(Time::from_nanos(field().parse().unwrap()));
    let port = field().parse().unwrap();
    let config = MixConfig {
        name: NodeName::new("mix-1").unwrap(),
        identity: Identity::from_seed(&MIX),
        family: None,
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        advertise: Vec::new(),
        network,
        state,
        limits: MixLimits::default(),
        crypto_threads: 2.try_into().unwrap(),
    };
    let services = services().with_tap(Tap::new("mix-1", Arc::new(Printer)));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let input_ends = async {
        let read = || std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        tokio::task::spawn_blocking(read).await.unwrap().unwrap();
    };
    runtime
        .block_on(subrosa_mix::run(config, services, input_ends))
        .unwrap();
}

#[test]
fn forwards_nothing_twice_across_a_kill() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut world = World::new().await;
        let mut mix = world.start_mix().await;
        let first = world.packets(40, 1);
        world.send(&first);
        world.hear(40).await;

        // Some of these are in the mix when it dies, or on their way to it.
        let second = world.packets(40, 2);
        world.send(&second);
        world.hear(5).await;
        mix.child.kill().unwrap();
        mix.child.wait().unwrap();
        world.hear_what_is_left().await;
        let heard_before: usize = world.heard.values().sum();

        let mut mix = world.start_mix().await;
        world.send(&first);
        world.send(&second);
        mix.read_until(|account| account.received >= 80).await;
        let fresh = world.packets(1, 3);
        world.send(&fresh);
        while !world.heard.contains_key(&fresh[0].0) {
            world.hear(1).await;
        }
        assert!(heard_before >= 45);
        for (identifier, _) in &first {
            assert_eq!(world.heard[identifier], 1);
        }
        assert!(world.heard.values().all(|times| *times == 1));

        // An orderly stop: the last account, and a log that outlives the machine's run.
        drop(mix.child.stdin.take());
        assert!(mix.child.wait().unwrap().success());
        let last = mix.read_until(|account| account.received >= 81).await;
        assert!(last.replays >= heard_before as u64, "{last:?}");
        let state = StateDir::open_in_run(world.state(), BootId([9; 16])).unwrap();
        let logged = state.open_replay_log(&log_origin(E, &world.key)).unwrap().1;
        assert!(logged.len() > heard_before);
    });
}

/// The mix's neighbours: the gateway before it and the mix after it.
struct World {
    home: tempfile::TempDir,
    genesis: Time,
    port: u16,
    key: PublicKey,
    gateway: Mesh,
    gateway_events: Receiver<MeshEvent>,
    /// Kept, so that the mix can dial it.
    _next: Mesh,
    next_events: Receiver<MeshEvent>,
    /// How often each packet reached the mix after.
    heard: BTreeMap<[u8; 16], usize>,
}

struct MixProcess {
    child: Child,
    accounts: tokio::sync::mpsc::UnboundedReceiver<Account>,
}

#[derive(Debug)]
struct Account {
    received: u64,
    replays: u64,
}

impl World {
    async fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let genesis = SystemClock.now().before(Duration::from_secs(60));
        let network = network(genesis);
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let port = UdpSocket::bind(any_port)
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let node = |seed| {
            let seed = IdentitySeed::from(seed);
            let mut config = MeshConfig::node(GEOMETRY.frame_len(), seed, any_port);
            // A killed process says nothing: this is how its peers learn of it.
            config.limits.idle = Duration::from_secs(2);
            config.limits.redial = (Duration::from_millis(50), Duration::from_millis(200));
            config
        };
        let (gateway, gateway_events) = Mesh::bind(node(GATEWAY), services()).await.unwrap();
        let (next, next_events) = Mesh::bind(node(NEXT), services()).await.unwrap();
        next.set_neighbours(Vec::new(), vec![id(MIX)]);
        let mix_address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        gateway.set_neighbours(vec![(id(MIX), vec![mix_address])], Vec::new());

        let state = StateDir::open(home.path().join("state")).unwrap();
        let durable = state.durable().unwrap();
        let keys = EpochKeys::new(state, durable.clone());
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let key = keys.prepare(&mut rng, E).unwrap();
        let descriptor = |seed, role, address, key| descriptor(seed, role, address, key);
        let own = descriptor(MIX, Role::Mix, mix_address, key);
        let next_key = SecretKey::from_bytes(NEXT_SECRET).public();
        let after = descriptor(NEXT, Role::Mix, next.local_addr().unwrap(), next_key);
        let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
        let any_key = SecretKey::generate(&mut rng).public();
        let third = descriptor(OTHER, Role::Mix, nowhere, any_key);
        let any_key = SecretKey::generate(&mut rng).public();
        let before = descriptor(GATEWAY, Role::Gateway, nowhere, any_key);
        let consensus = consensus(&network, [own, after, third], before);
        let mut batch = Batch::new();
        let documents: Table<Epoch, Bytes> = Table::new("documents");
        batch.put(&documents, &E, &Bytes(consensus.to_bytes()));
        durable.commit(batch).unwrap();
        Self {
            home,
            genesis,
            port,
            key,
            gateway,
            gateway_events,
            _next: next,
            next_events,
            heard: BTreeMap::new(),
        }
    }

    fn state(&self) -> PathBuf {
        self.home.path().join("state")
    }

    /// Starts the process and waits until it is linked with both neighbours.
    async fn start_mix(&mut self) -> MixProcess {
        let process = MixProcess::start(&self.state(), self.genesis, self.port);
        for events in [&mut self.gateway_events, &mut self.next_events] {
            while !matches!(next_event(events).await, MeshEvent::Up(_)) {}
        }
        process
    }

    /// Packets for the mix that end at the mix after it, with their identifiers.
    fn packets(&self, count: usize, seed: u64) -> Vec<([u8; 16], Packet)> {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let stop = |seed, key, delay| Hop {
            address: Address::from(id(seed)),
            key: RouteKey::new(key).unwrap(),
            delay,
        };
        let next_key = SecretKey::from_bytes(NEXT_SECRET).public();
        let route = [
            stop(MIX, self.key, Duration::from_millis(5)),
            stop(NEXT, next_key, Duration::ZERO),
        ];
        let mut packets = Vec::new();
        for _ in 0..count {
            let mut identifier = [0; 16];
            rand::Rng::fill_bytes(&mut rng, &mut identifier);
            let packet =
                Packet::wrap(&mut rng, GEOMETRY, &route, Address::DROP, identifier, b"").unwrap();
            packets.push((identifier, packet));
        }
        packets
    }

    fn send(&self, packets: &[([u8; 16], Packet)]) {
        let frames = packets.iter();
        let frames = frames.map(|(_, packet)| Frame::new(0, packet.as_bytes()));
        let sent = self.gateway.send(Peer::Node(id(MIX)), frames.collect());
        sent.unwrap();
    }

    /// Waits until `count` more packets reached the mix after.
    async fn hear(&mut self, count: usize) {
        let goal = self.heard.values().sum::<usize>() + count;
        while self.heard.values().sum::<usize>() < goal {
            let event = next_event(&mut self.next_events).await;
            self.note(event);
        }
    }

    /// Takes what is still under way, until the link is known to be down.
    async fn hear_what_is_left(&mut self) {
        for at_next in [true, false] {
            loop {
                let events = if at_next {
                    &mut self.next_events
                } else {
                    &mut self.gateway_events
                };
                match next_event(events).await {
                    MeshEvent::Down(_) => break,
                    event if at_next => self.note(event),
                    _ => {}
                }
            }
        }
    }

    fn note(&mut self, event: MeshEvent) {
        let MeshEvent::Frames { frames, .. } = event else {
            return;
        };
        let secret = SecretKey::from_bytes(NEXT_SECRET);
        for frame in frames {
            let packet = Packet::from_bytes(GEOMETRY, frame.packet()).unwrap();
            // Loops of the mix pass through and are not ours.
            if let Next::Deliver { identifier, .. } = packet.open(&[&secret]).unwrap().next() {
                *self.heard.entry(identifier).or_default() += 1;
            }
        }
    }
}

impl MixProcess {
    fn start(state: &Path, genesis: Time, port: u16) -> Self {
        let place = format!("{}|{}|{port}", state.display(), genesis.as_nanos());
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "mix_process", "--nocapture"])
            .env(WHERE, place)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = child.stdout.take().unwrap();
        let (sender, accounts) = tokio::sync::mpsc::unbounded_channel();
        std::thread::spawn(move || {
            for account in read_accounts(stdout) {
                let _ = sender.send(account);
            }
        });
        Self { child, accounts }
    }

    async fn read_until(&mut self, reached: impl Fn(&Account) -> bool) -> Account {
        loop {
            let account = in_time(self.accounts.recv()).await.expect("an account");
            if reached(&account) {
                return account;
            }
        }
    }
}

/// The accounts that a mix prints, each of which must balance.
fn read_accounts(stdout: ChildStdout) -> impl Iterator<Item = Account> {
    let lines = BufReader::new(stdout).lines().map_while(Result::ok);
    lines.filter_map(|line| {
        let fields: Vec<&str> = line.strip_prefix("account ")?.split(' ').collect();
        assert_eq!(fields[2], "true", "{line}");
        Some(Account {
            received: fields[0].parse().unwrap(),
            replays: fields[1].parse().unwrap(),
        })
    })
}

async fn next_event(events: &mut Receiver<MeshEvent>) -> MeshEvent {
    in_time(events.recv()).await.expect("the mesh is there")
}

async fn in_time<T>(what: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(Duration::from_secs(60), what);
    waited.await.expect("within a minute")
}

fn services() -> Services {
    Services::new(Arc::new(SystemClock), Arc::new(ClockEntropy))
}

fn id(seed: [u8; 32]) -> NodeId {
    Identity::from_seed(&seed).node_id()
}

fn network(genesis: Time) -> Arc<Network> {
    let authority = AuthorityEntry {
        id: id(AUTHORITY),
        name: NodeName::new("authority-1").unwrap(),
        addresses: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 9))],
    };
    let draft = NetworkDraft {
        authorities: vec![authority],
        threshold: 1,
        genesis,
        parameters: Parameters {
            geometry: GEOMETRY,
            local_addresses: true,
            ..Parameters::default()
        },
        bootstrap: Vec::new(),
    };
    Arc::new(Network::new(draft).unwrap())
}

fn descriptor(seed: [u8; 32], role: Role, address: SocketAddr, key: PublicKey) -> NodeDescriptor {
    let draft = NodeDraft {
        name: NodeName::new(&format!("node-{}", seed[0])).unwrap(),
        role,
        epoch: E,
        addresses: vec![address],
        sphinx_key: key,
        next_sphinx_key: SecretKey::from_bytes([seed[0] + 100; 32]).public(),
        family: None,
    };
    NodeDescriptor::sign(&Identity::from_seed(&seed), draft)
}

fn consensus(network: &Network, mixes: [NodeDescriptor; 3], gateway: NodeDescriptor) -> Consensus {
    let document = Document {
        network: *network.id(),
        epoch: E,
        previous: Previous::genesis(network),
        parameters: network.parameters().clone(),
        beacon: [0; 32],
        commitments: Vec::new(),
        silent: Vec::new(),
        layers: mixes.map(|mix| vec![mix]),
        gateways: vec![gateway],
        services: Vec::new(),
    };
    let authority = Identity::from_seed(&AUTHORITY);
    let signature = sign_document(&authority, network, E, &document.hash());
    Consensus {
        document,
        signatures: vec![(authority.node_id(), signature)],
    }
}
