//! What the tasks of one mesh share.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use quinn::{
    Connection, Endpoint, EndpointConfig, NoneTokenLog, ServerConfig, TransportConfig,
    ValidationTokenConfig,
};
use quinn_proto::RandomConnectionIdGenerator;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc, oneshot};
use wire::NodeId;

use crate::bucket::Bucket;
use crate::counts::Counters;
use crate::gate::Gate;
use crate::link::Code;
use crate::log::{Log, QuietRuntime};
use crate::mesh::registry::{Change, Direction, Link, Registry};
use crate::reset::ResetKey;
use crate::tls::{self, Admitted, Tls};
use crate::transport::Windows;
use crate::{GuestId, Limits, LinkError, MeshConfig, MeshEvent, Peer, Services, locked};

/// What the tasks of one mesh share.
pub(crate) struct Shared {
    pub(crate) frame_len: usize,
    pub(crate) admit_guests: bool,
    pub(crate) admit_strangers: bool,
    pub(crate) limits: Limits,
    pub(crate) services: Services,
    pub(crate) tls: Tls,
    pub(crate) windows: Windows,
    pub(crate) dialling: Arc<TransportConfig>,
    pub(crate) sockets: Sockets,
    pub(crate) gate: Arc<Gate>,
    pub(crate) counters: Counters,
    pub(crate) log: Log,
    pub(crate) registry: Mutex<Registry>,
    pub(crate) admitted: Arc<Admitted>,
    /// Nodes that are kept dialled, each until its sender is dropped.
    pub(crate) dialled: Mutex<BTreeMap<NodeId, Dialled>>,
    /// Connections of nodes that came in, so that they can be shown out.
    came_in: Mutex<BTreeMap<u64, (NodeId, Connection)>>,
    /// Guests' calls that are before the owner.
    guest_calls: Semaphore,
    /// Held while a link comes or goes and its event is told, so that events stand in order.
    turning: tokio::sync::Mutex<()>,
    events: mpsc::Sender<MeshEvent>,
    numbers: AtomicU64,
}

/// The addresses at which a node is kept dialled, and what ends that when it is dropped.
pub(crate) type Dialled = (Vec<SocketAddr>, oneshot::Sender<()>);

impl Shared {
    pub(crate) fn new(
        config: MeshConfig,
        services: Services,
        events: mpsc::Sender<MeshEvent>,
    ) -> Result<Self, LinkError> {
        let tls = Tls::new(config.identity.as_ref())?;
        let admitted = Arc::new(Admitted::default());
        let windows = Windows::new(&config.limits, config.frame_len);
        let server = match config.listen {
            Some(address) => {
                let crypto = tls.listening(
                    admitted.clone(),
                    config.admit_guests,
                    config.admit_strangers,
                )?;
                let mut server = ServerConfig::with_crypto(Arc::new(crypto));
                server
                    .transport_config(windows.listening(&config.limits))
                    .validation_token_config(no_tokens())
                    .max_incoming(INCOMING)
                    .incoming_buffer_size(INCOMING_BUFFER)
                    .incoming_buffer_size_total(INCOMING_BUFFERS)
                    // Clients move between networks; a node's link ends when it does (`link`).
                    .migration(true);
                Some((address, server))
            }
            None => None,
        };
        // A client answers no calls.
        let calls = tls.node_id().map_or(0, |_| config.limits.node_calls);
        Ok(Self {
            frame_len: config.frame_len,
            admit_guests: config.admit_guests,
            admit_strangers: config.admit_strangers,
            dialling: windows.dialling(&config.limits, calls),
            tls,
            windows,
            sockets: Sockets::open(server, &ResetKey::new(config.identity.as_ref(), &services))?,
            services,
            gate: Arc::new(Gate::new(&config.limits)),
            counters: Counters::default(),
            log: Log::here(),
            registry: Mutex::new(Registry::new(&config.limits)),
            admitted,
            dialled: Mutex::default(),
            came_in: Mutex::default(),
            guest_calls: Semaphore::new(config.limits.all_guests_calls),
            turning: tokio::sync::Mutex::default(),
            events,
            numbers: AtomicU64::new(1),
            limits: config.limits,
        })
    }

    /// Stops dialling and closes every connection; tasks end by that.
    pub(crate) fn close(&self) {
        locked(&self.dialled).clear();
        for endpoint in self.sockets.iter() {
            endpoint.close(Code::Done.number(), b"");
        }
    }

    /// Tells the owner; nobody, if it no longer listens.
    pub(crate) async fn tell(&self, event: MeshEvent) {
        let _ = self.events.send(event).await;
    }

    pub(crate) fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Who has come in over `connection`; `None` if nobody who may.
    pub(crate) fn admit(&self, connection: &Connection, number: u64) -> Option<Peer> {
        match tls::shown_by(connection) {
            Some(id) => {
                // Entered first and looked up then: whoever shrinks the set in between
                // finds the connection here, or this finds the set shrunk.
                locked(&self.came_in).insert(number, (id, connection.clone()));
                if tls::is_admitted(&self.admitted, &id) {
                    Some(Peer::Node(id))
                } else {
                    self.forget(number);
                    self.admit_strangers.then_some(Peer::Guest(GuestId(number)))
                }
            }
            None if self.admit_guests => Some(Peer::Guest(GuestId(number))),
            None => None,
        }
    }

