//! What links carry.

use std::time::Duration;

use subrosa_link::{Frame, LinkError, Mesh, MeshConfig, Peer};
use tokio::time::timeout;
use wire::{Call, Refusal};

use crate::harness::*;
use crate::relay::Relay;

#[tokio::test]
async fn frames_arrive_in_order_and_whole_both_ways() {
    let (mut guest, mut host, peer) = guest_and_host(client(), node(1)).await;
    let there = Peer::Node(host.id());
    for batch in numbered(200).chunks(40) {
        guest.mesh.send(there, batch.to_vec()).unwrap();
        let (frames, refused) = host.gather(peer, batch.len()).await;
        assert!(frames == batch && refused == 0);
        host.mesh.send(peer, batch.to_vec()).unwrap();
        let (frames, refused) = guest.gather(there, batch.len()).await;
        assert!(frames == batch && refused == 0);
    }
    assert_eq!(guest.mesh.counts().frames_out, 200);
    assert_eq!(guest.mesh.counts().frames_in, 200);
}

#[tokio::test]
async fn a_node_that_was_dialled_can_send_to_the_one_that_dialled() {
    let (mut first, second) = pair(node(1), node(2)).await;
    let sent = numbered(3);
    let to = Peer::Node(first.id());
    second.mesh.send(to, sent.clone()).unwrap();
    let (frames, _) = first.gather(Peer::Node(second.id()), 3).await;
    assert_eq!(frames, sent);
}

#[tokio::test]
async fn two_nodes_that_dial_each_other_are_up_once_and_send_over_their_own() {
    let mut first = Node::new(node(1)).await;
    let mut second = Node::new(node(2)).await;
    first
        .mesh
        .set_neighbours(vec![second.entry()], vec![second.id()]);
    second
        .mesh
        .set_neighbours(vec![first.entry()], vec![first.id()]);
    assert_eq!(first.up().await, Peer::Node(second.id()));
    assert_eq!(second.up().await, Peer::Node(first.id()));
    first.stays_silent().await;
    second.stays_silent().await;
    // Without its own link the first still has the other's, and stays up.
    first.mesh.set_neighbours(vec![], vec![second.id()]);
    first.stays_silent().await;
    let sent = numbered(2);
    first
        .mesh
        .send(Peer::Node(second.id()), sent.clone())
        .unwrap();
    let (frames, _) = second.gather(Peer::Node(first.id()), 2).await;
    assert_eq!(frames, sent);
    // Without that one as well it is down.
    second.mesh.set_neighbours(vec![], vec![first.id()]);
    assert_eq!(first.down().await, Peer::Node(second.id()));
    assert_eq!(second.down().await, Peer::Node(first.id()));
}

#[tokio::test]
async fn a_node_that_restarts_on_its_port_is_dialled_again() {
    let (mut first, second) = pair(node(1), node(2)).await;
    let (id, address) = (second.id(), second.address());
    second.mesh.shutdown().await;
    drop(second.events);
    assert_eq!(first.down().await, Peer::Node(id));
    let mut again = bind_again(2, address).await;
    again.mesh.set_neighbours(vec![], vec![first.id()]);
    assert_eq!(first.up().await, Peer::Node(id));
    assert_eq!(again.up().await, Peer::Node(first.id()));
    let sent = numbered(1);
    first.mesh.send(Peer::Node(id), sent.clone()).unwrap();
    let (frames, _) = again.gather(Peer::Node(first.id()), 1).await;
    assert_eq!(frames, sent);
}

