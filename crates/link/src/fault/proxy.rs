//! A forwarder of datagrams that stands before one node.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, UdpSocket as StdSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rand::CryptoRng;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

use super::path::{Late, Out, Path};
use super::{FaultCounts, Faults};
use crate::LinkError;

/// A bad path to one node: a forwarder of datagrams on loopback that loses, doubles, delays and
/// cuts as it is told. An instrument for tests and the demo, never part of a node.
///
/// The node listens at one address and tells others the proxy's. Whoever sends to the proxy gets
/// a socket of its own towards the node, so that the node tells them apart. Ends when dropped.
pub struct FaultProxy {
    address: SocketAddr,
    control: Arc<Control>,
    task: JoinHandle<()>,
}

struct Control {
    path: Path,
    /// Sockets towards the node that were opened for an earlier number are not used any more.
    generation: AtomicU64,
}

impl FaultProxy {
    /// Starts one before the node at `node`, on the tokio runtime of the caller. The same `rng`
    /// and the same datagrams in the same order have the same fates.
    ///
    /// # Errors
    /// [`LinkError::Socket`] if `node` is not on loopback, or no socket can be opened.
    pub fn start(
        node: SocketAddr,
        faults: Faults,
        rng: Box<dyn CryptoRng + Send>,
    ) -> Result<Self, LinkError> {
        if !node.ip().is_loopback() {
            return Err(LinkError::Socket(io::ErrorKind::AddrNotAvailable));
        }
        let failed = |error: io::Error| LinkError::Socket(error.kind());
        let (front, answers) = bound_beside(node).and_then(both_ways).map_err(failed)?;
        let address = front.local_addr().map_err(failed)?;
        let (late, held) = mpsc::channel(MAX_HELD);
        let control = Arc::new(Control {
            path: Path::new(faults, rng, late),
            generation: AtomicU64::new(0),
        });
        let desk = Desk {
            node,
            front,
            answers,
            control: control.clone(),
            senders: BTreeMap::new(),
            readers: JoinSet::new(),
            clock: 0,
        };
        let task = tokio::spawn(desk.forward(held));
        Ok(Self {
            address,
            control,
            task,
        })
    }

    /// Where others reach the node.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on the path has these faults.
    pub fn set(&self, faults: Faults) {
        self.control.path.set(faults);
    }

    /// From now on nothing passes.
    pub fn cut(&self) {
        self.control.path.cut(true);
    }

    /// A cut path passes datagrams again.
    pub fn mend(&self) {
        self.control.path.cut(false);
    }

    /// From now on the node sees everybody under a new address, and who writes to an old one
    /// reaches nobody: what a network address translator does that forgets.
    pub fn readdress(&self) {
        self.control.generation.fetch_add(1, Ordering::Relaxed);
    }

    /// What became of the datagrams so far.
    #[must_use]
    pub fn counts(&self) -> FaultCounts {
        self.control.path.counts()
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        // Its readers go with it.
        self.task.abort();
    }
}

/// The task's own state.
struct Desk {
    node: SocketAddr,
    front: UdpSocket,
    /// The same socket, for what goes back.
    answers: Arc<StdSocket>,
    control: Arc<Control>,
    /// Whoever has sent to the proxy.
    senders: BTreeMap<SocketAddr, Sender>,
    readers: JoinSet<()>,
    /// Counts datagrams, to find the sender that has been silent longest.
    clock: u64,
}

struct Sender {
    out: Out,
    generation: u64,
    heard: u64,
    reader: tokio::task::AbortHandle,
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Desk {
    async fn forward(mut self, mut coming: mpsc::Receiver<Late>) {
        let mut buffer = vec![0; LONGEST_DATAGRAM];
        let mut held = Vec::new();
        loop {
            let next = held.iter().map(|late: &Late| late.until).min();
            let due = async {
                match next {
                    Some(next) => sleep_until(next).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                received = self.front.recv_from(&mut buffer) => {
                    // An earlier datagram that found nobody is reported here: no matter.
                    let Ok((length, from)) = received else { continue };
                    self.pass_on(buffer.get(..length).unwrap_or_default(), from);
                }
                Some(late) = coming.recv(), if held.len() < MAX_HELD => held.push(late),
                () = due => {
                    let now = Instant::now();
                    for late in held.extract_if(.., |late| late.until <= now) {
                        self.control.path.release(&late);
                    }
                }
            }
        }
    }

    fn pass_on(&mut self, datagram: &[u8], from: SocketAddr) {
        match self.out_for(from) {
            Ok(out) => self.control.path.pass(datagram, &out),
            Err(_) => self.control.path.refuse(),
        }
    }

    /// The socket that stands for `from` towards the node.
    fn out_for(&mut self, from: SocketAddr) -> io::Result<Out> {
        self.clock += 1;
        let generation = self.control.generation.load(Ordering::Relaxed);
        if let Some(sender) = self.senders.get_mut(&from)
            && sender.generation == generation
        {
            sender.heard = self.clock;
            return Ok(sender.out.clone());
        }
        while self.readers.try_join_next().is_some() {}
        if self.senders.len() >= MAX_SENDERS && !self.senders.contains_key(&from) {
            self.forget_the_most_silent();
        }
        let socket = bound_beside(self.node)?;
        socket.connect(self.node)?;
        let (answered, socket) = both_ways(socket)?;
        let out = Out { socket, to: None };
        let back = Out {
            socket: self.answers.clone(),
            to: Some(from),
        };
        let read = read(answered, back, self.control.clone());
        let reader = self.readers.spawn(read);
        let sender = Sender {
            out: out.clone(),
            generation,
            heard: self.clock,
            reader,
        };
        self.senders.insert(from, sender);
        Ok(out)
    }

    fn forget_the_most_silent(&mut self) {
        let silent = self.senders.iter().min_by_key(|(_, sender)| sender.heard);
        if let Some(address) = silent.map(|(address, _)| *address) {
            self.senders.remove(&address);
        }
    }
}

/// Passes back what the node answers to one sender.
async fn read(node: UdpSocket, back: Out, control: Arc<Control>) {
    let mut buffer = vec![0; LONGEST_DATAGRAM];
    loop {
        match node.recv(&mut buffer).await {
            Ok(length) => {
                let datagram = buffer.get(..length).unwrap_or_default();
                control.path.pass(datagram, &back);
            }
            // A node that is down is reported here: it may come back.
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

fn bound_beside(node: SocketAddr) -> io::Result<StdSocket> {
    let socket = StdSocket::bind(SocketAddr::new(node.ip(), 0))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// A socket to be waited for, and to be written to at once.
fn both_ways(socket: StdSocket) -> io::Result<(UdpSocket, Arc<StdSocket>)> {
    let writing = Arc::new(socket.try_clone()?);
    Ok((UdpSocket::from_std(socket)?, writing))
}

/// Most senders that the node can tell apart; beyond, the one silent longest is forgotten.
const MAX_SENDERS: usize = 256;

/// Most datagrams held back, and as many again on their way there.
const MAX_HELD: usize = 1024;

/// Above what QUIC sends on any path; longer ones arrive cut and mean nothing.
const LONGEST_DATAGRAM: usize = 9216;
