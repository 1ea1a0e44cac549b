//! Bad paths: loss, disorder, small datagrams, cuts, and addresses that change.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use subrosa_link::{Chance, FaultProxy, Faults, MeshEvent, Peer};
use tokio::time::{Instant, timeout};

use crate::harness::*;

/// A proxy without faults before a node, to be told what to do.
fn before(node: &Node, seed: u64) -> FaultProxy {
    let rng = Box::new(ChaCha20Rng::seed_from_u64(seed));
    FaultProxy::start(node.address(), Faults::NONE, rng).unwrap()
}

fn chance(percent: u32) -> Chance {
    Chance::new(f64::from(percent) / 100.0).unwrap()
}

/// A guest and its host, with a proxy between.
async fn through(seed: u64) -> (Node, Node, Peer, FaultProxy) {
    let mut host = Node::new(node(1).with_guests()).await;
    let proxy = before(&host, seed);
    let mut guest = Node::new(client()).await;
    let entry = (host.id(), vec![proxy.address()]);
    guest.mesh.set_neighbours(vec![entry], vec![]);
    guest.up().await;
    let peer = host.up().await;
    (guest, host, peer, proxy)
}

/// Sends `count` frames each way, as a class of 120 slots a second does, and checks that all
/// arrive once and in order.
async fn carry(guest: &mut Node, host: &mut Node, peer: Peer, count: usize) {
    let there = Peer::Node(host.id());
    let sent = numbered(count);
    let send = async {
        for frame in &sent {
            guest.mesh.send(there, vec![frame.clone()]).unwrap();
            host.mesh.send(peer, vec![frame.clone()]).unwrap();
            tokio::time::sleep(Duration::from_millis(8)).await;
        }
    };
    timeout(PATIENCE, send).await.unwrap();
    let (up, _) = host.gather(peer, count).await;
    let (down, _) = guest.gather(there, count).await;
    assert!(up == sent && down == sent);
}

#[tokio::test]
async fn a_fifth_of_all_datagrams_lost_loses_no_frame_and_little_time() {
    let (guest, mut host, peer, proxy) = through(8).await;
    proxy.set(Faults::losing(chance(20)));
    let sent = numbered(300);
    let began = Instant::now();
    // As a class of 120 slots a second does, one at a time.
    let all = async {
        for frame in &sent {
            let queued = guest.mesh.send(Peer::Node(host.id()), vec![frame.clone()]);
            queued.unwrap();
            tokio::time::sleep(Duration::from_millis(8)).await;
        }
    };
    timeout(PATIENCE, all).await.unwrap();
    let sending = began.elapsed();
    let (frames, _) = host.gather(peer, 300).await;
    assert!(frames == sent);
    let behind = began.elapsed() - sending;
    assert!(behind < Duration::from_secs(1), "{behind:?} behind");
    let counts = guest.mesh.counts();
    assert!(proxy.counts().lost > 300, "{:?}", proxy.counts());
    // What is sent again is counted below the frames, and apart from them.
    assert_eq!(counts.frames_out, 300);
    assert!(counts.datagrams_lost > 100, "{counts:?}");
    assert!(counts.datagrams_out > counts.datagrams_lost + 6 * 300);
}

#[tokio::test]
async fn works_where_no_datagram_above_1200_bytes_passes() {
    let (mut guest, mut host, peer, proxy) = through(2).await;
    // A path that narrows under a link that has found it wide.
    proxy.set(Faults {
        mtu: 1200,
        ..Faults::NONE
    });
    carry(&mut guest, &mut host, peer, 100).await;
    assert!(proxy.counts().too_long > 0);
}

#[tokio::test]
async fn disorder_and_doubles_reach_nobody() {
    let (mut guest, mut host, peer, proxy) = through(3).await;
    proxy.set(Faults {
        reordering: chance(50),
        duplication: chance(20),
        ..Faults::NONE
    });
    carry(&mut guest, &mut host, peer, 200).await;
    let counts = proxy.counts();
    assert!(counts.late > 500 && counts.doubled > 200, "{counts:?}");
    host.stays_silent().await;
    guest.stays_silent().await;
}

#[tokio::test]
async fn a_link_outlives_a_cut_that_is_shorter_than_its_idle_time() {
    let (guest, mut host, peer, proxy) = through(4).await;
    proxy.cut();
    let sent = numbered(20);
    guest
        .mesh
        .send(Peer::Node(host.id()), sent.clone())
        .unwrap();
    host.stays_silent().await;
    assert!(proxy.counts().cut > 0);
    proxy.mend();
    let (frames, _) = host.gather(peer, 20).await;
    assert!(frames == sent);
}

