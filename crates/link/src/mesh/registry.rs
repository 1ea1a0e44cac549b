//! Which links are up, by peer.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use quinn::Connection;
use tokio::sync::mpsc;
use wire::{Refusal, Time};

use crate::bucket::Bucket;
use crate::link::Code;
use crate::{Frame, FrameRate, Limits, Peer, Whose, locked};

/// The links that are up, at most two a peer, and the rates of those who send.
pub(crate) struct Registry {
    peers: BTreeMap<Peer, Links>,
    nodes: FrameRate,
    guests: FrameRate,
}

/// One peer's links. A node may have dialled us, and we it.
struct Links {
    outgoing: Option<Link>,
    incoming: Option<Link>,
    bucket: Arc<Mutex<Bucket>>,
}

/// One link that is up.
pub(crate) struct Link {
    pub(crate) number: u64,
    pub(crate) direction: Direction,
    pub(crate) connection: Connection,
    pub(crate) queue: mpsc::Sender<Bytes>,
}

/// Who dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Outgoing,
    Incoming,
}

/// What a link's coming or going means for its peer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Its first link came, or its last one went.
    Turned,
    /// It has another link, as it had before.
    Same,
}

impl Registry {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            peers: BTreeMap::new(),
            nodes: limits.node_rate,
            guests: limits.guest_rate,
        }
    }

    /// Enters a link. An older one in the same direction is closed: the peer has dialled
    /// again, and knows best.
    pub(crate) fn enter(
        &mut self,
        now: Time,
        peer: Peer,
        link: Link,
    ) -> (Change, Arc<Mutex<Bucket>>) {
        let rate = match peer {
            Peer::Node(_) => self.nodes,
            Peer::Guest(_) => self.guests,
        };
        let links = self.peers.entry(peer).or_insert_with(|| Links {
            outgoing: None,
            incoming: None,
            bucket: Arc::new(Mutex::new(Bucket::new(now, rate))),
        });
        let change = if links.is_empty() {
            Change::Turned
        } else {
            Change::Same
        };
        let place = links.in_direction(link.direction);
        if let Some(older) = place.replace(link) {
            Code::Replaced.close(&older.connection);
        }
        (change, links.bucket.clone())
    }

    /// Strikes out the link with this number, if it is still the one entered.
    pub(crate) fn leave(&mut self, peer: Peer, direction: Direction, number: u64) -> Change {
        let Some(links) = self.peers.get_mut(&peer) else {
            return Change::Same;
        };
        let place = links.in_direction(direction);
        if place.as_ref().is_none_or(|link| link.number != number) {
            return Change::Same;
        }
        *place = None;
        if links.is_empty() {
            self.peers.remove(&peer);
            Change::Turned
        } else {
            Change::Same
        }
    }

    /// Queues frames on the peer's outgoing link, else on its incoming one.
    pub(crate) fn send(&self, to: Peer, frames: Vec<Frame>) -> Result<(), (Refusal, u64)> {
        let count = frames.len();
        let refused = |reason, queued: usize| (reason, (count - queued) as u64);
        let link = self.link_to(to);
        let link = link.ok_or_else(|| refused(Refusal::NotConnected, 0))?;
        for (queued, frame) in frames.into_iter().enumerate() {
            link.queue
                .try_send(frame.into_bytes())
                .map_err(|error| match error {
                    mpsc::error::TrySendError::Full(_) => refused(Refusal::Overload, queued),
                    mpsc::error::TrySendError::Closed(_) => refused(Refusal::NotConnected, queued),
                })?;
        }
        Ok(())
    }

    pub(crate) fn set_rate(&mut self, now: Time, whose: Whose, rate: FrameRate) {
        match whose {
            Whose::Nodes => self.nodes = rate,
            Whose::Guests => self.guests = rate,
            Whose::Peer(_) => {}
        }
        for (peer, links) in &self.peers {
            let meant = match whose {
                Whose::Nodes => matches!(peer, Peer::Node(_)),
                Whose::Guests => matches!(peer, Peer::Guest(_)),
                Whose::Peer(one) => *peer == one,
            };
            if meant {
                locked(&links.bucket).set_rate(now, rate);
            }
        }
    }

    pub(crate) fn connection_to(&self, peer: Peer) -> Option<Connection> {
        self.link_to(peer).map(|link| link.connection.clone())
    }

    pub(crate) fn address_of(&self, peer: Peer) -> Option<SocketAddr> {
        self.link_to(peer)
            .map(|link| link.connection.remote_address())
    }

    /// Closes a peer's links; they leave by themselves.
    pub(crate) fn close(&self, peer: Peer) {
        if let Some(links) = self.peers.get(&peer) {
            for link in [&links.outgoing, &links.incoming].into_iter().flatten() {
                Code::Done.close(&link.connection);
            }
        }
    }

    /// Packets that each link has sent so far, and how many of them were taken for lost.
    pub(crate) fn carried(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let links = self.peers.values();
        links
            .flat_map(|links| [&links.outgoing, &links.incoming])
            .flatten()
            .map(|link| {
                let path = link.connection.stats().path;
                (path.sent_packets, path.lost_packets)
            })
    }

    fn link_to(&self, peer: Peer) -> Option<&Link> {
        let links = self.peers.get(&peer)?;
        links.outgoing.as_ref().or(links.incoming.as_ref())
    }
}

impl Links {
    fn is_empty(&self) -> bool {
        self.outgoing.is_none() && self.incoming.is_none()
    }

    fn in_direction(&mut self, direction: Direction) -> &mut Option<Link> {
        match direction {
            Direction::Outgoing => &mut self.outgoing,
            Direction::Incoming => &mut self.incoming,
        }
    }
}
