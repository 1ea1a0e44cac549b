//! Passes clients' service descriptors on to the authorities, and says what they said.

use std::sync::Arc;
use std::time::Duration;

use directory::Network;
use link::{Mesh, Responder};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use wire::{Call, CallRefused, Reply};

/// A descriptor, and who waits for the word on it.
pub(super) struct Publication {
    pub(super) descriptor: Vec<u8>,
    pub(super) responder: Responder,
}

/// Takes one after the other: what authorities get from one gateway has its bound.
pub(super) async fn relay(
    network: &Arc<Network>,
    mesh: &Mesh,
    mut publications: mpsc::Receiver<Publication>,
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
        publication
            .responder
            .respond(verdict(network.threshold(), &replies));
    }
}

/// Done if enough authorities took it for a document; else what one of the others said.
pub(crate) fn verdict(threshold: usize, replies: &[Reply]) -> Reply {
    let done = replies.iter().filter(|reply| **reply == Reply::Done);
    if done.count() >= threshold {
        return Reply::Done;
    }
    let refused = |reply: &&Reply| matches!(reply, Reply::Refused(_));
    let why = replies.iter().find(refused).cloned();
    why.unwrap_or(Reply::Refused(CallRefused::Busy))
}

/// How long an authority may take to answer: less than the link gives the caller.
const DEADLINE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publication_is_done_when_a_quorum_has_it() {
        let refused = Reply::Refused(CallRefused::WrongEpoch);
        let some = [Reply::Done, refused.clone(), Reply::Done];
        assert_eq!(verdict(2, &some), Reply::Done);
        assert_eq!(verdict(3, &some), refused);
        assert_eq!(verdict(3, &[]), Reply::Refused(CallRefused::Busy));
    }
}
