//! Passes clients' service descriptors on to the authorities, and says what they said.

use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use directory::Network;
use link::{Mesh, Responder};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use wire::Call;

use super::engine::Input;
use crate::calls::verdict;
use crate::publications::PublicationTicket;

/// A descriptor, and who waits for the word on it.
pub(super) struct Publication {
    pub(super) descriptor: Vec<u8>,
    pub(super) asker: Asker,
}

/// Who waits for the authorities' word.
pub(super) enum Asker {
    /// A client on its link.
    Link(Responder),
    /// A service behind the mixes: the word goes through the core.
    Mixes(PublicationTicket),
}

/// Takes one after the other: what authorities get from one gateway has its bound.
pub(super) async fn relay(
    network: &Arc<Network>,
    mesh: &Mesh,
    mut publications: mpsc::Receiver<Publication>,
    inputs: &SyncSender<Input>,
) {
    while let Some(publication) = publications.recv().await {
        let call = Arc::new(Call::Publish(publication.descriptor));
        let mut asked = JoinSet::new();
        for authority in network.authorities() {
            let (mesh, call) = (mesh.clone(), Arc::clone(&call));
            let (id, addresses) = (authority.id, authority.addresses.clone());
            asked.spawn(async move { mesh.call_at(id, &addresses, &call, DEADLINE).await });
        }
        let mut replies = Vec::new();
        while let Some(answer) = asked.join_next().await {
            replies.extend(answer.ok().and_then(Result::ok));
        }
        let verdict = verdict(network.threshold(), &replies);
        match publication.asker {
            Asker::Link(responder) => responder.respond(verdict),
            // The core takes it unless it is gone, or so full that the service has to ask again.
            Asker::Mixes(ticket) => drop(inputs.try_send(Input::Verdict(ticket, verdict))),
        }
    }
}

/// How long an authority may take to answer: less than the link gives the caller.
const DEADLINE: Duration = Duration::from_secs(5);