#[tokio::test]
async fn a_node_that_was_killed_is_dialled_again_as_soon_as_it_is_back() {
    let mut first = Node::new(node(1)).await;
    let second = Node::new(node(2)).await;
    let id = second.id();
    let relay = Relay::start(second.address(), |_, _| true).await;
    second.mesh.set_neighbours(vec![], vec![first.id()]);
    first
        .mesh
        .set_neighbours(vec![(id, vec![relay.address])], vec![]);
    assert_eq!(first.up().await, Peer::Node(id));
    // Its connections are lost, and nobody is told; then it is back.
    let mut again = Node::new(node(2)).await;
    again.mesh.set_neighbours(vec![], vec![first.id()]);
    let began = tokio::time::Instant::now();
    relay.lead_to(again.address());
    // The next datagram, whatever is in it, meets a node that knows nothing of the connection
    // and says so. The link may be down before this frame is queued.
    let _ = first.mesh.send(Peer::Node(id), numbered(1));
    assert_eq!(first.down().await, Peer::Node(id));
    assert_eq!(first.up().await, Peer::Node(id));
    assert!(began.elapsed() < Duration::from_secs(5), "not by idling");
    assert_eq!(again.up().await, Peer::Node(first.id()));
}

/// A mesh under the same identity and address as one that has just ended.
async fn bind_again(seed: u8, address: std::net::SocketAddr) -> Node {
    let bound = async {
        loop {
            let mut config = node(seed);
            config.listen = Some(address);
            // The old socket closes with its last task.
            match Mesh::bind(config, services()).await {
                Ok((mesh, events)) => return Node { mesh, events },
                Err(LinkError::Socket(_)) => tokio::time::sleep(Duration::from_millis(10)).await,
                Err(error) => panic!("{error}"),
            }
        }
    };
    timeout(PATIENCE, bound).await.expect("the port is free")
}

#[tokio::test]
async fn frames_for_nobody_or_of_another_length_are_refused_by_name() {
    let (first, second) = pair(node(1), node(2)).await;
    let nobody = Peer::Node(wire::NodeId([9; 32]));
    assert_eq!(
        first.mesh.send(nobody, numbered(3)),
        Err((Refusal::NotConnected, 3))
    );
    let short = vec![Frame::new(0, &[0; FRAME_LEN - 3])];
    assert_eq!(
        first.mesh.send(Peer::Node(second.id()), short),
        Err((Refusal::BadLength, 1))
    );
    assert_eq!(first.mesh.counts().not_connected, 3);
}

#[tokio::test]
async fn a_peer_with_frames_of_another_length_is_turned_away() {
    let mut host = Node::new(node(1).with_guests()).await;
    let mut config = MeshConfig::client(1234);
    config.limits = client().limits;
    let mut guest = Node::new(config).await;
    guest.mesh.set_neighbours(vec![host.entry()], vec![]);
    host.counted(|counts| counts.bad_preamble, 2).await;
    guest.stays_silent().await;
    host.stays_silent().await;
}

#[tokio::test]
async fn the_last_handle_takes_the_links_with_it() {
    let (first, mut second) = pair(node(1), node(2)).await;
    let handle = first.mesh.clone();
    drop(first.mesh);
    assert!(handle.is_up(Peer::Node(second.id())));
    drop(handle);
    let _ = second.down().await;
    let mut events = first.events;
    let end = async { while events.recv().await.is_some() {} };
    timeout(PATIENCE, end).await.expect("every task ends");
}

#[tokio::test]
async fn a_mesh_without_sense_is_refused() {
    for frame_len in [0, 2, (1 << 20) + 1] {
        let bound = Mesh::bind(MeshConfig::client(frame_len), services()).await;
        assert_eq!(bound.err(), Some(LinkError::BadFrameLength));
    }
    let mut config = node(1);
    config.identity = None;
    let bound = Mesh::bind(config, services()).await;
    assert_eq!(bound.err(), Some(LinkError::NoIdentity));
    let (mesh, _events) = Mesh::bind(client(), services()).await.unwrap();
    let nobody = Peer::Node(wire::NodeId([9; 32]));
    let called = mesh.call(nobody, &Call::NewestDocument, PATIENCE).await;
    assert_eq!(called, Err(LinkError::NotConnected));
}
