//! What gateways do for mailboxes that are fed (docs/spec/message.md, 10), as far as edges see it:
//! every feed is taken, and nothing waits but for a reply block.

use std::collections::{BTreeMap, VecDeque};

use message::verify_feed;
use sphinx::{Geometry, Packet, Surb};
use wire::{Decode, Feed, MailboxAddress, NodeId};

/// The mailboxes that are fed, by gateway.
#[derive(Default)]
pub(crate) struct Keepers(BTreeMap<(NodeId, MailboxAddress), Kept>);

#[derive(Default)]
struct Kept {
    counter: u64,
    stock: VecDeque<(u64, Surb)>,
    items: VecDeque<Vec<u8>>,
}

impl Keepers {
    /// Takes a feed, and returns what can leave by it.
    pub(crate) fn feed(&mut self, gateway: NodeId, plaintext: &[u8]) -> Vec<(NodeId, Packet)> {
        let feed = Feed::from_bytes(plaintext).unwrap();
        let mailbox = verify_feed(&feed, &gateway).unwrap();
        let kept = self.0.entry((gateway, mailbox)).or_default();
        kept.counter = kept.counter.max(feed.counter);
        kept.stock.retain(|(counter, _)| *counter >= feed.floor);
        for surb in &feed.surbs {
            let surb = Surb::from_bytes(surb).unwrap();
            kept.stock.push_back((feed.counter, surb));
        }
        kept.leaving()
    }

    /// Takes an item, if `gateway` keeps its mailbox, and returns what can leave.
    pub(crate) fn put(
        &mut self,
        gateway: NodeId,
        mailbox: MailboxAddress,
        item: &[u8],
    ) -> Option<Vec<(NodeId, Packet)>> {
        let kept = self.0.get_mut(&(gateway, mailbox))?;
        kept.items.push_back(item.to_vec());
        Some(kept.leaving())
    }

    /// Gateways that have reply blocks of a mailbox.
    pub(crate) fn fed(&self, mailbox: &MailboxAddress) -> Vec<NodeId> {
        let stocked = self.0.iter().filter(|(_, kept)| !kept.stock.is_empty());
        let of = stocked.filter(|((_, kept), _)| kept == mailbox);
        of.map(|((gateway, _), _)| *gateway).collect()
    }
}

impl Kept {
    fn leaving(&mut self) -> Vec<(NodeId, Packet)> {
        let mut leaving = Vec::new();
        while !self.items.is_empty()
            && let Some((_, surb)) = self.stock.pop_front()
        {
            let item = self.items.pop_front().unwrap();
            let mut payload = self.counter.to_be_bytes().to_vec();
            payload.extend((self.stock.len() as u32).to_be_bytes());
            payload.extend((self.items.len() as u32).to_be_bytes());
            payload.extend(item);
            let first = NodeId(surb.first_hop().0);
            let packet = surb.reply(Geometry::DEFAULT, &payload).unwrap();
            leaving.push((first, packet));
        }
        leaving
    }
}
