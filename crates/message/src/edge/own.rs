//! Owning anonymous mailboxes: feeds out, items in, descriptors through the mixes.

use std::sync::Arc;

use directory::Topology;
use rand::CryptoRng;
use sphinx::{Address, Geometry, Packet, Surb};
use wire::{
    Decode, Encode, Epoch, Feed, MAX_FEED_SURBS, MessageId, NodeId, PublicationPart, Refusal,
    Reply, SURB_LEN, SurbId, Time,
};

use super::{Edge, EdgeEvent, Link};
use crate::EdgeError;
use crate::feed::{FeedDraft, sign_feed};
use crate::owner::{AnonymousMailbox, FeedOrder, Owner, StockAccount};
use crate::publication::{Due, Publication};
use crate::route::{self, Home, Route};
use crate::seal::SealingKey;
use crate::slots::{Job, Kind, Ready, random_identifier};
use crate::surbs::{Outstanding, Purpose};

/// Owning anonymous mailboxes.
impl Edge {
    /// Serves a mailbox that nobody can trace to its owner: two gateways other than the entry
    /// gateway keep it, and are fed with reply blocks from now on.
    ///
    /// # Errors
    /// [`EdgeError::TooFewGateways`] if the document lists no two such gateways,
    /// [`EdgeError::TooManyMailboxes`] at the bound.
    pub fn own_mailbox(
        &mut self,
        now: Time,
        rng: &mut dyn CryptoRng,
        mailbox: AnonymousMailbox,
        sealing_key: SealingKey,
    ) -> Result<(), EdgeError> {
        self.own(now, rng, mailbox, sealing_key, None)
    }

    pub(super) fn own(
        &mut self,
        now: Time,
        rng: &mut dyn CryptoRng,
        mailbox: AnonymousMailbox,
        sealing_key: SealingKey,
        door: Option<SealingKey>,
    ) -> Result<(), EdgeError> {
        let entry = self.config.gateway;
        let owner = Owner::new(now, rng, mailbox, &self.topology, entry)?;
        self.serving.open(owner.mailbox(), sealing_key, door)?;
        self.owners
            .retain(|known| known.mailbox() != owner.mailbox());
        self.owners.push(owner);
        Ok(())
    }

    /// The gateways that keep an own anonymous mailbox: what its descriptor names.
    #[must_use]
    pub fn mailbox_gateways(&self, mailbox: &wire::MailboxAddress) -> Vec<NodeId> {
        let mut owners = self.owners.iter();
        let owner = owners.find(|owner| owner.mailbox() == *mailbox);
        owner.map(Owner::gateways).unwrap_or_default()
    }

    /// Publishes a service's signed descriptor through the mixes: by a gateway that is neither the
    /// entry gateway nor keeps a mailbox, if there is one, and by another one each time until a
    /// word of the authorities is back. That is told as [`EdgeEvent::Verdict`].
    pub fn publish(&mut self, now: Time, descriptor: Vec<u8>) {
        self.publication = Some(Publication::new(now, &self.topology, descriptor));
    }

    /// Learns the document of the epoch to come: the mailboxes are fed for it before it begins,
    /// so that their stocks have no gap.
    pub fn foresee(&mut self, rng: &mut dyn CryptoRng, topology: Arc<Topology>) {
        let next = topology.epoch();
        let known = self.coming.as_ref().map(|(_, coming)| coming.epoch());
        let listed = route::check(&topology, &self.config.gateway).is_ok();
        if next == self.topology.epoch().next() && known != Some(next) && listed {
            let home = Home::new(rng, next, self.config.gateway);
            self.coming = Some((home, topology));
        }
    }

    /// Takes another entry gateway: new handle, new keys. What is under way by the former one is
    /// lost; mailboxes are fed anew, and what was fed before is discarded.
    ///
    /// # Errors
    /// [`EdgeError`] if the document does not list `gateway`, or leaves a mailbox too few others;
    /// then nothing has changed.
    pub fn set_gateway(
        &mut self,
        now: Time,
        rng: &mut dyn CryptoRng,
        gateway: NodeId,
    ) -> Result<(), EdgeError> {
        route::check(&self.topology, &gateway)?;
        for owner in &mut self.owners {
            owner.place(now, rng, &self.topology, gateway)?;
        }
        self.config.gateway = gateway;
        self.home = Home::new(rng, self.topology.epoch(), gateway);
        self.former = None;
        self.coming = None;
        self.link = Link::Down;
        self.loops.forgive();
        for owner in &mut self.owners {
            owner.restart();
        }
        // Loops and reply blocks that were made lead to the gateway that is gone.
        let (stale, _) = self.slots.renew(|_| true);
        self.refuse_made(Refusal::UnknownHandle, stale);
        Ok(())
    }

