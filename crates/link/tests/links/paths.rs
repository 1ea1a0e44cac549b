//! Bad paths: loss, and datagrams of the smallest size.

use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use subrosa_link::Peer;
use tokio::time::{Instant, timeout};

use crate::harness::*;
use crate::relay::{Heading, Relay};

/// A guest and its host, with a relay between.
async fn through(
    passes: impl FnMut(Heading, &[u8]) -> bool + Send + 'static,
) -> (Node, Node, Peer, Relay) {
    let mut host = Node::new(node(1).with_guests()).await;
    let relay = Relay::start(host.address(), passes).await;
    let mut guest = Node::new(client()).await;
    guest
        .mesh
        .set_neighbours(vec![(host.id(), vec![relay.address])], vec![]);
    guest.up().await;
    let peer = host.up().await;
    (guest, host, peer, relay)
}

#[tokio::test]
async fn a_fifth_of_all_datagrams_lost_loses_no_frame_and_little_time() {
    let mut dice = ChaCha20Rng::seed_from_u64(8);
    let (guest, mut host, peer, _relay) =
        through(move |_, _| !dice.next_u32().is_multiple_of(5)).await;
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
}

#[tokio::test]
async fn works_where_no_datagram_above_1200_bytes_passes() {
    let (guest, mut host, peer, _relay) = through(|_, datagram| datagram.len() <= 1200).await;
    let sent = numbered(100);
    for batch in sent.chunks(20) {
        let there = Peer::Node(host.id());
        guest.mesh.send(there, batch.to_vec()).unwrap();
        host.mesh.send(peer, batch.to_vec()).unwrap();
        let (frames, _) = host.gather(peer, 20).await;
        assert!(frames == batch);
    }
}