#[tokio::test]
async fn a_cut_that_is_longer_ends_the_link_and_a_mended_path_bears_another() {
    let mut config = node(1).with_guests();
    config.limits.idle = Duration::from_millis(600);
    let mut host = Node::new(config).await;
    let proxy = before(&host, 5);
    let mut config = client();
    config.limits.idle = Duration::from_millis(600);
    let mut guest = Node::new(config).await;
    let entry = (host.id(), vec![proxy.address()]);
    guest.mesh.set_neighbours(vec![entry], vec![]);
    guest.up().await;
    let peer = host.up().await;
    proxy.cut();
    assert_eq!(guest.down().await, Peer::Node(host.id()));
    assert_eq!(host.down().await, peer);
    proxy.mend();
    guest.up().await;
    host.up().await;
}

#[tokio::test]
async fn a_client_keeps_its_link_when_its_address_changes() {
    let (mut guest, mut host, peer, proxy) = through(6).await;
    carry(&mut guest, &mut host, peer, 20).await;
    let first = host.mesh.remote(peer);
    for _ in 0..2 {
        proxy.readdress();
        carry(&mut guest, &mut host, peer, 20).await;
    }
    assert_ne!(host.mesh.remote(peer), first);
    assert_eq!(host.mesh.counts().moved, 0);
    host.stays_silent().await;
    guest.stays_silent().await;
}

#[tokio::test]
async fn a_client_reaches_a_node_by_whichever_family_of_addresses_answers() {
    let mut config = node(1).with_guests();
    config.listen = Some((Ipv6Addr::LOCALHOST, 0).into());
    let mut six = Node::new(config).await;
    assert!(six.address().is_ipv6());
    let mut four = Node::new(node(2).with_guests()).await;
    let mut config = client();
    config.limits.handshake = Duration::from_secs(2);
    let mut guest = Node::new(config).await;
    // Nobody is at the first address of either.
    let nobody: SocketAddr = (Ipv4Addr::LOCALHOST, 9).into();
    let nobody_six: SocketAddr = (Ipv6Addr::LOCALHOST, 9).into();
    let entries = vec![
        (six.id(), vec![nobody, six.address()]),
        (four.id(), vec![nobody_six, four.address()]),
    ];
    guest.mesh.set_neighbours(entries, vec![]);
    let up = [guest.up().await, guest.up().await];
    assert!(up.contains(&Peer::Node(six.id())) && up.contains(&Peer::Node(four.id())));
    for host in [&mut six, &mut four] {
        let peer = host.up().await;
        let sent = numbered(20);
        let there = Peer::Node(host.id());
        guest.mesh.send(there, sent.clone()).unwrap();
        host.mesh.send(peer, sent.clone()).unwrap();
        assert!(host.gather(peer, 20).await.0 == sent);
        assert!(guest.gather(there, 20).await.0 == sent);
        let seen = host.mesh.remote(peer).unwrap();
        assert_eq!(seen.is_ipv6(), host.address().is_ipv6());
    }
}

#[tokio::test]
async fn a_nodes_link_ends_when_its_address_changes_and_another_is_made() {
    let (mut first, mut second) = (Node::new(node(1)).await, Node::new(node(2)).await);
    let proxy = before(&second, 7);
    second.mesh.set_neighbours(vec![], vec![first.id()]);
    let entry = (second.id(), vec![proxy.address()]);
    first.mesh.set_neighbours(vec![entry], vec![]);
    first.up().await;
    let peer = second.up().await;
    proxy.readdress();
    let there = Peer::Node(second.id());
    first.mesh.send(there, numbered(1)).unwrap();
    assert_eq!(second.down().await, peer);
    assert_eq!(second.mesh.counts().moved, 1);
    assert_eq!(first.down().await, there);
    assert_eq!(first.up().await, there);
    assert_eq!(second.up().await, peer);
    first.mesh.send(there, numbered(2)).unwrap();
    assert_eq!(second.gather(peer, 2).await.0.len(), 2);
}

#[tokio::test]
async fn a_proxy_that_is_dropped_leaves_its_port_to_others() {
    let host = Node::new(node(1).with_guests()).await;
    let address = before(&host, 8).address();
    let taken = async {
        while tokio::net::UdpSocket::bind(address).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, taken).await.expect("the port is free");
    let rng = Box::new(ChaCha20Rng::seed_from_u64(1));
    let abroad = FaultProxy::start("192.0.2.1:9".parse().unwrap(), Faults::NONE, rng);
    assert!(abroad.is_err(), "loopback only");
}

#[tokio::test]
async fn a_proxy_keeps_no_more_senders_than_its_bound() {
    let mut host = Node::new(node(1).with_guests()).await;
    let proxy = before(&host, 9);
    for _ in 0..300 {
        let stranger = tokio::net::UdpSocket::bind(loopback()).await.unwrap();
        stranger.send_to(b"x", proxy.address()).await.unwrap();
    }
    let came = async {
        while proxy.counts().came < 300 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, came).await.expect("all came");
    let mut guest = Node::new(client()).await;
    let entry = (host.id(), vec![proxy.address()]);
    guest.mesh.set_neighbours(vec![entry], vec![]);
    guest.up().await;
    assert!(matches!(host.next().await, MeshEvent::Up(Peer::Guest(_))));
}
