//! Peers that break the rules of a link.

use std::fmt::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use subrosa_link::{MeshEvent, Peer};
use tokio::time::timeout;
use tracing::dispatcher::Dispatch;
use tracing::field::{Field, Visit};
use tracing::subscriber::NoSubscriber;
use tracing::{Event, Metadata, Subscriber, span};
use wire::Call;

use crate::harness::*;

/// Connects as a guest and offers a link by hand.
async fn link_by_hand(host: &mut Node) -> (quinn::Connection, quinn::SendStream, Peer) {
    let connection = Stranger::default().connect(host.address()).await.unwrap();
    let mut send = connection.open_uni().await.unwrap();
    send.write_all(&preamble(FRAME_LEN)).await.unwrap();
    let peer = host.up().await;
    (connection, send, peer)
}

#[tokio::test]
async fn a_frame_cut_short_is_counted_and_ends_the_link() {
    let mut host = Node::new(node(1).with_guests()).await;
    let (connection, mut send, peer) = link_by_hand(&mut host).await;
    send.write_all(&[1; FRAME_LEN + 100]).await.unwrap();
    send.finish().unwrap();
    assert_eq!(host.gather(peer, 1).await.0[0].as_bytes(), [1; FRAME_LEN]);
    assert_eq!(host.down().await, peer);
    assert_eq!(host.mesh.counts().short_frame, 1);
    timeout(PATIENCE, connection.closed()).await.unwrap();
    host.counted(|_| u64::from(host.mesh.came_in() == (0, 0)), 1)
        .await;
}

#[tokio::test]
async fn a_connection_closed_inside_a_frame_is_counted() {
    let mut host = Node::new(node(1).with_guests()).await;
    let (connection, mut send, peer) = link_by_hand(&mut host).await;
    send.write_all(&[1; 100]).await.unwrap();
    // What is written must have arrived before the close overtakes it.
    tokio::time::sleep(Duration::from_millis(100)).await;
    connection.close(0u32.into(), b"");
    assert_eq!(host.down().await, peer);
    assert_eq!(host.mesh.counts().short_frame, 1);
}

#[tokio::test]
async fn a_stream_that_ends_between_frames_is_no_fault() {
    let mut host = Node::new(node(1).with_guests()).await;
    let (_connection, mut send, peer) = link_by_hand(&mut host).await;
    send.write_all(&[1; FRAME_LEN]).await.unwrap();
    send.finish().unwrap();
    host.gather(peer, 1).await;
    assert_eq!(host.down().await, peer);
    assert_eq!(host.mesh.counts().short_frame, 0);
}

#[tokio::test]
async fn a_frame_that_drips_is_given_up() {
    let mut config = node(1).with_guests();
    config.limits.idle = Duration::from_millis(500);
    let mut host = Node::new(config).await;
    let (connection, mut send, peer) = link_by_hand(&mut host).await;
    let drip = async {
        while send.write_all(&[0]).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let (down, _) = tokio::join!(host.down(), timeout(PATIENCE, drip));
    assert_eq!(down, peer);
    assert_eq!(host.mesh.counts().short_frame, 1);
    drop(connection);
}

#[tokio::test]
async fn first_bytes_that_are_no_preamble_end_the_connection() {
    let mut host = Node::new(node(1).with_guests()).await;
    for bytes in [b"sbrf\0\0\x21\x5f".as_slice(), b"GET / HTTP/1.1", b"sbrf"] {
        let connection = Stranger::default().connect(host.address()).await.unwrap();
        let mut send = connection.open_uni().await.unwrap();
        send.write_all(bytes).await.unwrap();
        send.finish().unwrap();
        timeout(PATIENCE, connection.closed()).await.unwrap();
    }
    assert_eq!(host.mesh.counts().bad_preamble, 3);
    host.stays_silent().await;
}

#[tokio::test]
async fn a_guest_cannot_open_a_second_stream_of_frames() {
    let mut host = Node::new(node(1).with_guests()).await;
    let (connection, _send, _) = link_by_hand(&mut host).await;
    let second = timeout(Duration::from_millis(100), connection.open_uni()).await;
    assert!(second.is_err());
}

#[tokio::test]
async fn no_log_at_any_level_names_a_guest_or_an_address() {
    let heard = Heard::default();
    // With a second one alive, what other threads hear does not settle what this one hears.
    let _second = Dispatch::new(NoSubscriber::default());
    let _guard = tracing::subscriber::set_default(heard.clone());
    let (guest, mut host, peer) = guest_and_host(client(), node(1)).await;
    let there = Peer::Node(host.id());
    guest.mesh.send(there, numbered(2)).unwrap();
    host.gather(peer, 2).await;
    let call = Call::NewestDocument;
    let (_, event) = tokio::join!(guest.mesh.call(there, &call, PATIENCE), async {
        match host.next().await {
            event @ MeshEvent::Call { .. } => drop(event),
            other => panic!("expected a call, got {}", kind(&other)),
        }
    });
    let () = event;
    let _ = Stranger::default();
    guest.mesh.shutdown().await;
    host.down().await;
    let text = heard.0.lock().unwrap().clone();
    assert!(text.contains("link up"), "the log itself works: {text}");
    assert!(text.contains(&host.id().to_string()));
    for secret in [
        "127.0.0.1",
        "Guest",
        "guest",
        &host.address().port().to_string(),
    ] {
        assert!(!text.contains(secret), "{secret} in: {text}");
    }
}

/// Hears everything and writes it down.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<String>>);

impl Subscriber for Heard {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &span::Attributes<'_>) -> span::Id {
        span.record(&mut Line(&mut self.0.lock().unwrap()));
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, values: &span::Record<'_>) {
        values.record(&mut Line(&mut self.0.lock().unwrap()));
    }

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = self.0.lock().unwrap();
        let _ = writeln!(text, "{}", event.metadata().target());
        event.record(&mut Line(&mut text));
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

struct Line<'a>(&'a mut String);

impl Visit for Line<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = writeln!(self.0, "{field} = {value:?}");
    }
}
