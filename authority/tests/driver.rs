//! Authorities on real links and disks, over loopback: they agree, and serve a stranger.
#![allow(clippy::unwrap_used, reason = "what the tests share is test code too")]

use std::net::UdpSocket;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use directory::{
    AuthorityEntry, Consensus, Descriptor, Identity, Network, NetworkDraft, NodeDescriptor,
    NodeDraft, Parameters, Role,
};
use link::{Clock, Entropy, Mesh, MeshConfig, Services};
use rand::{CryptoRng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use sphinx::SecretKey;
use subrosa_authority::{Config, Everybody, run};
use tokio::sync::watch;
use wire::{Call, Encode, Epoch, NodeName, Reply, Time};

struct RealClock;

impl Clock for RealClock {
    #[allow(
        clippy::disallowed_methods,
        reason = "real links need the real time; the front door gives it elsewhere"
    )]
    fn now(&self) -> Time {
        let since = std::time::UNIX_EPOCH.elapsed().unwrap();
        Time::from_nanos(u64::try_from(since.as_nanos()).unwrap())
    }
}

struct Seeded;

impl Entropy for Seeded {
    fn rng(&self) -> Box<dyn CryptoRng + Send> {
        Box::new(ChaCha20Rng::seed_from_u64(RealClock.now().as_nanos()))
    }
}

fn identity(place: u8) -> Identity {
    Identity::from_seed(&[place + 1; 32])
}

fn free_port() -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap().port()
}

fn network(now: Time) -> Network {
    let parameters = Parameters {
        vote_step: Duration::from_millis(400),
        ..Parameters::demo()
    };
    let authorities = (0..4).map(|place| AuthorityEntry {
        id: identity(place).node_id(),
        name: NodeName::new(&format!("authority-{place}")).unwrap(),
        addresses: vec![format!("127.0.0.1:{}", free_port()).parse().unwrap()],
    });
    Network::new(NetworkDraft {
        authorities: authorities.collect(),
        threshold: 3,
        genesis: now.after(parameters.vote_step * 12),
        parameters,
        bootstrap: Vec::new(),
    })
    .unwrap()
}

fn descriptor() -> Vec<u8> {
    let key = |number| SecretKey::from_bytes([number; 32]).public();
    Descriptor::Node(NodeDescriptor::sign(
        &identity(100),
        NodeDraft {
            name: NodeName::new("mix-1").unwrap(),
            role: Role::Mix,
            epoch: Epoch(1),
            addresses: vec!["127.0.0.1:9".parse().unwrap()],
            sphinx_key: key(1),
            next_sphinx_key: key(2),
            family: None,
        },
    ))
    .to_bytes()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn authorities_agree_over_links_and_serve_a_node_that_no_document_names() {
    let network = Arc::new(network(RealClock.now()));
    let services = Services::new(Arc::new(RealClock), Arc::new(Seeded));
    let state = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("authorities");
    // What an earlier run left is of another network.
    let _ = std::fs::remove_dir_all(&state);
    let (stop, stopped) = watch::channel(false);
    // The fourth is down.
    let running: Vec<_> = (0..3)
        .map(|place| {
            let config = Config {
                identity: identity(place),
                network: Arc::clone(&network),
                listen: network.authorities()[usize::from(place)].addresses[0],
                state: state.join(place.to_string()),
                registry: Box::new(Everybody),
            };
            tokio::spawn(run(config, services.clone(), stopped.clone()))
        })
        .collect();

    // A node under its own key, known to nobody yet.
    let frame_len = network.parameters().geometry.frame_len();
    let config = MeshConfig::node(frame_len, [101; 32].into(), "127.0.0.1:0".parse().unwrap());
    let (mesh, _events) = Mesh::bind(config, services).await.unwrap();
    let call = async |place: usize, call: Call| {
        let entry = &network.authorities()[place];
        let patience = Duration::from_secs(5);
        mesh.call_at(entry.id, &entry.addresses, &call, patience)
            .await
    };
    for place in 0..3 {
        let mut published = call(place, Call::Publish(descriptor())).await;
        while published.is_err() {
            published = call(place, Call::Publish(descriptor())).await;
        }
        assert_eq!(published, Ok(Reply::Done));
    }
    let begins = network.schedule().start(Epoch(1));
    tokio::time::sleep(begins.since(RealClock.now())).await;
    let mut hashes = Vec::new();
    for place in 0..3 {
        let reply = call(place, Call::NewestDocument).await;
        let Ok(Reply::Document(bytes)) = reply else {
            panic!("authority {place} has no document: {reply:?}");
        };
        let consensus = Consensus::open(&bytes, &network).unwrap();
        assert_eq!(consensus.document.nodes().count(), 1);
        hashes.push(consensus.document.hash());
    }
    assert!(hashes.windows(2).all(|pair| pair[0] == pair[1]));
    stop.send(true).unwrap();
    for authority in running {
        assert!(authority.await.unwrap().is_ok());
    }
    mesh.shutdown().await;
}
