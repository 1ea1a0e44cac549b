//! Calls, and their bounds.

use std::time::Duration;

use subrosa_link::{LinkError, MeshEvent, Peer};
use tokio::time::timeout;
use wire::{Call, CallRefused, Epoch, MAX_CALL_LEN, Reply};

use crate::harness::*;

#[tokio::test]
async fn a_call_has_its_reply() {
    let (guest, mut host, peer) = guest_and_host(client(), node(1)).await;
    let there = Peer::Node(host.id());
    let call = Call::Document(Epoch(7));
    let reply = Reply::Document(vec![5; 3_000_000]);
    let answer = async {
        let MeshEvent::Call {
            from,
            call: heard,
            responder,
        } = host.next().await
        else {
            panic!("expected a call");
        };
        assert_eq!((from, &heard), (peer, &call));
        responder.respond(reply.clone());
    };
    let (called, ()) = tokio::join!(guest.mesh.call(there, &call, PATIENCE), answer);
    assert_eq!(called, Ok(reply));
}

#[tokio::test]
async fn a_call_needs_no_link_but_an_address() {
    let mut host = Node::new(node(1)).await;
    let caller = Node::new(node(2)).await;
    host.mesh.set_neighbours(vec![], vec![caller.id()]);
    let call = Call::Publish(vec![1; 100_000]);
    let dead = std::net::UdpSocket::bind(loopback()).unwrap();
    // The second address answers; the first, where nobody speaks QUIC, costs a deadline.
    let mut quick = node(3);
    quick.limits.handshake = Duration::from_millis(100);
    let caller_id = caller.id();
    let (host_id, addresses) = host.entry();
    let answer = async {
        let MeshEvent::Call {
            from, responder, ..
        } = host.next().await
        else {
            panic!("expected a call, and no link");
        };
        assert_eq!(from, Peer::Node(caller_id));
        responder.respond(Reply::Done);
    };
    let asked = caller.mesh.call_at(host_id, &addresses, &call, PATIENCE);
    let (called, ()) = tokio::join!(asked, answer);
    assert_eq!(called, Ok(Reply::Done));
    let quick = Node::new(quick).await;
    let addresses = [dead.local_addr().unwrap()];
    let called = quick
        .mesh
        .call_at(host_id, &addresses, &call, PATIENCE)
        .await;
    assert_eq!(called, Err(LinkError::Deadline));
}

#[tokio::test]
async fn a_call_that_nobody_answers_ends() {
    let mut config = node(1);
    config.limits.call = Duration::from_millis(100);
    let (guest, mut host, _) = guest_and_host(client(), config).await;
    let there = Peer::Node(host.id());
    let call = Call::NewestDocument;
    // Dropped.
    let (called, event) = tokio::join!(guest.mesh.call(there, &call, PATIENCE), async {
        drop(host.next().await);
    });
    assert_eq!((called, event), (Err(LinkError::Unanswered), ()));
    // Kept too long.
    let (called, _kept) = tokio::join!(guest.mesh.call(there, &call, PATIENCE), host.next());
    assert_eq!(called, Err(LinkError::Unanswered));
    assert_eq!(host.mesh.counts().call_deadline, 1);
    // The caller's own deadline.
    let short = Duration::from_millis(20);
    let (called, _kept) = tokio::join!(guest.mesh.call(there, &call, short), host.next());
    assert_eq!(called, Err(LinkError::Deadline));
}

#[tokio::test]
async fn a_length_bomb_is_cut_off_at_its_bound() {
    let mut host = Node::new(node(1).with_guests()).await;
    let connection = Stranger::default().connect(host.address()).await.unwrap();
    let (mut send, _receive) = connection.open_bi().await.unwrap();
    // A call's tag and a claimed length of 4 GiB, then bytes without end.
    send.write_all(&[5, 0xff, 0xff, 0xff, 0xff]).await.unwrap();
    let mut taken = 0;
    let cut_off = async {
        while send.write_all(&[0; 1024]).await.is_ok() {
            taken += 1024;
        }
    };
    timeout(PATIENCE, cut_off).await.expect("cut off in time");
    // The bound of a guest's call is 64 KiB; QUIC's window lets some more leave before that shows.
    assert!(taken < 2 << 20, "{taken}");
    host.counted(|counts| counts.bad_call, 1).await;
    host.stays_silent().await;
    assert!(connection.close_reason().is_none());
}

#[tokio::test]
async fn the_caller_is_told_that_its_call_is_too_long() {
    let (guest, host, _) = guest_and_host(client(), node(1)).await;
    let there = Peer::Node(host.id());
    let long = Call::Publish(vec![0; 3 << 20]);
    let called = guest.mesh.call(there, &long, PATIENCE).await;
    assert_eq!(called, Err(LinkError::CallTooLong));
    let longer = Call::Publish(vec![0; MAX_CALL_LEN]);
    let called = guest.mesh.call(there, &longer, PATIENCE).await;
    assert_eq!(called, Err(LinkError::CallTooLong));
}

#[tokio::test]
async fn bytes_that_are_no_call_are_refused_without_the_owner() {
    let mut host = Node::new(node(1).with_guests()).await;
    let connection = Stranger::default().connect(host.address()).await.unwrap();
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    send.write_all(&[0xff; 10]).await.unwrap();
    send.finish().unwrap();
    let reply = receive.read_to_end(100).await.unwrap();
    assert_eq!(
        wire::Decode::from_bytes(&reply),
        Ok(Reply::Refused(CallRefused::NotForThisNode))
    );
    assert_eq!(host.mesh.counts().bad_call, 1);
    host.stays_silent().await;
}

#[tokio::test]
async fn a_call_that_never_ends_has_its_deadline() {
    let mut config = node(1).with_guests();
    config.limits.call = Duration::from_millis(100);
    let host = Node::new(config).await;
    let connection = Stranger::default().connect(host.address()).await.unwrap();
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    send.write_all(&[5]).await.unwrap();
    let ended = timeout(PATIENCE, receive.read_to_end(100)).await.unwrap();
    assert!(ended.is_err());
    assert_eq!(host.mesh.counts().call_deadline, 1);
}

#[tokio::test]
async fn all_guests_together_have_so_many_calls_before_the_owner() {
    let mut config = node(1);
    config.limits.all_guests_calls = 1;
    let (one, mut host, _) = guest_and_host(client(), config).await;
    let two = Node::new(client()).await;
    let (id, addresses) = host.entry();
    let call = Call::NewestDocument;
    let first = one.mesh.call(Peer::Node(id), &call, PATIENCE);
    let second = async {
        let MeshEvent::Call { responder, .. } = host.next().await else {
            panic!("expected a call");
        };
        let called = two.mesh.call_at(id, &addresses, &call, PATIENCE).await;
        assert_eq!(called, Ok(Reply::Refused(CallRefused::Busy)));
        responder.respond(Reply::Done);
    };
    let (called, ()) = tokio::join!(first, second);
    assert_eq!(called, Ok(Reply::Done));
}

#[tokio::test]
async fn a_guest_has_so_many_calls_open_and_no_more() {
    let mut config = node(1).with_guests();
    config.limits.guest_calls = 2;
    let host = Node::new(config).await;
    let connection = Stranger::default().connect(host.address()).await.unwrap();
    let mut open = Vec::new();
    for _ in 0..2 {
        open.push(connection.open_bi().await.unwrap());
    }
    let third = timeout(Duration::from_millis(100), connection.open_bi()).await;
    assert!(third.is_err());
}