    /// Orders the feeds that are due, and the parts of a descriptor.
    pub(super) fn tend(&mut self, now: Time, rng: &mut dyn CryptoRng) {
        if self.link == Link::Down {
            return;
        }
        let mut fed = vec![self.topology.epoch()];
        fed.extend(self.coming.iter().map(|(_, topology)| topology.epoch()));
        let feed_len = feed_surbs(self.topology.geometry(), 0);
        for place in 0..self.owners.len() {
            let room = self
                .slots
                .room()
                .min(MAX_FEEDS.saturating_sub(self.slots.feeds()));
            let Some(owner) = self.owners.get_mut(place) else {
                break;
            };
            let gap = self.slots.rate().mean_gap();
            for order in owner.due(now, rng, &fed, feed_len, room, gap) {
                self.slots.push_feed(Job::Feed { order, at: now });
            }
        }
        self.publish_due(now, rng);
    }

    /// Makes a feed, with reply blocks and route of this moment.
    pub(super) fn make_feed(
        &mut self,
        rng: &mut dyn CryptoRng,
        order: &FeedOrder,
        at: Time,
    ) -> Option<Ready> {
        let geometry = self.topology.geometry();
        let tags = self.serving.tags(&order.mailbox, TAGS);
        let expected = feed_surbs(geometry, 0);
        let made = self.reply_blocks_for(rng, order, feed_surbs(geometry, tags.len()));
        let owner = self
            .owners
            .iter_mut()
            .find(|owner| owner.mailbox() == order.mailbox)?;
        let Some(made) = made else {
            owner.unmade(order, expected);
            return None;
        };
        let ids: Vec<SurbId> = made
            .iter()
            .map(|(_, kept)| kept.recovery.identifier())
            .collect();
        let (counter, forgotten) = owner.made(at, order, expected, &ids);
        let draft = FeedDraft {
            epoch: order.epoch,
            counter,
            floor: owner.floor(),
            stranger_millihertz: owner.strangers.millihertz(),
            tags,
            surbs: made.iter().map(|(surb, _)| *surb).collect(),
        };
        let feed = sign_feed(&owner.key, &order.gateway, draft).to_bytes();
        let book = self.asking.book();
        made.into_iter().for_each(|(_, kept)| book.add(kept));
        book.forget(&forgotten);
        let route = route::outward(rng, &self.topology, &order.gateway).ok()?;
        let identifier = random_identifier(rng);
        let packet = Packet::wrap(rng, geometry, &route.hops, Address::FEED, identifier, &feed);
        Some(Ready {
            first: route.first,
            packet: packet.ok()?,
            kind: Kind::Feed,
        })
    }

    /// Reply blocks for a feed, by the keys of its epoch; `None` if there is no room or no way.
    fn reply_blocks_for(
        &mut self,
        rng: &mut dyn CryptoRng,
        order: &FeedOrder,
        count: usize,
    ) -> Option<Vec<([u8; SURB_LEN], Outstanding)>> {
        let purpose = Purpose::Mailbox {
            gateway: order.gateway,
            epoch: order.epoch,
        };
        if self.asking.book().room() < count {
            return None;
        }
        let coming = self
            .coming
            .as_ref()
            .map(|(home, topology)| (home, topology));
        let own = (&self.home, &self.topology);
        let mut known = std::iter::once(own).chain(coming);
        let (home, topology) = known.find(|(home, _)| home.epoch == order.epoch)?;
        (0..count)
            .map(|_| reply_block(rng, topology, home, purpose))
            .collect()
    }

    /// An item that came under a reply block of ours.
    pub(super) fn forwarded_item(
        &mut self,
        now: Time,
        rng: &mut dyn CryptoRng,
        fed: (&NodeId, Epoch),
        plaintext: &[u8],
    ) -> Result<(), Refusal> {
        let (account, _) = StockAccount::split(plaintext).ok_or(Refusal::Malformed)?;
        let gap = self.slots.rate().mean_gap();
        for owner in &mut self.owners {
            owner.account(now, rng, fed, account, gap);
        }
        // The layout of an item that comes over the link.
        let mut item = plaintext.to_vec();
        item.resize(self.topology.geometry().packet_len(), 0);
        self.item(now, &item)
    }

