//! What the logs of a whole network hold at the most talkative level: nothing about a client.

use std::io::Write;
use std::sync::{Arc, Mutex};

use directory::{Identity, Parameters};
use provider::Trial;
use subrosa::demo::house::{House, Setting};
use subrosa::plan::Counts;
use subrosa::trial::ChildProcess;
use tracing::Level;
use wire::NodeId;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The ways in which bytes could stand in a text.
fn forms(secret: &[u8]) -> Vec<Vec<u8>> {
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let list = format!("{secret:?}");
    let inner = list.trim_matches(['[', ']']).to_owned();
    vec![
        secret.to_vec(),
        hex.to_uppercase().into_bytes(),
        hex.into_bytes(),
        inner.into_bytes(),
    ]
}

fn holds(log: &[u8], secret: &[u8]) -> bool {
    forms(secret)
        .iter()
        .any(|form| log.windows(form.len()).any(|window| window == form))
}

#[tokio::test(flavor = "multi_thread")]
async fn no_level_of_the_log_names_a_client_or_what_it_asks() {
    let _alone = crate::ALONE.lock().await;
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .init();
    let counts = Counts {
        authorities: 1,
        mixes: 3,
        gateways: 3,
        providers: 1,
    };
    let services = subrosa::services();
    let trial: Arc<dyn Trial> = Arc::new(ChildProcess::of(env!("CARGO_BIN_EXE_subrosa")));
    let parameters = Parameters::demo().with_short_first_epoch();
    let mut house = House::start(&services, &trial, Setting::new(counts, parameters)).unwrap();
    let client = house.join("asker", 0, 1).await.unwrap();
    house.listed(&client, 1).await.unwrap();
    let shipped = &compiler::shipped()[0];
    let answer = client
        .query(shipped.name, shipped.samples()[0].input.clone())
        .await
        .unwrap();
    assert_eq!(answer.model, shipped.name);
    let address = house.inspector().address_of("asker").to_string();
    let mailbox = house.mailbox_of("provider-1");
    let mut opened = house.inspector().plaintexts();
    let planned = house.plan().nodes.iter();
    let nodes: Vec<NodeId> = planned
        .map(|node| Identity::from_seed(&node.seed).node_id())
        .collect();
    client.close().await;
    house.stop().await;

    let log = log.0.lock().unwrap().clone();
    assert!(log.len() > 1000, "the log was written");
    // The search finds what is there: a mix's name in the document is.
    assert!(holds(&log, b"document accepted"));
    assert!(
        !holds(&log, address.as_bytes()),
        "the log holds the asker's address"
    );
    opened.push(mailbox);
    opened.sort();
    opened.dedup();
    for secret in opened.iter().filter(|bytes| bytes.len() >= 16) {
        // A next hop that is a node of the document may be named; a handle may not.
        let node = nodes
            .iter()
            .any(|node| node.0.as_slice() == secret.as_slice());
        // Long plaintexts are searched for by their first and last parts.
        let head = &secret[..secret.len().min(32)];
        let tail = &secret[secret.len() - secret.len().min(32)..];
        for part in [head, tail] {
            let zeros = part.iter().filter(|byte| **byte == 0).count() > part.len() / 2;
            assert!(
                node || zeros || !holds(&log, part),
                "the log holds {part:?}"
            );
        }
    }
}
