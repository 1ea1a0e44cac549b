//! Processor time of an 8,540-byte packet on a link, both ends together, beside the same bytes
//! in bare UDP datagrams and beside a copy of them.
//!
//! Times are those of the process's threads as the kernel counts them; reading a socket that
//! has nothing costs what it costs in use. Linux only: elsewhere it says so.

#![allow(clippy::print_stdout, reason = "a bench prints its figures")]

use std::fs;
use std::hint::black_box;
use std::io::{ErrorKind, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use quinn_udp::{RecvMeta, Transmit, UdpSocketState};
use rand::{CryptoRng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use subrosa_link::{
    Clock, Entropy, Frame, FrameRate, LinkError, Mesh, MeshConfig, MeshEvent, Peer, Services,
};
use tokio::sync::mpsc;
use wire::{Refusal, Time};

const FRAME_LEN: usize = 8542;
const FRAMES: usize = 4_000;
/// Of what takes a microsecond: the kernel's count is coarse.
const FAST: usize = 30_000;
const ROUNDS: usize = 15;
const BATCH: usize = 32;

fn main() {
    if cpu_time().is_none() {
        println!("link: no processor times on this system");
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let mut link = runtime.block_on(link());
    let mut udp: Vec<_> = (0..ROUNDS).map(|_| per_frame(FAST, bare_udp)).collect();
    let mut copy: Vec<_> = (0..ROUNDS).map(|_| per_frame(FAST, copies)).collect();
    for rounds in [&mut link, &mut udp, &mut copy] {
        rounds.sort_by(f64::total_cmp);
    }
    println!(
        "{ROUNDS} rounds of {FRAMES} frames of {FRAME_LEN} B in batches of {BATCH}, both ends"
    );
    println!("  us a frame, least and median of the rounds");
    for (name, rounds) in [
        ("over a link", &link),
        ("in bare UDP (GSO)", &udp),
        ("copied once", &copy),
    ] {
        println!(
            "  {name:<20} {:>7.2} {:>7.2}",
            rounds[0],
            rounds[ROUNDS / 2]
        );
    }
    println!(
        "  a link is {:.1} x bare UDP; its bound is 30 us",
        link[0] / udp[0]
    );
}

/// Microseconds of processor time a frame.
fn per_frame(frames: usize, work: impl FnOnce(usize)) -> f64 {
    let before = cpu_time().unwrap_or_default();
    work(frames);
    since(before, frames)
}

fn since(before: Duration, frames: usize) -> f64 {
    let spent = cpu_time().unwrap_or_default().saturating_sub(before);
    spent.as_secs_f64() * 1e6 / frames as f64
}

/// Processor time of all threads of this process, to the nanosecond.
fn cpu_time() -> Option<Duration> {
    let mut total = Duration::ZERO;
    for task in fs::read_dir("/proc/self/task").ok()? {
        let line = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        total += Duration::from_nanos(line.split_whitespace().next()?.parse().ok()?);
    }
    Some(total)
}

async fn link() -> Vec<f64> {
    let (sender, mut events, peer) = meshes().await.expect("two meshes on loopback");
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let before = cpu_time().unwrap_or_default();
        round(&sender, &mut events, peer).await;
        rounds.push(since(before, FRAMES));
    }
    rounds
}

async fn round(sender: &Mesh, events: &mut mpsc::Receiver<MeshEvent>, peer: Peer) {
    let packet = vec![7; FRAME_LEN - Frame::PREFIX_LEN];
    let send = async {
        let mut left = FRAMES;
        while left > 0 {
            let batch = (0..BATCH.min(left))
                .map(|_| Frame::new(0, &packet))
                .collect();
            left -= BATCH.min(left);
            if let Err((Refusal::Overload, refused)) = sender.send(peer, batch) {
                left += usize::try_from(refused).expect("a batch");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            tokio::task::yield_now().await;
        }
    };
    let receive = async {
        let mut got = 0;
        while got < FRAMES {
            match events.recv().await {
                Some(MeshEvent::Frames { frames, .. }) => got += black_box(frames).len(),
                Some(_) => {}
                None => return,
            }
        }
    };
    tokio::join!(send, receive);
}

async fn meshes() -> Result<(Mesh, mpsc::Receiver<MeshEvent>, Peer), LinkError> {
    let services = Services::new(Arc::new(Standing), Arc::new(Seeded));
    let mut listening = MeshConfig::node(FRAME_LEN, [1; 32].into(), loopback());
    listening.limits.guest_rate = FrameRate::new(u32::MAX, u32::MAX);
    let (receiver, mut events) = Mesh::bind(listening.with_guests(), services.clone()).await?;
    let (sender, mut up) = Mesh::bind(MeshConfig::client(FRAME_LEN), services).await?;
    let node = receiver.node_id().expect("it listens");
    let address = receiver.local_addr().expect("it listens");
    sender.set_neighbours(vec![(node, vec![address])], vec![]);
    up.recv().await;
    events.recv().await;
    // Time for QUIC to find the path's datagram size.
    tokio::time::sleep(Duration::from_millis(300)).await;
    // The receiving mesh lives as long as the process.
    std::mem::forget(receiver);
    Ok((sender, events, Peer::Node(node)))
}

/// The same bytes in datagrams of the size that the link uses, offloaded as the link's are.
fn bare_udp(frames: usize) {
    let (from, to) = (socket(), socket());
    let (sending, receiving) = (state(&from), state(&to));
    let destination = to.local_addr().expect("bound");
    let datagrams = FRAME_LEN.div_ceil(SEGMENT);
    let at_once = (sending.max_gso_segments() / datagrams).clamp(1, 7);
    let contents = vec![7; at_once * FRAME_LEN];
    let mut buffers = vec![vec![0; 65_536]; quinn_udp::BATCH_SIZE];
    let mut metas = [RecvMeta::default(); quinn_udp::BATCH_SIZE];
    let mut sent = 0;
    while sent < frames {
        let transmit = Transmit {
            destination,
            ecn: None,
            contents: &contents,
            segment_size: Some(SEGMENT),
            src_ip: None,
        };
        sending
            .send((&from).into(), &transmit)
            .expect("loopback sends");
        sent += at_once;
        let mut got = 0;
        while got < contents.len() {
            let mut slices: Vec<_> = buffers.iter_mut().map(|b| IoSliceMut::new(b)).collect();
            match receiving.recv((&to).into(), &mut slices, &mut metas) {
                Ok(count) => got += metas.iter().take(count).map(|meta| meta.len).sum::<usize>(),
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
                Err(error) => panic!("loopback receives: {error}"),
            }
        }
    }
}

fn socket() -> UdpSocket {
    UdpSocket::bind(loopback()).expect("a socket")
}

fn state(socket: &UdpSocket) -> UdpSocketState {
    UdpSocketState::new(socket.into()).expect("socket options")
}

fn copies(frames: usize) {
    let packet = vec![7; FRAME_LEN];
    for _ in 0..frames {
        black_box(black_box(&packet).clone());
    }
}

fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

/// An Ethernet datagram's content, as QUIC finds it on most paths.
const SEGMENT: usize = 1452;

struct Standing;

impl Clock for Standing {
    fn now(&self) -> Time {
        Time::ZERO
    }
}

struct Seeded;

impl Entropy for Seeded {
    fn rng(&self) -> Box<dyn CryptoRng + Send> {
        Box::new(ChaCha20Rng::seed_from_u64(7))
    }
}
