//! Owning mailboxes that nobody can trace to their owner (`reach = "anonymous"`;
//! docs/spec/message.md, 10): which gateways keep them, and when to feed them.
//!
//! All that comes back of a feed is the account in front of each item. It is absolute: the newest
//! feed of an epoch that the gateway took, and how many of its reply blocks are left. What was fed
//! later is presumed to be there, until an account says otherwise. A gateway without a reply block
//! can say nothing, so that what is presumed is never trusted for long: when no account comes, the
//! timer feeds, soon at first and then ever more rarely.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use directory::{Identity, Topology};
use rand::{CryptoRng, RngExt};
use traffic::Rate;
use wire::{Epoch, MailboxAddress, NodeId, SurbId, Time};

use crate::EdgeError;
use crate::layout::to_usize;

/// A mailbox that its owner feeds through the mixes. No `Debug`: it holds a key.
#[derive(Clone)]
pub struct AnonymousMailbox {
    /// The key made for it.
    pub key: Arc<Identity>,
    /// What each gateway may let in of senders whose tags were not announced.
    pub strangers: Rate,
}

/// The two gateways that keep the mailbox of `key`, of those that are `listed`.
///
/// They are drawn uniformly by the key itself, so that they stay the same for the mailbox's life,
/// across restarts too, unless one is not listed any more. The entry gateway is never one of
/// them: it knows the owner's address.
#[must_use]
pub fn mailbox_gateways(
    key: &Identity,
    listed: impl IntoIterator<Item = NodeId>,
    entry: Option<NodeId>,
) -> Vec<NodeId> {
    let secret = key.derive(GATEWAYS, 0);
    let place = |gateway: &NodeId| {
        blake3::keyed_hash(&secret, &gateway.0)
            .as_bytes()
            .to_owned()
    };
    let mut gateways: Vec<NodeId> = listed
        .into_iter()
        .filter(|gateway| Some(*gateway) != entry)
        .collect();
    gateways.sort_by_cached_key(place);
    gateways.truncate(KEEPERS);
    gateways
}

/// A feed to be made: which mailbox, at which gateway, by whose keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FeedOrder {
    pub(crate) mailbox: MailboxAddress,
    pub(crate) gateway: NodeId,
    pub(crate) epoch: Epoch,
}

/// What stands in front of an item that came under a reply block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StockAccount {
    /// The newest feed that the gateway took of the epoch of the reply block that brought this.
    pub(crate) counter: u64,
    /// Reply blocks left of that epoch.
    pub(crate) left: u32,
    /// Items that wait there.
    pub(crate) waiting: u32,
}

impl StockAccount {
    /// Reads the account in front of `item`, and what follows it.
    pub(crate) fn split(item: &[u8]) -> Option<(Self, &[u8])> {
        let (counter, rest) = item.split_first_chunk()?;
        let (left, rest) = rest.split_first_chunk()?;
        let (waiting, rest) = rest.split_first_chunk()?;
        let account = Self {
            counter: u64::from_be_bytes(*counter),
            left: u32::from_be_bytes(*left),
            waiting: u32::from_be_bytes(*waiting),
        };
        Some((account, rest))
    }
}

/// One mailbox, as its owner sees it.
pub(crate) struct Owner {
    pub(crate) key: Arc<Identity>,
    pub(crate) strangers: Rate,
    mailbox: MailboxAddress,
    target: usize,
    /// The counter of the last feed.
    counter: u64,
    /// Reply blocks of feeds before this one lead nowhere.
    floor: u64,
    keepers: Vec<Keeper>,
}

/// A gateway that keeps the mailbox.
struct Keeper {
    gateway: NodeId,
    stocks: BTreeMap<Epoch, Stock>,
    refeed_at: Time,
    /// Feeds by the timer since the last account.
    unanswered: u32,
    /// Reply blocks made for it, oldest first: those behind the last so many are not waited for.
    issued: VecDeque<SurbId>,
}

/// What is thought to be at a gateway for one epoch.
#[derive(Default)]
struct Stock {
    /// By the last account: newest feed, reply blocks left, items that wait.
    known: Option<StockAccount>,
    /// Feeds that left since, with how many reply blocks each has.
    since: VecDeque<(u64, usize)>,
    /// Reply blocks of feeds that are ordered and not made.
    ordered: usize,
}

