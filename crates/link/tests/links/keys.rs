//! Who may come, and who is really there.

use std::sync::Arc;

use quinn::ConnectionError;
use quinn::crypto::rustls::QuicServerConfig;
use rustls::crypto::aws_lc_rs::{self, kx_group, sign};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use subrosa_link::{LinkError, Peer};
use wire::{Call, NodeId, Reply};

use crate::harness::*;

#[tokio::test]
async fn refuses_to_dial_another_key_than_the_expected() {
    let host = Node::new(node(1).with_guests()).await;
    let guest = Node::new(client()).await;
    let called = guest
        .mesh
        .call_at(
            NodeId([7; 32]),
            &[host.address()],
            &Call::NewestDocument,
            PATIENCE,
        )
        .await;
    assert_eq!(called, Err(LinkError::WrongKey));
    assert_eq!(guest.mesh.counts().wrong_key, 1);
}

#[tokio::test]
async fn refuses_a_node_that_is_not_in_the_document() {
    let mut host = Node::new(node(1).with_guests()).await;
    let mut unknown = Node::new(node(2)).await;
    host.mesh.set_neighbours(vec![], vec![NodeId([7; 32])]);
    unknown.mesh.set_neighbours(vec![host.entry()], vec![]);
    host.counted(|counts| counts.peer_not_in_consensus, 2).await;
    unknown.stays_silent().await;
    host.stays_silent().await;
    let called = unknown
        .mesh
        .call_at(
            host.id(),
            &[host.address()],
            &Call::NewestDocument,
            PATIENCE,
        )
        .await;
    assert_eq!(called, Err(LinkError::TurnedAway));
}

#[tokio::test]
async fn an_unknown_key_is_a_guest_where_strangers_are_admitted() {
    let mut host = Node::new(node(1).with_strangers()).await;
    let mut known = Node::new(node(2)).await;
    let mut unknown = Node::new(node(3)).await;
    host.mesh.set_neighbours(vec![], vec![known.id()]);
    known.mesh.set_neighbours(vec![host.entry()], vec![]);
    known.up().await;
    assert_eq!(host.up().await, Peer::Node(known.id()));
    unknown.mesh.set_neighbours(vec![host.entry()], vec![]);
    unknown.up().await;
    assert!(matches!(host.up().await, Peer::Guest(_)));
}

#[tokio::test]
async fn refuses_a_guest_where_guests_are_not_admitted() {
    let mut host = Node::new(node(1)).await;
    let mut guest = Node::new(client()).await;
    guest.mesh.set_neighbours(vec![host.entry()], vec![]);
    host.counted(|counts| counts.peer_not_in_consensus, 1).await;
    guest.stays_silent().await;
    host.stays_silent().await;
}

#[tokio::test]
async fn guests_are_told_apart() {
    let (_one, mut host, first) = guest_and_host(client(), node(1)).await;
    let mut two = Node::new(client()).await;
    two.mesh.set_neighbours(vec![host.entry()], vec![]);
    two.up().await;
    let second = host.up().await;
    assert!(matches!(second, Peer::Guest(_)));
    assert_ne!(first, second);
}

#[tokio::test]
async fn a_node_that_leaves_the_document_is_shown_out() {
    let (mut first, mut second) = pair(node(1), node(2)).await;
    second.mesh.set_neighbours(vec![], vec![]);
    assert_eq!(second.down().await, Peer::Node(first.id()));
    assert_eq!(first.down().await, Peer::Node(second.id()));
    second
        .counted(|counts| counts.peer_not_in_consensus, 1)
        .await;
    second.mesh.set_neighbours(vec![], vec![first.id()]);
    assert_eq!(first.up().await, Peer::Node(second.id()));
}

#[tokio::test]
async fn a_certificate_without_its_key_is_not_believed() {
    let host = Node::new(node(1).with_guests()).await;
    let certificate = certificate_of(&host).await;
    let (impostor, address) = impostor(certificate, [66; 32]);
    let guest = Node::new(client()).await;
    let called = guest
        .mesh
        .call_at(host.id(), &[address], &Call::NewestDocument, PATIENCE)
        .await;
    assert_eq!(called, Err(LinkError::Closed));
    drop(impostor);
}

