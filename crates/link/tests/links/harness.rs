//! Nodes and clients of a test, and peers that follow no rules.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quinn::crypto::rustls::QuicClientConfig;
use rand::{CryptoRng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};
use subrosa_link::{
    Clock, Entropy, Frame, GuestId, Limits, Mesh, MeshConfig, MeshEvent, Peer, Services,
};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use wire::{NodeId, Time};

/// Frames of the tests.
pub(crate) const FRAME_LEN: usize = 8542;

/// Longer than anything that a test waits for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A mesh and its events.
pub(crate) struct Node {
    pub(crate) mesh: Mesh,
    pub(crate) events: mpsc::Receiver<MeshEvent>,
}

impl Node {
    pub(crate) async fn new(config: MeshConfig) -> Self {
        Self::with_clock(config, Arc::new(RunningClock::start())).await
    }

    pub(crate) async fn with_clock(config: MeshConfig, clock: Arc<dyn Clock>) -> Self {
        let services = Services::new(clock, Arc::new(Seeds::default()));
        let (mesh, events) = Mesh::bind(config, services).await.expect("binds");
        Self { mesh, events }
    }

    pub(crate) fn id(&self) -> NodeId {
        self.mesh.node_id().expect("shows an identity")
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.mesh.local_addr().expect("listens")
    }

    /// What `set_neighbours` takes to dial this node.
    pub(crate) fn entry(&self) -> (NodeId, Vec<SocketAddr>) {
        (self.id(), vec![self.address()])
    }

    pub(crate) async fn next(&mut self) -> MeshEvent {
        timeout(PATIENCE, self.events.recv())
            .await
            .expect("an event in time")
            .expect("a live mesh")
    }

    /// The next event, which must be a link's coming up.
    pub(crate) async fn up(&mut self) -> Peer {
        match self.next().await {
            MeshEvent::Up(peer) => peer,
            other => panic!("expected Up, got {}", kind(&other)),
        }
    }

    /// The next event, which must be a peer's last link's going down.
    pub(crate) async fn down(&mut self) -> Peer {
        match self.next().await {
            MeshEvent::Down(peer) => peer,
            other => panic!("expected Down, got {}", kind(&other)),
        }
    }

    /// Frames from `from`, until there are `count` of them, and how many were refused.
    pub(crate) async fn gather(&mut self, from: Peer, count: usize) -> (Vec<Frame>, u64) {
        let (mut all, mut above) = (Vec::new(), 0);
        while all.len() + usize::try_from(above).expect("small") < count {
            match self.next().await {
                MeshEvent::Frames {
                    from: peer,
                    frames,
                    refused,
                } => {
                    assert_eq!(peer, from);
                    assert!(frames.len() <= 32);
                    all.extend(frames);
                    above += refused;
                }
                other => panic!("expected Frames, got {}", kind(&other)),
            }
        }
        (all, above)
    }

    /// Nothing happens for a while.
    pub(crate) async fn stays_silent(&mut self) {
        if let Ok(Some(event)) = timeout(Duration::from_millis(200), self.events.recv()).await {
            panic!("expected nothing, got {}", kind(&event));
        }
    }

    /// Waits until a count is reached.
    pub(crate) async fn counted(
        &self,
        what: impl Fn(&subrosa_link::LinkCounts) -> u64,
        least: u64,
    ) {
        let reached = async {
            while what(&self.mesh.counts()) < least {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, reached)
            .await
            .unwrap_or_else(|_| panic!("never counted: {:?}", self.mesh.counts()));
    }
}

pub(crate) fn kind(event: &MeshEvent) -> &'static str {
    match event {
        MeshEvent::Frames { .. } => "Frames",
        MeshEvent::Call { .. } => "Call",
        MeshEvent::Up(_) => "Up",
        MeshEvent::Down(_) => "Down",
    }
}

pub(crate) fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

/// A node's set-up, quick to dial again.
pub(crate) fn node(seed: u8) -> MeshConfig {
    let mut config = MeshConfig::node(FRAME_LEN, [seed; 32].into(), loopback());
    config.limits = brisk();
    config
}

pub(crate) fn client() -> MeshConfig {
    let mut config = MeshConfig::client(FRAME_LEN);
    config.limits = brisk();
    config
}

fn brisk() -> Limits {
    Limits {
        redial: (Duration::from_millis(20), Duration::from_millis(200)),
        ..Limits::default()
    }
}

/// Two nodes; the first has dialled the second, and both know it.
pub(crate) async fn pair(first: MeshConfig, second: MeshConfig) -> (Node, Node) {
    let (mut first, mut second) = (Node::new(first).await, Node::new(second).await);
    second.mesh.set_neighbours(vec![], vec![first.id()]);
    first.mesh.set_neighbours(vec![second.entry()], vec![]);
    assert_eq!(first.up().await, Peer::Node(second.id()));
    assert_eq!(second.up().await, Peer::Node(first.id()));
    (first, second)
}

