//! How a link fares on a path that loses datagrams: latency of a frame, frames that arrive, at the
//! rate of the highest class.
//!
//! `cargo run -p subrosa-link --example losses`

#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "an example prints what it has timed"
)]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::{CryptoRng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use subrosa_link::{
    Chance, Clock, Entropy, FaultProxy, Faults, Frame, Mesh, MeshConfig, MeshEvent, Peer, Services,
};
use tokio::sync::mpsc;
use wire::Time;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    println!(
        "{FRAMES} frames of {FRAME_LEN} B at {PER_SECOND} a second, through a path on loopback"
    );
    println!(
        "  path       frames/s   median ms    90 % ms    99 % ms   worst ms   datagrams dropped"
    );
    for percent in [0, 5, 10, 20, 30] {
        let loss = Faults::losing(chance(percent));
        runtime.block_on(row(&format!("loss {percent} %"), loss));
    }
    let disorder = Faults {
        reordering: chance(50),
        duplication: chance(20),
        ..Faults::NONE
    };
    runtime.block_on(row("disorder", disorder));
}

async fn row(name: &str, faults: Faults) {
    let (mut link, proxy) = meshes(faults).await;
    let before = proxy.counts();
    let began = Instant::now();
    let mut late = carry(&mut link, began).await;
    let arrived = late.len() as f64 / began.elapsed().as_secs_f64();
    let after = proxy.counts();
    late.sort();
    let at = |share: f64| {
        let place = (late.len() as f64 * share) as usize;
        late[place.min(late.len() - 1)].as_secs_f64() * 1e3
    };
    println!(
        "  {name:<10} {arrived:>8.1}   {:>9.1}   {:>8.1}   {:>8.1}   {:>8.1}   {} of {}",
        at(0.5),
        at(0.9),
        at(0.99),
        at(1.0),
        after.lost - before.lost,
        after.came - before.came,
    );
}

/// A dialling mesh and a listening one with its events.
struct Link {
    sender: Mesh,
    receiver: Mesh,
    events: mpsc::Receiver<MeshEvent>,
}

/// Sends a frame a slot; how long each took to arrive.
async fn carry(link: &mut Link, began: Instant) -> Vec<Duration> {
    let peer = Peer::Node(link.receiver.node_id().expect("it listens"));
    let slot = Duration::from_secs(1) / PER_SECOND;
    let sender = &link.sender;
    let send = async {
        for number in 0..FRAMES {
            tokio::time::sleep_until((began + slot * number).into()).await;
            let mut packet = vec![7; FRAME_LEN - Frame::PREFIX_LEN];
            let nanos = u64::try_from(began.elapsed().as_nanos()).expect("short");
            packet[..8].copy_from_slice(&nanos.to_be_bytes());
            let queued = sender.send(peer, vec![Frame::new(0, &packet)]);
            queued.expect("a link with room");
        }
    };
    let events = &mut link.events;
    let receive = async {
        let mut late = Vec::new();
        while late.len() < FRAMES as usize {
            let Some(MeshEvent::Frames { frames, .. }) = events.recv().await else {
                panic!("the link went down");
            };
            let now = began.elapsed();
            for frame in frames {
                let sent = frame.packet()[..8].try_into().expect("8 bytes");
                late.push(now - Duration::from_nanos(u64::from_be_bytes(sent)));
            }
        }
        late
    };
    tokio::join!(send, receive).1
}

async fn meshes(faults: Faults) -> (Link, FaultProxy) {
    let services = Services::new(Arc::new(Running(Instant::now())), Arc::new(Seeded));
    let listening = MeshConfig::node(FRAME_LEN, [1; 32].into(), loopback()).with_guests();
    let bound = Mesh::bind(listening, services.clone()).await;
    let (receiver, mut events) = bound.expect("a socket");
    let bound = Mesh::bind(MeshConfig::client(FRAME_LEN), services).await;
    let (sender, mut up) = bound.expect("a socket");
    let node = receiver.node_id().expect("it listens");
    let address = receiver.local_addr().expect("it listens");
    let rng = Box::new(ChaCha20Rng::seed_from_u64(SEED));
    let proxy = FaultProxy::start(address, Faults::NONE, rng).expect("sockets");
    sender.set_neighbours(vec![(node, vec![proxy.address()])], vec![]);
    up.recv().await;
    events.recv().await;
    // Time for QUIC to find the path's datagram size.
    tokio::time::sleep(Duration::from_millis(300)).await;
    proxy.set(faults);
    let link = Link {
        sender,
        receiver,
        events,
    };
    (link, proxy)
}

fn chance(percent: u32) -> Chance {
    Chance::new(f64::from(percent) / 100.0).expect("a share")
}

fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

const SEED: u64 = 30;
const FRAME_LEN: usize = 8542;
const FRAMES: u32 = 1200;
const PER_SECOND: u32 = 120;

/// Tells the time since it was made.
struct Running(Instant);

impl Clock for Running {
    fn now(&self) -> Time {
        Time::ZERO.after(self.0.elapsed())
    }
}

struct Seeded;

impl Entropy for Seeded {
    fn rng(&self) -> Box<dyn CryptoRng + Send> {
        Box::new(ChaCha20Rng::seed_from_u64(7))
    }
}