#[tokio::test]
async fn the_key_itself_is_believed() {
    // The impostor's counterpart: the same server with the right key gets past the handshake.
    let host = Node::new(node(1).with_guests()).await;
    let certificate = certificate_of(&host).await;
    let (twin, address) = impostor(certificate, [1; 32]);
    let guest = Node::new(client()).await;
    let called = guest
        .mesh
        .call_at(host.id(), &[address], &Call::NewestDocument, PATIENCE)
        .await;
    assert_eq!(called, Ok(Reply::Done));
    drop(twin);
}

#[tokio::test]
async fn a_handshake_without_the_hybrid_group_fails() {
    let host = Node::new(node(1).with_guests()).await;
    for group in [kx_group::X25519, kx_group::SECP256R1, kx_group::MLKEM768] {
        let stranger = Stranger {
            groups: vec![group],
            ..Stranger::default()
        };
        let connected = stranger.connect(host.address()).await;
        assert!(matches!(
            connected,
            Err(ConnectionError::ConnectionClosed(_))
        ));
    }
    assert_eq!(host.mesh.counts().handshake_failed, 3);
    assert!(Stranger::default().connect(host.address()).await.is_ok());
}

#[tokio::test]
async fn a_handshake_for_another_protocol_fails() {
    let host = Node::new(node(1).with_guests()).await;
    let stranger = Stranger {
        protocol: b"subrosa-link/0",
        ..Stranger::default()
    };
    assert!(stranger.connect(host.address()).await.is_err());
}

#[tokio::test]
async fn there_is_no_early_data_and_no_resumption() {
    let host = Node::new(node(1).with_guests()).await;
    let endpoint = stranger_endpoint();
    let config = Stranger::default().config();
    for _ in 0..2 {
        let connecting = endpoint
            .connect_with(config.clone(), host.address(), "node.invalid")
            .unwrap();
        // Tickets of the first connection would give the second its early data.
        let Err(connecting) = connecting.into_0rtt() else {
            panic!("early data");
        };
        let connection = connecting.await.unwrap();
        let mut send = connection.open_uni().await.unwrap();
        send.write_all(&preamble(FRAME_LEN)).await.unwrap();
        let mut receive = connection.accept_uni().await.unwrap();
        receive.read_exact(&mut [0; 8]).await.unwrap();
    }
}

async fn certificate_of(host: &Node) -> CertificateDer<'static> {
    let connection = Stranger::default().connect(host.address()).await.unwrap();
    let identity = connection.peer_identity().unwrap();
    let chain = identity.downcast::<Vec<CertificateDer<'static>>>().unwrap();
    chain[0].clone()
}

/// A server that shows `certificate` and signs with the key from `seed`; it answers calls.
fn impostor(
    certificate: CertificateDer<'static>,
    seed: [u8; 32],
) -> (tokio::task::JoinHandle<()>, std::net::SocketAddr) {
    let mut pkcs8 = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20".to_vec();
    pkcs8.extend_from_slice(&seed);
    let key = sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(pkcs8)).unwrap();
    let shown = SingleCertAndKey::from(CertifiedKey::new(vec![certificate], key));
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(shown));
    tls.alpn_protocols = vec![b"subrosa-link/1".to_vec()];
    let crypto = QuicServerConfig::try_from(tls).unwrap();
    let config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    let endpoint = quinn::Endpoint::server(config, loopback()).unwrap();
    let address = endpoint.local_addr().unwrap();
    let serve = tokio::spawn(async move {
        let connection = endpoint.accept().await.unwrap().await.unwrap();
        let (mut send, _receive) = connection.accept_bi().await.unwrap();
        send.write_all(&wire::Encode::to_bytes(&Reply::Done))
            .await
            .unwrap();
        send.finish().unwrap();
        connection.closed().await;
    });
    (serve, address)
}