impl Owner {
    /// An owner whose feeds go to the document's gateways but `entry`.
    ///
    /// # Errors
    /// [`EdgeError::TooFewGateways`] unless two are left.
    pub(crate) fn new(
        now: Time,
        rng: &mut dyn CryptoRng,
        mailbox: AnonymousMailbox,
        topology: &Topology,
        entry: NodeId,
    ) -> Result<Self, EdgeError> {
        let first = micros(now);
        let mut owner = Self {
            mailbox: mailbox.key.mailbox(),
            target: target(mailbox.strangers),
            key: mailbox.key,
            strangers: mailbox.strangers,
            counter: first,
            floor: first,
            keepers: Vec::new(),
        };
        owner.place(now, rng, topology, entry)?;
        Ok(owner)
    }

    /// Goes by `topology` and `entry`: gateways that are listed stay.
    ///
    /// # Errors
    /// [`EdgeError::TooFewGateways`]; then it stays where it was.
    pub(crate) fn place(
        &mut self,
        now: Time,
        rng: &mut dyn CryptoRng,
        topology: &Topology,
        entry: NodeId,
    ) -> Result<(), EdgeError> {
        let listed = topology.gateways().iter().map(|relay| relay.id);
        let gateways = mailbox_gateways(&self.key, listed, Some(entry));
        if gateways.len() < KEEPERS {
            return Err(EdgeError::TooFewGateways);
        }
        self.keepers
            .retain(|keeper| gateways.contains(&keeper.gateway));
        for gateway in gateways {
            if self.keepers.iter().all(|keeper| keeper.gateway != gateway) {
                self.keepers.push(Keeper {
                    gateway,
                    stocks: BTreeMap::new(),
                    refeed_at: now.after(jittered(rng, REFEED_FIRST)),
                    unanswered: 0,
                    issued: VecDeque::new(),
                });
            }
        }
        Ok(())
    }

    /// Everything fed so far leads nowhere any more.
    pub(crate) fn restart(&mut self) {
        self.floor = self.counter.saturating_add(1);
        for keeper in &mut self.keepers {
            keeper.stocks.clear();
        }
    }

    /// Forgets stocks of epochs before `epoch`: they are not fed any more.
    pub(crate) fn turn(&mut self, epoch: Epoch) {
        for keeper in &mut self.keepers {
            keeper.stocks.retain(|stocked, _| *stocked >= epoch);
        }
    }

    /// What is to be fed now, for the epochs `fed`, the one in force first; `room` feeds at most.
    /// `gap` is the own slots' mean.
    pub(crate) fn due(
        &mut self,
        now: Time,
        rng: &mut dyn CryptoRng,
        fed: &[Epoch],
        feed_len: usize,
        room: usize,
        gap: Duration,
    ) -> Vec<FeedOrder> {
        let mut orders = Vec::new();
        for keeper in &mut self.keepers {
            for (place, epoch) in fed.iter().enumerate() {
                let stock = keeper.stocks.entry(*epoch).or_default();
                let mut feeds = stock.missing(self.target) / feed_len.max(1);
                if place == 0 && keeper.refeed_at <= now {
                    keeper.unanswered = keeper.unanswered.saturating_add(1);
                    keeper.refeed_at = now.after(jittered(rng, patience(keeper.unanswered, gap)));
                    feeds = feeds.max(1);
                }
                let feeds = feeds.min(room.saturating_sub(orders.len()));
                stock.ordered += feeds * feed_len;
                orders.extend((0..feeds).map(|_| FeedOrder {
                    mailbox: self.mailbox,
                    gateway: keeper.gateway,
                    epoch: *epoch,
                }));
            }
        }
        orders
    }

    /// Notes that an ordered feed could not be made; the next one is ordered when it is due.
    pub(crate) fn unmade(&mut self, order: &FeedOrder, feed_len: usize) {
        if let Some(stock) = self.stock(order) {
            stock.ordered = stock.ordered.saturating_sub(feed_len);
        }
    }

    /// Numbers a feed that is made now, and notes its reply blocks; returns the counter, and the
    /// reply blocks that are not waited for any more.
    pub(crate) fn made(
        &mut self,
        now: Time,
        order: &FeedOrder,
        feed_len: usize,
        ids: &[SurbId],
    ) -> (u64, Vec<SurbId>) {
        let counter = micros(now).max(self.counter.saturating_add(1));
        self.counter = counter;
        let keeper = self.keepers.iter_mut().find(|k| k.gateway == order.gateway);
        let Some(keeper) = keeper else {
            return (counter, ids.to_vec());
        };
        keeper.issued.extend(ids);
        let surplus = keeper.issued.len().saturating_sub(MAX_ISSUED);
        let forgotten = keeper.issued.drain(..surplus).collect();
        if let Some(stock) = keeper.stocks.get_mut(&order.epoch) {
            stock.ordered = stock.ordered.saturating_sub(feed_len);
            stock.since.push_back((counter, ids.len()));
            if stock.since.len() > MAX_SINCE {
                stock.since.pop_front();
            }
        }
        (counter, forgotten)
    }

