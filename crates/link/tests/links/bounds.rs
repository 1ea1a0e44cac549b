//! Every bound that a peer can run into.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use subrosa_link::{FrameRate, MeshEvent, Peer, Whose};
use tokio::time::timeout;
use wire::Refusal;

use crate::harness::*;
use crate::relay::{Heading, Relay};

#[tokio::test]
async fn frames_above_the_rate_are_refused_and_counted() {
    let clock = Arc::new(StandingClock::default());
    let mut config = node(1).with_guests();
    config.limits.guest_rate = FrameRate::new(10, 5);
    let mut host = Node::with_clock(config, clock.clone()).await;
    let mut guest = Node::new(client()).await;
    guest.mesh.set_neighbours(vec![host.entry()], vec![]);
    let (there, peer) = (guest.up().await, host.up().await);
    let sent = numbered(50);
    guest.mesh.send(there, sent.clone()).unwrap();
    let (frames, refused) = host.gather(peer, 50).await;
    assert_eq!((&frames[..], refused), (&sent[..5], 45));
    assert_eq!(host.mesh.counts().rate_exceeded, 45);
    // A tenth of a second is one frame more.
    clock.forward(Duration::from_millis(100));
    guest.mesh.send(there, sent[..2].to_vec()).unwrap();
    let (frames, refused) = host.gather(peer, 2).await;
    assert_eq!((&frames[..], refused), (&sent[..1], 1));
    // The owner may set another rate, for one peer or for all.
    host.mesh
        .set_frame_rate(Whose::Peer(peer), FrameRate::new(1000, 20));
    clock.forward(Duration::from_secs(1));
    guest.mesh.send(there, sent.clone()).unwrap();
    let (frames, refused) = host.gather(peer, 50).await;
    assert_eq!((&frames[..], refused), (&sent[..20], 30));
    host.mesh.set_frame_rate(Whose::Nodes, FrameRate::new(1, 1));
    host.mesh
        .set_frame_rate(Whose::Guests, FrameRate::new(1000, 30));
    clock.forward(Duration::from_secs(1));
    guest.mesh.send(there, sent.clone()).unwrap();
    let (frames, refused) = host.gather(peer, 50).await;
    assert_eq!((&frames[..], refused), (&sent[..30], 20));
}

#[tokio::test]
async fn a_queue_that_is_full_refuses_and_the_frames_before_arrive() {
    let mut config = client();
    config.limits.node_queue = 8;
    let (guest, mut host, peer) = guest_and_host(config, node(1)).await;
    let there = Peer::Node(host.id());
    // The writer does not run while this task does: the queue takes its eight.
    let sent = numbered(20);
    assert_eq!(
        guest.mesh.send(there, sent.clone()),
        Err((Refusal::Overload, 12))
    );
    assert_eq!(guest.mesh.counts().overload, 12);
    let (frames, _) = host.gather(peer, 8).await;
    assert_eq!(frames, sent[..8]);
}

#[tokio::test]
async fn an_owner_that_does_not_listen_holds_its_peers_back() {
    let mut host = node(1);
    host.limits.events = 1;
    host.limits.guest_rate = FrameRate::new(1_000_000, 1_000_000);
    let (guest, mut host, peer) = guest_and_host(client(), host).await;
    let there = Peer::Node(host.id());
    let frames = numbered(64);
    let mut sent = 0;
    let blocked = async {
        // Windows and queues hold some megabytes; then it must stop.
        while sent < 4096 {
            match guest.mesh.send(there, frames.clone()) {
                Ok(()) => sent += 64,
                Err((Refusal::Overload, left)) => {
                    sent += 64 - usize::try_from(left).unwrap();
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    if let Err((Refusal::Overload, 1)) =
                        guest.mesh.send(there, frames[..1].to_vec())
                    {
                        return;
                    }
                    sent += 1;
                }
                Err(other) => panic!("{other:?}"),
            }
        }
        panic!("never held back");
    };
    timeout(PATIENCE, blocked).await.expect("held back");
    let (arrived, _) = host.gather(peer, sent).await;
    assert_eq!(arrived.len(), sent);
}

