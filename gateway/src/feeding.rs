//! Feeds in, items out under the owner's reply blocks (docs/spec/message.md, 10).

use std::collections::VecDeque;
use std::time::Duration;

use directory::{Place, Topology};
use link::Digest;
use sphinx::{Geometry, Packet, Surb};
use wire::{Decode, Feed, MailboxAddress, NodeId, Refusal, Time};

use crate::fed::{CheckedFeed, FedBounds, Outbound, StockAccount, Usable};
use crate::gateway::Gateway;

/// An item, and the packet that it left as.
pub(crate) struct Forwarded {
    pub(crate) item: Digest,
    pub(crate) packet: Digest,
}

impl Gateway {
    /// Takes a feed: cheap checks first, the signature last.
    pub(crate) fn feed(&mut self, now: Time, plaintext: &[u8]) -> Result<(), Refusal> {
        let feed = Feed::from_bytes(plaintext).map_err(|_| Refusal::FeedInvalid)?;
        let claimed = MailboxAddress::of_key(&feed.key);
        if !self.fed.is_news(&claimed, feed.counter) {
            return Err(Refusal::FeedStale);
        }
        let topology = self.gate.topology(feed.epoch).ok_or(Refusal::FeedStale)?;
        let surbs = checked_surbs(topology, &feed)?;
        let mailbox = message::verify_feed(&feed, &self.id).map_err(|_| Refusal::FeedInvalid)?;
        let checked = CheckedFeed {
            mailbox,
            epoch: feed.epoch,
            counter: feed.counter,
            floor: feed.floor,
            stranger_millihertz: feed.stranger_millihertz,
            tags: feed.tags,
            surbs,
        };
        self.fed.feed(now, &self.fed_bounds(), checked)?;
        self.ledger.consumed += 1;
        Ok(())
    }

    /// Queues an item for a mailbox that is fed.
    pub(crate) fn put_in_fed_mailbox(
        &mut self,
        now: Time,
        mailbox: MailboxAddress,
        plaintext: &[u8],
    ) -> Result<(), Refusal> {
        let item = fed_item(self.geometry, plaintext)?;
        self.fed.put(now, &self.fed_bounds(), mailbox, item)
    }

    /// Notes from now on what items leave as, for a tap.
    pub(crate) fn note_forwarded(&mut self) {
        self.forwarded = Some(VecDeque::new());
    }

    /// What an item left as.
    pub(crate) fn poll_forwarded(&mut self) -> Option<Forwarded> {
        self.forwarded.as_mut()?.pop_front()
    }

    /// Whether an item for `address` leaves under a reply block.
    pub(crate) fn keeps_fed(&self, address: &MailboxAddress) -> bool {
        self.fed.keeps(address)
    }

    /// Builds ahead what leaves for mailboxes' owners on the next ticks of the own clock.
    ///
    /// The clock decides when they leave; it ticks as it did before there was anything to send.
    pub(crate) fn prepare_items(&mut self, now: Time) {
        while self.layer.wants_item() {
            let Some(outbound) = self.next_outbound(now) else {
                return;
            };
            match self.wrapped(outbound) {
                Ok((mix, packet)) => self.layer.hold_item(mix, packet),
                Err(refusal) => self.ledger.refused.add(refusal),
            }
        }
    }

    fn next_outbound(&mut self, now: Time) -> Option<Outbound> {
        let current = self.layer.epoch()?;
        let windows = &self.windows;
        self.fed.next(|epoch| match windows.get(&epoch) {
            Some(window) if epoch <= current && now < window.until => {
                if window.until.since(now) > LAST_CALL {
                    Usable::Yes
                } else {
                    Usable::Hardly
                }
            }
            _ => Usable::No,
        })
    }

    fn wrapped(&mut self, outbound: Outbound) -> Result<(NodeId, Packet), Refusal> {
        let Outbound {
            item,
            surb,
            account,
        } = outbound;
        let mix = NodeId(surb.first_hop().0);
        let mut payload = Vec::with_capacity(StockAccount::LEN + item.len());
        payload.extend_from_slice(&account.to_bytes());
        payload.extend_from_slice(&item);
        let packet = surb.reply(self.geometry, &payload);
        let packet = packet.map_err(|_| Refusal::Malformed)?;
        if let Some(forwarded) = &mut self.forwarded
            && forwarded.len() < MAX_FORWARDED
        {
            forwarded.push_back(Forwarded {
                item: Digest::of(&item),
                packet: Digest::of(packet.as_bytes()),
            });
        }
        Ok((mix, packet))
    }

    fn fed_bounds(&self) -> FedBounds {
        FedBounds {
            mailboxes: self.limits.fed_mailboxes,
            stock: self.limits.fed_stock,
            items: self.limits.fed_items,
        }
    }
}

/// An item as it waits: what was sent, padded to one length.
pub(crate) fn fed_item(geometry: Geometry, plaintext: &[u8]) -> Result<Box<[u8]>, Refusal> {
    let length = geometry.mailbox_capacity();
    if plaintext.len() > length {
        return Err(Refusal::Malformed);
    }
    let mut item = plaintext.to_vec();
    item.resize(length, 0);
    Ok(item.into_boxed_slice())
}

/// The feed's reply blocks, if every one of them begins at a mix of layer 1 of its epoch.
fn checked_surbs(topology: &Topology, feed: &Feed) -> Result<Vec<Surb>, Refusal> {
    let begins = |surb: &Surb| topology.place(&NodeId(surb.first_hop().0)) == Some(Place::Layer1);
    feed.surbs
        .iter()
        .map(|bytes| {
            let surb = Surb::from_bytes(bytes)?;
            begins(&surb).then_some(surb).ok_or(Refusal::SurbInvalid)
        })
        .collect()
}

/// When an epoch's keys go so soon, a packet may not get through three mixes any more: then newer
/// reply blocks are taken, if there are any.
const LAST_CALL: Duration = Duration::from_secs(4);

/// What a tap may still want to know.
const MAX_FORWARDED: usize = 256;
