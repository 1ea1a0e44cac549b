//! The listening side: who comes in.

use std::sync::Arc;

use quinn::{Connection, ConnectionError, Endpoint, Incoming};
use tokio::time::timeout;

use crate::gate::Place;
use crate::link::{self, Code};
use crate::log::quiet;
use crate::mesh::Shared;
use crate::mesh::registry::Direction;
use crate::{Peer, calls, tls};

/// Takes connections until the endpoint closes.
///
/// An address must show that it hears us before anything is kept about it: the first packet is
/// answered by a stateless retry, always. A link lives for hours; one more round trip is nothing.
pub(crate) async fn accept(shared: Arc<Shared>, endpoint: Endpoint) {
    while let Some(incoming) = endpoint.accept().await {
        if !incoming.remote_address_validated() {
            // Where a retry is not possible, dropping refuses.
            let _ = incoming.retry();
            continue;
        }
        match shared.gate.enter(incoming.remote_address()) {
            Some(place) => {
                tokio::spawn(quiet(receive(shared.clone(), incoming, place)));
            }
            None => {
                shared.counters.connections_refused.one();
                incoming.refuse();
            }
        }
    }
}

async fn receive(shared: Arc<Shared>, incoming: Incoming, mut place: Place) {
    let handshake = async { incoming.accept()?.await };
    let connection = match timeout(shared.limits.handshake, handshake).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return count_failure(&shared, &error),
        Err(_) => return shared.counters.handshake_deadline.one(),
    };
    place.shaken();
    let number = shared.next_number();
    let Some(peer) = shared.admit(&connection, number) else {
        shared.counters.peer_not_in_consensus.one();
        return Code::NotAdmitted.close(&connection);
    };
    if let Peer::Node(_) = peer {
        shared.windows.widen(&connection, &shared.limits);
    }
    tokio::join!(
        calls::serve(&shared, &connection, peer),
        frames(&shared, &connection, peer),
    );
    shared.forget(number);
}

async fn frames(shared: &Shared, connection: &Connection, peer: Peer) {
    match link::answer(connection, shared).await {
        Ok(streams) => link::run(shared, connection, peer, Direction::Incoming, streams).await,
        Err(error) => link::reject(shared, connection, error),
    }
}

fn count_failure(shared: &Shared, error: &ConnectionError) {
    match error {
        ConnectionError::TransportError(error) if tls::is_refusal_of_key(error.code) => {
            shared.counters.peer_not_in_consensus.one();
        }
        _ => shared.counters.handshake_failed.one(),
    }
}
