//! The dialling side: links that are kept up.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use quinn::{ClientConfig, ConnectError, Connection, NoneTokenStore};
use rand::CryptoRng;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use wire::NodeId;

use crate::link::{self, Code, closed};
use crate::mesh::Shared;
use crate::mesh::registry::Direction;
use crate::{LinkError, Peer, calls};

/// Keeps a link to `node` up until `stop` fires or its sender is gone.
pub(crate) async fn keep(
    shared: Arc<Shared>,
    node: NodeId,
    addresses: Vec<SocketAddr>,
    mut stop: oneshot::Receiver<()>,
) {
    let mut rng = shared.services.entropy.rng();
    let mut failures = 0;
    loop {
        let dialled = tokio::select! {
            biased;
            _ = &mut stop => return,
            dialled = dial(&shared, node, &addresses) => dialled,
        };
        match dialled {
            Ok((connection, streams)) => {
                failures = 0;
                let peer = Peer::Node(node);
                let run = async {
                    tokio::join!(
                        link::run(&shared, &connection, peer, Direction::Outgoing, streams),
                        calls::serve(&shared, &connection, peer),
                    )
                };
                tokio::pin!(run);
                let stopped = tokio::select! {
                    biased;
                    _ = &mut stop => true,
                    _ = &mut run => false,
                };
                if stopped {
                    Code::Done.close(&connection);
                    run.await;
                    return;
                }
            }
            Err(error) => {
                shared.log.dial_failed(&node, error);
                failures += 1;
            }
        }
        let wait = back_off(shared.limits.redial, failures, rng.as_mut());
        tokio::select! {
            _ = &mut stop => return,
            () = sleep(wait) => {}
        }
    }
}

/// Connects and exchanges preambles.
async fn dial(
    shared: &Shared,
    node: NodeId,
    addresses: &[SocketAddr],
) -> Result<(Connection, link::Streams), LinkError> {
    let connection = connect(shared, node, addresses).await?;
    match link::offer(&connection, shared).await {
        Ok(streams) => Ok((connection, streams)),
        Err(error) => {
            shared.counters.dial_failed.one();
            link::reject(shared, &connection, error);
            Err(error)
        }
    }
}

/// Connects to `node` at the first of its addresses where it answers under its key.
pub(crate) async fn connect(
    shared: &Shared,
    node: NodeId,
    addresses: &[SocketAddr],
) -> Result<Connection, LinkError> {
    let mut failure = LinkError::NotConnected;
    for &address in addresses {
        match connect_to(shared, node, address).await {
            Ok(connection) => return Ok(connection),
            Err(error) => {
                shared.counters.dial_failed.one();
                failure = error;
            }
        }
    }
    Err(failure)
}

async fn connect_to(
    shared: &Shared,
    node: NodeId,
    address: SocketAddr,
) -> Result<Connection, LinkError> {
    let (crypto, other_key) = shared.tls.dialling(node)?;
    let mut config = ClientConfig::new(Arc::new(crypto));
    config
        .transport_config(shared.dialling.clone())
        // A kept token would show a listener who came before.
        .token_store(Arc::new(NoneTokenStore));
    let endpoint = shared.sockets.towards(address)?;
    let connecting =
        endpoint
            .connect_with(config, address, NO_NAME)
            .map_err(|error| match error {
                ConnectError::EndpointStopping => LinkError::Closed,
                _ => LinkError::NotConnected,
            })?;
    let shaken = timeout(shared.limits.handshake, connecting).await;
    if other_key.load(Ordering::Relaxed) {
        shared.counters.wrong_key.one();
        return Err(LinkError::WrongKey);
    }
    shaken.map_err(|_| LinkError::Deadline)?.map_err(closed)
}

/// How long to wait after so many failures: doubling from the first wait to the longest, times
/// a factor between a half and three halves, so that peers of a restarted node come apart.
fn back_off(
    (first, longest): (Duration, Duration),
    failures: u32,
    rng: &mut dyn CryptoRng,
) -> Duration {
    let doubled = first.saturating_mul(1 << failures.saturating_sub(1).min(16));
    let spread = f64::from(rng.next_u32()) / f64::from(u32::MAX);
    doubled.min(longest).mul_f64(0.5 + spread)
}

/// QUIC's interface wants a name; none is sent.
const NO_NAME: &str = "node.invalid";

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha20Rng;

    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_are_spread() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let bounds = (Duration::from_millis(100), Duration::from_secs(2));
        let mut within = |failures, low, high| {
            for _ in 0..1000 {
                let wait = back_off(bounds, failures, &mut rng).as_millis();
                assert!((low..=high).contains(&wait), "{failures}: {wait}");
            }
        };
        within(0, 50, 150);
        within(1, 50, 150);
        within(2, 100, 300);
        within(4, 400, 1200);
        within(9, 1000, 3000);
        within(u32::MAX, 1000, 3000);
        let waits: Vec<_> = (0..2).map(|_| back_off(bounds, 1, &mut rng)).collect();
        assert_ne!(waits[0], waits[1]);
    }
}