    /// Whether another call of this peer may go before the owner.
    pub(crate) fn turn_of(&self, peer: Peer) -> Turn<'_> {
        match peer {
            Peer::Node(_) => Turn::Free,
            Peer::Guest(_) => self
                .guest_calls
                .try_acquire()
                .map_or(Turn::Full, Turn::Taken),
        }
    }

    pub(crate) fn forget(&self, number: u64) {
        locked(&self.came_in).remove(&number);
    }

    /// Admits these nodes from now on, and shows out the others.
    pub(crate) fn set_admitted(&self, admit: Vec<NodeId>) {
        let admit: BTreeSet<_> = admit.into_iter().collect();
        *self
            .admitted
            .write()
            .unwrap_or_else(PoisonError::into_inner) = admit.clone();
        for (id, connection) in locked(&self.came_in).values() {
            if !admit.contains(id) {
                Code::NotAdmitted.close(connection);
            }
        }
    }

    pub(crate) async fn link_up(&self, peer: Peer, link: Link) -> Arc<Mutex<Bucket>> {
        let _turning = self.turning.lock().await;
        let now = self.services.clock.now();
        let (change, bucket) = locked(&self.registry).enter(now, peer, link);
        if change == Change::Turned {
            if let Peer::Node(id) = &peer {
                self.log.link_up(id);
            }
            self.tell(MeshEvent::Up(peer)).await;
        }
        bucket
    }

    pub(crate) async fn link_down(&self, peer: Peer, direction: Direction, number: u64) {
        let _turning = self.turning.lock().await;
        let change = locked(&self.registry).leave(peer, direction, number);
        if change == Change::Turned {
            if let Peer::Node(id) = &peer {
                self.log.link_down(id);
            }
            self.tell(MeshEvent::Down(peer)).await;
        }
    }
}

/// A call's turn before the owner.
pub(crate) enum Turn<'a> {
    /// Nodes are not counted together.
    Free,
    /// One of the guests' places, given back on drop.
    Taken(#[expect(dead_code, reason = "held for its drop")] SemaphorePermit<'a>),
    /// All of the guests' places are taken.
    Full,
}

/// The sockets of a mesh: the one that listens, and for each family that it does not serve one
/// to dial from.
pub(crate) struct Sockets {
    pub(crate) listening: Option<Endpoint>,
    v4: Option<Endpoint>,
    v6: Option<Endpoint>,
}

impl Sockets {
    fn open(
        listen: Option<(SocketAddr, ServerConfig)>,
        resets: &ResetKey,
    ) -> Result<Self, LinkError> {
        let endpoint = |address, server| endpoint(address, server, resets);
        let listening = match listen {
            Some((address, server)) => Some(endpoint(address, Some(server))?),
            None => None,
        };
        let family = listening
            .as_ref()
            .and_then(|endpoint| endpoint.local_addr().ok())
            .map(|address| address.is_ipv4());
        let any_v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let any_v6 = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
        // A host may lack a family; that shows when an address of it is dialled.
        let v4 = (family != Some(true)).then(|| endpoint(any_v4, None).ok());
        let v6 = (family != Some(false)).then(|| endpoint(any_v6, None).ok());
        Ok(Self {
            listening,
            v4: v4.flatten(),
            v6: v6.flatten(),
        })
    }

    /// The endpoint from which `address` can be dialled.
    pub(crate) fn towards(&self, address: SocketAddr) -> Result<&Endpoint, LinkError> {
        let own = if address.is_ipv4() {
            &self.v4
        } else {
            &self.v6
        };
        own.as_ref()
            .or(self.listening.as_ref())
            .ok_or(LinkError::NotConnected)
    }

    /// All endpoints.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Endpoint> {
        [&self.listening, &self.v4, &self.v6].into_iter().flatten()
    }
}

fn endpoint(
    address: SocketAddr,
    server: Option<ServerConfig>,
    resets: &ResetKey,
) -> Result<Endpoint, LinkError> {
    let failed = |error: std::io::Error| LinkError::Socket(error.kind());
    let socket = UdpSocket::bind(address).map_err(failed)?;
    let mut config = EndpointConfig::new(Arc::new(resets.clone()));
    // Random and alike: nothing in them shows which endpoint made them.
    config
        .supported_versions(vec![QUIC_VERSION_1])
        .cid_generator(|| Box::new(RandomConnectionIdGenerator::default()));
    Endpoint::new(config, server, socket, Arc::new(QuietRuntime)).map_err(failed)
}

/// Neither given out nor taken: they would show who came before.
fn no_tokens() -> ValidationTokenConfig {
    let mut tokens = ValidationTokenConfig::default();
    tokens.sent(0).log(Arc::new(NoneTokenLog));
    tokens
}

/// RFC 9000.
const QUIC_VERSION_1: u32 = 1;

/// First packets that wait to be looked at; QUIC refuses more by itself.
const INCOMING: usize = 1024;

/// What may come after one of them, and after all, before they are looked at.
const INCOMING_BUFFER: u64 = 8 << 10;
const INCOMING_BUFFERS: u64 = 1 << 20;