    /// The authorities' word on a descriptor.
    pub(super) fn verdict(&mut self, plaintext: &[u8]) -> Result<(), Refusal> {
        let reply = Reply::from_bytes(plaintext).map_err(|_| Refusal::Malformed)?;
        let again = Reply::Refused(wire::CallRefused::Busy);
        if self.publication.is_none() || reply == again {
            // Said before by another gateway, or to be asked again.
            return Ok(());
        }
        self.publication = None;
        self.tell(EdgeEvent::Verdict(reply))
    }

    fn publish_due(&mut self, now: Time, rng: &mut dyn CryptoRng) {
        let Some(publication) = &mut self.publication else {
            return;
        };
        if self.loops.alarms() {
            // It would wait in the queue, and be sent many times when the alarm is over.
            return;
        }
        match publication.due(now) {
            Due::NotYet => {}
            Due::GivenUp => self.publication = None,
            Due::Now => {
                let parts = publication.parts(self.topology.geometry());
                if let Some(jobs) = self.parts(rng, &parts) {
                    jobs.into_iter().for_each(|job| self.slots.push_feed(job));
                }
            }
        }
    }

    fn parts(&mut self, rng: &mut dyn CryptoRng, parts: &[Vec<u8>]) -> Option<Vec<Job>> {
        let gateway = self.publisher(rng)?;
        let id = MessageId(random_identifier(rng));
        let count = u8::try_from(parts.len()).ok()?;
        let book_room = self.asking.book().room();
        if self.slots.room() < parts.len() || book_room < parts.len() {
            return None;
        }
        let mut jobs = Vec::new();
        for (index, bytes) in (0..count).zip(parts) {
            let (surb, kept) = reply_block(rng, &self.topology, &self.home, Purpose::Verdict)?;
            self.asking.book().add(kept);
            let part = PublicationPart {
                id,
                index,
                count,
                surb,
                bytes: bytes.clone(),
            };
            jobs.push(Job::Part {
                route: route::outward(rng, &self.topology, &gateway).ok()?,
                payload: part.to_bytes(),
            });
        }
        Some(jobs)
    }

    /// A gateway to publish by: not the entry gateway, and rather none that keeps a mailbox.
    fn publisher(&self, rng: &mut dyn CryptoRng) -> Option<NodeId> {
        let keepers: Vec<NodeId> = self.owners.iter().flat_map(Owner::gateways).collect();
        let listed = self.topology.gateways().iter().map(|relay| relay.id);
        let others: Vec<NodeId> = listed.filter(|id| *id != self.config.gateway).collect();
        let (keeping, free): (Vec<_>, Vec<_>) =
            others.into_iter().partition(|id| keepers.contains(id));
        let from = if free.is_empty() { &keeping } else { &free };
        route::one_of(rng, &self.topology, from).ok()
    }
}

/// A reply block to `home`, as it is sent and as the book keeps it.
fn reply_block(
    rng: &mut dyn CryptoRng,
    topology: &Topology,
    home: &Home,
    purpose: Purpose,
) -> Option<([u8; SURB_LEN], Outstanding)> {
    let route = route::homeward(rng, topology, home).ok()?;
    let id = SurbId(random_identifier(rng));
    let (surb, recovery) = Surb::create(rng, &route.hops, id).ok()?;
    let kept = Outstanding {
        recovery,
        purpose,
        delay: route.delay,
        until: Time::MAX,
    };
    Some((surb.to_bytes(), kept))
}

/// A part of a descriptor, on its route.
pub(super) fn make_part(
    rng: &mut dyn CryptoRng,
    topology: &Topology,
    route: &Route,
    payload: &[u8],
) -> Option<Ready> {
    let (geometry, to) = (topology.geometry(), Address::PUBLISH);
    let identifier = random_identifier(rng);
    let packet = Packet::wrap(rng, geometry, &route.hops, to, identifier, payload);
    Some(Ready {
        first: route.first,
        packet: packet.ok()?,
        kind: Kind::Part,
    })
}

/// How many reply blocks a feed with so many tags has.
fn feed_surbs(geometry: Geometry, tags: usize) -> usize {
    let room = geometry
        .capacity()
        .saturating_sub(Feed::encoded_len(0, tags));
    (room / SURB_LEN).clamp(1, MAX_FEED_SURBS)
}

/// Feeds that wait for slots.
const MAX_FEEDS: usize = 64;

/// Tags announced in a feed: more would take the place of reply blocks.
const TAGS: usize = 24;