#[tokio::test]
async fn one_address_has_its_bound_of_connections() {
    let mut config = node(1).with_guests();
    config.limits.connections_per_address = 3;
    let host = Node::new(config).await;
    let mut inside = Vec::new();
    for _ in 0..3 {
        inside.push(Stranger::default().connect(host.address()).await.unwrap());
    }
    assert!(Stranger::default().connect(host.address()).await.is_err());
    host.counted(|counts| counts.connections_refused, 1).await;
    inside.pop().unwrap().close(0u32.into(), b"");
    host.counted(|_| u64::from(host.mesh.came_in().0 == 2), 1)
        .await;
    assert!(Stranger::default().connect(host.address()).await.is_ok());
}

#[tokio::test]
async fn first_packets_alone_leave_no_trace() {
    let mut host = Node::new(node(1).with_guests()).await;
    // A first packet as a stranger makes it, sent from many ports that never answer.
    let initial = first_packet().await;
    assert!(initial.len() >= 1200);
    let spammers: Vec<_> = (0..50)
        .map(|_| UdpSocket::bind(loopback()).unwrap())
        .collect();
    for _ in 0..20 {
        for spammer in &spammers {
            spammer.send_to(&initial, host.address()).unwrap();
        }
        tokio::task::yield_now().await;
        assert_eq!(host.mesh.came_in(), (0, 0));
    }
    // Each was answered by a stateless retry, smaller than what it answers.
    spammers[0].set_read_timeout(Some(PATIENCE)).unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let (length, _) = spammers[0].recv_from(&mut [0; 2048]).unwrap();
    assert!(length < 200, "{length}");
    assert_eq!(host.mesh.came_in(), (0, 0));
    assert_eq!(host.mesh.counts().connections_refused, 0);
    let mut guest = Node::new(client()).await;
    guest.mesh.set_neighbours(vec![host.entry()], vec![]);
    guest.up().await;
    host.up().await;
}

#[tokio::test]
async fn half_open_connections_have_their_bound_and_their_deadline() {
    let mut config = node(1).with_guests();
    config.limits.half_open = 4;
    config.limits.handshake = Duration::from_millis(800);
    let host = Node::new(config).await;
    // Strangers that prove their address and then fall silent.
    let stalled: Vec<_> = (0..10)
        .map(|_| tokio::spawn(stall_after(host.address(), 2)))
        .collect();
    host.counted(|_| u64::from(host.mesh.came_in() == (4, 4)), 1)
        .await;
    host.counted(|counts| counts.connections_refused, 6).await;
    host.counted(|counts| counts.handshake_deadline, 4).await;
    assert_eq!(host.mesh.came_in(), (0, 0));
    assert!(Stranger::default().connect(host.address()).await.is_ok());
    for task in stalled {
        task.abort();
    }
}

#[tokio::test]
async fn a_peer_that_vanishes_is_given_up() {
    let mut config = node(1).with_guests();
    config.limits.idle = Duration::from_millis(600);
    let mut host = Node::new(config).await;
    let through = Relay::start(host.address(), |_, _| true).await;
    let mut guest = Node::new(client()).await;
    guest
        .mesh
        .set_neighbours(vec![(host.id(), vec![through.address])], vec![]);
    guest.up().await;
    let peer = host.up().await;
    through.task.abort();
    match host.next().await {
        MeshEvent::Down(gone) => assert_eq!(gone, peer),
        other => panic!("expected Down, got {}", kind(&other)),
    }
}

/// The first datagram that a stranger sends.
async fn first_packet() -> Vec<u8> {
    let trap = tokio::net::UdpSocket::bind(loopback()).await.unwrap();
    let address = trap.local_addr().unwrap();
    let dialling = tokio::spawn(Stranger::default().connect(address));
    let mut bytes = vec![0; 2048];
    let received = timeout(PATIENCE, trap.recv(&mut bytes)).await;
    bytes.truncate(received.unwrap().unwrap());
    dialling.abort();
    bytes
}

/// Begins a handshake through a relay that lets through `flights` of the stranger's flights:
/// the first packet without a token, the packets of the second with one, and no more.
async fn stall_after(host: SocketAddr, flights: usize) {
    let mut answers = 0;
    let relay = Relay::start(host, move |heading, _| {
        answers += usize::from(heading == Heading::Down);
        answers < flights
    })
    .await;
    let _ = Stranger::default().connect(relay.address).await;
}