/// A client and its gateway, and the gateway's name for the client.
pub(crate) async fn guest_and_host(guest: MeshConfig, host: MeshConfig) -> (Node, Node, Peer) {
    let mut host = Node::new(host.with_guests()).await;
    let mut guest = Node::new(guest).await;
    guest.mesh.set_neighbours(vec![host.entry()], vec![]);
    assert_eq!(guest.up().await, Peer::Node(host.id()));
    let peer = host.up().await;
    assert!(matches!(peer, Peer::Guest(GuestId(_))));
    (guest, host, peer)
}

/// Frames that can be told apart.
pub(crate) fn numbered(count: usize) -> Vec<Frame> {
    (0..count)
        .map(|number| {
            let mut packet = vec![0; FRAME_LEN - Frame::PREFIX_LEN];
            packet[..8].copy_from_slice(&(number as u64).to_be_bytes());
            packet[FRAME_LEN - 10..].copy_from_slice(&(number as u64).to_be_bytes());
            Frame::new((number % 7) as u16, &packet)
        })
        .collect()
}

/// A clock that runs.
pub(crate) struct RunningClock(Instant);

impl RunningClock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }
}

impl Clock for RunningClock {
    fn now(&self) -> Time {
        Time::ZERO.after(self.0.elapsed())
    }
}

/// A clock that stands until it is moved.
#[derive(Default)]
pub(crate) struct StandingClock(AtomicU64);

impl StandingClock {
    pub(crate) fn forward(&self, by: Duration) {
        let nanos = u64::try_from(by.as_nanos()).expect("short");
        self.0.fetch_add(nanos, Ordering::SeqCst);
    }
}

impl Clock for StandingClock {
    fn now(&self) -> Time {
        Time::from_nanos(self.0.load(Ordering::SeqCst))
    }
}

/// Seeded generators, each from the next seed.
#[derive(Default)]
struct Seeds(AtomicU64);

impl Entropy for Seeds {
    fn rng(&self) -> Box<dyn CryptoRng + Send> {
        let seed = self.0.fetch_add(1, Ordering::SeqCst);
        Box::new(ChaCha20Rng::seed_from_u64(seed))
    }
}

/// A running clock and seeded generators.
pub(crate) fn services() -> Services {
    Services::new(Arc::new(RunningClock::start()), Arc::new(Seeds::default()))
}

/// What a stranger offers in its handshake.
pub(crate) struct Stranger {
    pub(crate) groups: Vec<&'static dyn SupportedKxGroup>,
    pub(crate) protocol: &'static [u8],
}

impl Default for Stranger {
    fn default() -> Self {
        Self {
            groups: vec![aws_lc_rs::kx_group::X25519MLKEM768],
            protocol: b"subrosa-link/1",
        }
    }
}

impl Stranger {
    /// A QUIC client of our own making that shows no key and trusts anybody.
    pub(crate) fn config(self) -> quinn::ClientConfig {
        let provider = Arc::new(CryptoProvider {
            kx_groups: self.groups,
            ..aws_lc_rs::default_provider()
        });
        let mut tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(TrustsAnybody))
            .with_no_client_auth();
        tls.alpn_protocols = vec![self.protocol.to_vec()];
        tls.enable_early_data = true;
        let crypto = QuicClientConfig::try_from(tls).expect("TLS 1.3 suites");
        let mut config = quinn::ClientConfig::new(Arc::new(crypto));
        let mut transport = quinn::TransportConfig::default();
        transport.keep_alive_interval(Some(Duration::from_millis(100)));
        config.transport_config(Arc::new(transport));
        config
    }

    pub(crate) async fn connect(
        self,
        to: SocketAddr,
    ) -> Result<quinn::Connection, quinn::ConnectionError> {
        let endpoint = stranger_endpoint();
        let config = self.config();
        let connecting = endpoint
            .connect_with(config, to, "node.invalid")
            .expect("a loopback address");
        connecting.await
    }
}

pub(crate) fn stranger_endpoint() -> quinn::Endpoint {
    quinn::Endpoint::client(loopback()).expect("a socket")
}

/// What opens a stream of frames.
pub(crate) fn preamble(frame_len: usize) -> Vec<u8> {
    let length = u32::try_from(frame_len).expect("short");
    [&b"sbrf"[..], &length.to_be_bytes()].concat()
}

#[derive(Debug)]
pub(crate) struct TrustsAnybody;

impl ServerCertVerifier for TrustsAnybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}