    /// Takes the account that came with an item from `gateway`, under a reply block of `epoch`.
    pub(crate) fn account(
        &mut self,
        now: Time,
        rng: &mut dyn CryptoRng,
        (gateway, epoch): (&NodeId, Epoch),
        account: StockAccount,
        gap: Duration,
    ) {
        if account.counter < self.floor || account.counter > self.counter {
            return;
        }
        let keeper = self.keepers.iter_mut().find(|k| k.gateway == *gateway);
        let Some(keeper) = keeper else { return };
        keeper.unanswered = 0;
        keeper.refeed_at = now.after(jittered(rng, patience(keeper.unanswered, gap)));
        let stock = keeper.stocks.get_mut(&epoch);
        if let Some(stock) = stock.filter(|stock| stock.has_fed(account.counter)) {
            stock.take_account(account);
        }
    }

    /// The gateways that keep it.
    pub(crate) fn gateways(&self) -> Vec<NodeId> {
        self.keepers.iter().map(|keeper| keeper.gateway).collect()
    }

    pub(crate) fn mailbox(&self) -> MailboxAddress {
        self.mailbox
    }

    pub(crate) fn floor(&self) -> u64 {
        self.floor
    }

    fn stock(&mut self, order: &FeedOrder) -> Option<&mut Stock> {
        let keeper = self.keepers.iter_mut().find(|k| k.gateway == order.gateway);
        keeper?.stocks.get_mut(&order.epoch)
    }
}

impl Stock {
    /// Reply blocks that are missing.
    fn missing(&self, target: usize) -> usize {
        let known = self.known.map_or((0, 0), |account| {
            (to_usize(account.left), to_usize(account.waiting))
        });
        let (left, waiting) = (known.0, known.1.min(MAX_TARGET));
        let fed: usize = self.since.iter().map(|(_, count)| count).sum();
        let wanted = (target + waiting).min(MAX_TARGET);
        wanted.saturating_sub(left + fed + self.ordered)
    }

    fn has_fed(&self, counter: u64) -> bool {
        let known = self.known.is_some_and(|known| known.counter == counter);
        known || self.since.iter().any(|(fed, _)| *fed == counter)
    }

    fn take_account(&mut self, account: StockAccount) {
        // Items overtake each other: what an older account says is past, or at least not less.
        let newer = self.known.is_none_or(|known| {
            account.counter > known.counter
                || (account.counter == known.counter && account.left < known.left)
        });
        if newer {
            self.known = Some(account);
            self.since.retain(|(counter, _)| *counter > account.counter);
        }
    }
}

/// How long to wait for an account: twice as long after each feed by the timer, and a few slots
/// at least, so that the feeds of slow participants do not fill their slots.
fn patience(unanswered: u32, gap: Duration) -> Duration {
    let first = REFEED_FIRST.max(gap * SLOTS_BETWEEN);
    let doubled = first.saturating_mul(1 << unanswered.min(8));
    doubled.min(REFEED.max(first))
}

/// What a mailbox's stock is kept at: what strangers may take in two round trips of three seconds,
/// and two feeds.
fn target(strangers: Rate) -> usize {
    let taken = strangers.millihertz().saturating_mul(6) / 1_000;
    (to_usize(taken) + 40).min(MAX_TARGET)
}

fn micros(now: Time) -> u64 {
    now.as_nanos() / 1_000
}

fn jittered(rng: &mut dyn CryptoRng, span: Duration) -> Duration {
    span.mul_f64(rng.random_range(0.75..1.25))
}

/// Gateways that keep a mailbox.
pub(crate) const KEEPERS: usize = 2;

/// Below what a gateway holds of one mailbox and epoch (docs/spec/message.md, 10.4).
const MAX_TARGET: usize = 240;

/// From the last account to a feed by the timer, in case all of those before it were lost.
const REFEED_FIRST: Duration = Duration::from_secs(5);

/// Between two feeds of an owner who has long heard nothing.
const REFEED: Duration = Duration::from_secs(60);

/// Slots, on average, between two feeds by the timer of one gateway.
const SLOTS_BETWEEN: u32 = 40;

/// Reply blocks of one gateway that are waited for: a stock for each of two epochs, and as many
/// under way.
const MAX_ISSUED: usize = 1_024;

/// Feeds presumed to be at a gateway that says nothing: more than a stock, whatever they carry.
/// Short packets carry three reply blocks; whoever forgets feeds that it presumes makes new ones
/// without end.
const MAX_SINCE: usize = 256;

const GATEWAYS: &str = "subrosa 2026-11 mailbox gateways";

#[cfg(test)]
mod tests;
