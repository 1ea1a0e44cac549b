//! The library and a provider with a shipped model, over real links on loopback, behind a
//! gateway that plays the rest of the network.

#![allow(clippy::unwrap_used, reason = "a test, helpers included")]

mod gateway;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use compiler::{Model, Shipped};
use directory::Identity;
use message::SealingKey;
use provider::{Bounds, Node, NodeConfig, OwnModules, Reach, SandboxLimits, Service, model_card};
use sphinx::Geometry;
use subrosa_client::{Client, ConnectError, ProofStatus, QueryError};
use tokio::task::JoinSet;
use tokio::time::timeout;
use wire::{Epoch, NodeName};

use gateway::{Gateway, id, services};

const PATIENCE: Duration = Duration::from_secs(40);

fn mailbox() -> Identity {
    Identity::from_seed(&[9; 32])
}

fn sealing_key() -> SealingKey {
    SealingKey::from_bytes(&[8; 32])
}

fn name() -> NodeName {
    NodeName::new("clinic").unwrap()
}

fn shipped() -> &'static Shipped {
    compiler::shipped()
        .iter()
        .find(|shipped| shipped.name == "tumour")
        .unwrap()
}

fn model() -> Model {
    shipped().model().unwrap()
}

/// The network, with a provider that serves.
async fn network() -> (Gateway, Node) {
    let cards = vec![model_card(Geometry::DEFAULT, &model()).unwrap()];
    let key = sealing_key().public().clone();
    let service = Service::new(name(), mailbox(), key, cards).unwrap();
    let gateway = Gateway::start(vec![service.descriptor(Epoch(1), vec![id()])]).await;
    let config = NodeConfig {
        files: None,
        network: Arc::new(gateway.network.clone()),
        reach: Reach::Attached,
        gateway: id(),
        addresses: vec![gateway.network.bootstrap()[0].1],
        others: Vec::new(),
        name: name(),
        mailbox: mailbox(),
        sealing_key: sealing_key(),
        models: vec![model()],
        bounds: Bounds::default(),
        sandbox: SandboxLimits::default(),
        trial: Arc::new(OwnModules),
        threads: 2,
    };
    let mut node = Node::start(config, services()).await.unwrap();
    assert!(timeout(PATIENCE, node.ready()).await.unwrap().is_ok());
    (gateway, node)
}

async fn client(gateway: &Gateway) -> Client {
    let builder = Client::builder().network(gateway.network.clone()).class(2);
    builder.connect(services()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn questions_are_answered_exactly_and_the_client_closes() {
    let (_gateway, node) = network().await;
    let client = client(&_gateway).await;
    let listed = client.models();
    assert_eq!((listed.len(), listed[0].name.as_str()), (1, "tumour"));

    let mut questions = JoinSet::new();
    for sample in shipped().samples().into_iter().take(50) {
        let client = client.clone();
        questions.spawn(async move {
            let numbers = sample.input.as_slice();
            (sample.input.clone(), client.query("tumour", numbers).await)
        });
    }
    let reference = model();
    while let Some(joined) = questions.join_next().await {
        let (numbers, answer) = joined.unwrap();
        let answer = answer.unwrap();
        let integers = reference.input.quantise(&numbers).unwrap();
        assert_eq!(answer.output, reference.graph.run(&integers).unwrap());
        assert_eq!(
            answer.label.as_deref(),
            reference.output.label(&answer.output)
        );
        assert_eq!(answer.proof, ProofStatus::NotAsked);
        assert!(answer.latency.total < PATIENCE);
    }
    assert!(node.counts().outputs >= 1);

    let wrong = client.query("tumor", [0.0_f32; 30]).await.unwrap_err();
    assert!(
        wrong.to_string().contains("did you mean \"tumour\"?"),
        "{wrong}"
    );
    let unproven = client.query("tumour", [0.0_f32; 30]).with_proof().await;
    assert!(matches!(unproven, Err(QueryError::NoProof { .. })));

    let other = client.clone();
    timeout(PATIENCE, client.close()).await.unwrap();
    let closed = other.query("tumour", [0.0_f32; 30]).await;
    assert_eq!(closed, Err(QueryError::Closed));
    timeout(PATIENCE, node.shutdown()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_falls_silent_ends_questions_in_their_errors() {
    let (gateway, _node) = network().await;
    let client = client(&gateway).await;
    gateway.deaf.store(true, Ordering::Relaxed);
    let deadline = Duration::from_secs(2);
    let late = client
        .query("tumour", [0.0_f32; 30])
        .deadline(deadline)
        .await;
    assert_eq!(late, Err(QueryError::Timeout { after: deadline }));

    let pending = client
        .query("tumour", [0.0_f32; 30])
        .deadline(PATIENCE)
        .into_future();
    let pending = tokio::spawn(pending);
    tokio::time::sleep(Duration::from_millis(100)).await;
    timeout(PATIENCE, client.close()).await.unwrap();
    let ended = timeout(PATIENCE, pending).await.unwrap().unwrap();
    assert_eq!(ended, Err(QueryError::Closed));
}

#[tokio::test]
async fn what_cannot_be_joined_is_told_in_time() {
    let gateway = Gateway::start(Vec::new()).await;
    let builder = || Client::builder().network(gateway.network.clone());
    let refused = |builder: subrosa_client::ClientBuilder| async {
        timeout(PATIENCE, builder.connect(services()))
            .await
            .unwrap()
            .err()
    };
    let no_class = ConnectError::NoSuchClass { asked: 9, known: 3 };
    assert_eq!(
        refused(Client::builder()).await,
        Some(ConnectError::NoNetwork)
    );
    assert_eq!(refused(builder().class(9)).await, Some(no_class));
    let elsewhere = builder().gateway(wire::NodeId([7; 32]));
    assert_eq!(refused(elsewhere).await, Some(ConnectError::NoGateway));
}
