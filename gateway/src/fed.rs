//! Mailboxes whose owner feeds them with reply blocks (`reach = "anonymous"`).
//!
//! The owner's feeds are all that this gateway has of it: a stock of reply blocks for each epoch,
//! the tags that go first, and the rate for everybody else. Items wait here, bounded, until
//! there is a reply block for each. Nothing here knows gateways, links or clocks.

mod counters;
mod tags;

use std::collections::{BTreeMap, VecDeque};

use sphinx::Surb;
use traffic::Rate;
use wire::{AdmissionTag, Epoch, MailboxAddress, Refusal, Time};

use crate::bucket::Bucket;
use counters::Counters;
use tags::Tags;

/// Bounds of the mailboxes that are fed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FedBounds {
    /// Mailboxes.
    pub(crate) mailboxes: usize,
    /// Reply blocks of one mailbox and epoch.
    pub(crate) stock: usize,
    /// Items that wait in one mailbox: so many announced, and as many others.
    pub(crate) items: usize,
}

/// A feed whose signature is its owner's and whose reply blocks are good.
pub(crate) struct CheckedFeed {
    pub(crate) mailbox: MailboxAddress,
    pub(crate) epoch: Epoch,
    pub(crate) counter: u64,
    pub(crate) floor: u64,
    pub(crate) stranger_millihertz: u32,
    pub(crate) tags: Vec<AdmissionTag>,
    pub(crate) surbs: Vec<Surb>,
}

/// What an owner learns with every item, in place of any other acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StockAccount {
    /// The newest feed taken of the epoch of the reply block that brings this.
    pub(crate) counter: u64,
    /// Reply blocks left of that epoch.
    pub(crate) left: u32,
    /// Items that wait behind this one.
    pub(crate) waiting: u32,
}

impl StockAccount {
    /// Length of the encoding.
    pub(crate) const LEN: usize = 16;

    /// As it stands in front of an item (docs/spec/message.md, 10.5).
    pub(crate) fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..8].copy_from_slice(&self.counter.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.left.to_be_bytes());
        bytes[12..].copy_from_slice(&self.waiting.to_be_bytes());
        bytes
    }
}

/// An item, and the reply block by which it leaves.
pub(crate) struct Outbound {
    pub(crate) item: Box<[u8]>,
    pub(crate) surb: Surb,
    pub(crate) account: StockAccount,
}

/// Whether reply blocks of an epoch can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Usable {
    /// Yes.
    Yes,
    /// Only if there are no others: their keys are about to go.
    Hardly,
    /// No: their keys are not in force.
    No,
}

/// One mailbox.
struct Mailbox {
    counters: Counters,
    /// The epoch of the feed with the highest counter.
    newest: (u64, Epoch),
    stranger_millihertz: u32,
    strangers: Option<Bucket>,
    stocks: BTreeMap<Epoch, Stock>,
    tags: Tags,
    announced: VecDeque<Box<[u8]>>,
    others: VecDeque<Box<[u8]>>,
}

/// Reply blocks of one epoch.
#[derive(Default)]
struct Stock {
    /// The highest counter of its feeds.
    newest: u64,
    blocks: VecDeque<Stocked>,
}

/// A reply block, and the feed that brought it.
struct Stocked {
    counter: u64,
    surb: Surb,
}

/// Every mailbox that is fed here.
#[derive(Default)]
pub(crate) struct FedMailboxes {
    mailboxes: BTreeMap<MailboxAddress, Mailbox>,
    /// Mailboxes with items, in the order in which they are served.
    turns: VecDeque<MailboxAddress>,
}

impl FedMailboxes {
    /// Whether a feed with this counter can be news: asked before its signature is checked.
    pub(crate) fn is_news(&self, mailbox: &MailboxAddress, counter: u64) -> bool {
        let known = self.mailboxes.get(mailbox);
        known.map_or(counter > 0, |mailbox| mailbox.counters.is_news(counter))
    }

    /// Takes a feed. Above the bound the oldest reply blocks go: the owner waits for the newest.
    ///
    /// # Errors
    /// [`Refusal::FeedStale`] unless the counter is news, [`Refusal::Overload`] if it is a new
    /// mailbox and there is no room.
    pub(crate) fn feed(
        &mut self,
        now: Time,
        bounds: &FedBounds,
        feed: CheckedFeed,
    ) -> Result<(), Refusal> {
        if !self.mailboxes.contains_key(&feed.mailbox) && self.mailboxes.len() >= bounds.mailboxes {
            return Err(Refusal::Overload);
        }
        let mailbox = self
            .mailboxes
            .entry(feed.mailbox)
            .or_insert_with(Mailbox::new);
        mailbox.feed(now, bounds, feed)
    }

    /// Whether `address` is kept here.
    pub(crate) fn keeps(&self, address: &MailboxAddress) -> bool {
        self.mailboxes.contains_key(address)
    }

    /// Queues an item: at its place if its tag was announced, else if the owner's rate for
    /// strangers allows it.
    ///
    /// # Errors
    /// [`Refusal::UnknownMailbox`], [`Refusal::MailboxFull`] at the bound,
    /// [`Refusal::NotAdmitted`] above the strangers' rate.
    pub(crate) fn put(
        &mut self,
        now: Time,
        bounds: &FedBounds,
        address: MailboxAddress,
        item: Box<[u8]>,
    ) -> Result<(), Refusal> {
        let mailbox = self.mailboxes.get_mut(&address);
        let mailbox = mailbox.ok_or(Refusal::UnknownMailbox)?;
        let idle = mailbox.waiting() == 0;
        mailbox.put(now, bounds, item)?;
        if idle {
            self.turns.push_back(address);
        }
        Ok(())
    }

    /// The next item that can leave, of each mailbox in turn. The oldest reply blocks go first.
    pub(crate) fn next(&mut self, usable: impl Fn(Epoch) -> Usable) -> Option<Outbound> {
        for _ in 0..self.turns.len() {
            let address = self.turns.pop_front()?;
            let Some(mailbox) = self.mailboxes.get_mut(&address) else {
                continue;
            };
            let outbound = mailbox.next(&usable);
            if mailbox.waiting() > 0 {
                self.turns.push_back(address);
            }
            if outbound.is_some() {
                return outbound;
            }
        }
        None
    }

    /// Forgets reply blocks of epochs before `oldest`, and mailboxes not fed since. Returns how
    /// many items waited in those.
    pub(crate) fn close_before(&mut self, oldest: Epoch) -> u64 {
        for mailbox in self.mailboxes.values_mut() {
            mailbox.stocks.retain(|epoch, _| *epoch >= oldest);
        }
        let over = |mailbox: &Mailbox| mailbox.newest.1 < oldest;
        let closed = self.mailboxes.values().filter(|mailbox| over(mailbox));
        let items = closed.map(|mailbox| mailbox.waiting() as u64).sum();
        self.mailboxes.retain(|_, mailbox| !over(mailbox));
        self.turns
            .retain(|address| self.mailboxes.contains_key(address));
        items
    }

    /// Lets go of all items; how many there were.
    pub(crate) fn empty(&mut self) -> u64 {
        let items = self.held();
        for mailbox in self.mailboxes.values_mut() {
            mailbox.announced.clear();
            mailbox.others.clear();
        }
        self.turns.clear();
        items
    }

    /// How many mailboxes there are.
    pub(crate) fn count(&self) -> usize {
        self.mailboxes.len()
    }

    /// How many items wait in all of them.
    pub(crate) fn held(&self) -> u64 {
        let waiting = |mailbox: &Mailbox| mailbox.waiting() as u64;
        self.mailboxes.values().map(waiting).sum()
    }

    /// How many reply blocks are in stock, of all mailboxes and epochs.
    pub(crate) fn stock(&self) -> usize {
        let stocks = self.mailboxes.values().flat_map(|m| m.stocks.values());
        stocks.map(|stock| stock.blocks.len()).sum()
    }
}

impl Mailbox {
    fn new() -> Self {
        Self {
            counters: Counters::default(),
            newest: (0, Epoch(0)),
            stranger_millihertz: 0,
            strangers: None,
            stocks: BTreeMap::new(),
            tags: Tags::default(),
            announced: VecDeque::new(),
            others: VecDeque::new(),
        }
    }

    fn feed(&mut self, now: Time, bounds: &FedBounds, feed: CheckedFeed) -> Result<(), Refusal> {
        if !self.counters.take(feed.counter) {
            return Err(Refusal::FeedStale);
        }
        if self.counters.close_below(feed.floor) {
            for stock in self.stocks.values_mut() {
                stock.blocks.retain(|stocked| stocked.counter >= feed.floor);
            }
        }
        if feed.counter >= self.newest.0 {
            self.newest = (feed.counter, feed.epoch);
            self.admit_strangers(now, feed.stranger_millihertz);
        }
        self.tags.announce(feed.tags);
        let stock = self.stocks.entry(feed.epoch).or_default();
        let counter = feed.counter;
        stock.newest = stock.newest.max(counter);
        let surbs = feed.surbs.into_iter();
        stock
            .blocks
            .extend(surbs.map(|surb| Stocked { counter, surb }));
        let surplus = stock.blocks.len().saturating_sub(bounds.stock);
        stock.blocks.drain(..surplus);
        Ok(())
    }

    fn admit_strangers(&mut self, now: Time, millihertz: u32) {
        if self.stranger_millihertz == millihertz {
            return;
        }
        self.stranger_millihertz = millihertz;
        self.strangers = match (Rate::from_millihertz(millihertz), self.strangers) {
            (Some(rate), Some(mut bucket)) => {
                bucket.set_rate(now, rate);
                Some(bucket)
            }
            (Some(rate), None) => Some(Bucket::of_strangers(now, rate)),
            (None, _) => None,
        };
    }

    fn put(&mut self, now: Time, bounds: &FedBounds, item: Box<[u8]>) -> Result<(), Refusal> {
        let tag = item.first_chunk().map(|tag| AdmissionTag(*tag));
        if tag.is_some_and(|tag| self.tags.holds(&tag)) {
            if self.announced.len() >= bounds.items {
                return Err(Refusal::MailboxFull);
            }
            tag.iter().for_each(|tag| self.tags.spend(tag));
            self.announced.push_back(item);
            return Ok(());
        }
        if self.others.len() >= bounds.items {
            return Err(Refusal::MailboxFull);
        }
        let admitted = self.strangers.as_mut().map(|bucket| bucket.take(now));
        if admitted != Some(true) {
            return Err(Refusal::NotAdmitted);
        }
        self.others.push_back(item);
        Ok(())
    }

    fn next(&mut self, usable: impl Fn(Epoch) -> Usable) -> Option<Outbound> {
        if self.waiting() == 0 {
            return None;
        }
        let (surb, counter, left) = self.spend(usable)?;
        let announced = self.announced.pop_front();
        let item = announced.or_else(|| self.others.pop_front())?;
        let account = StockAccount {
            counter,
            left: u32::try_from(left).unwrap_or(u32::MAX),
            waiting: u32::try_from(self.waiting()).unwrap_or(u32::MAX),
        };
        Some(Outbound {
            item,
            surb,
            account,
        })
    }

    /// The oldest reply block whose epoch lasts, else the oldest; with the newest feed of its
    /// epoch, and how many are left of that.
    fn spend(&mut self, usable: impl Fn(Epoch) -> Usable) -> Option<(Surb, u64, usize)> {
        let stocked = |wanted: Usable| {
            self.stocks
                .iter()
                .find(|(epoch, stock)| !stock.blocks.is_empty() && usable(**epoch) == wanted)
                .map(|(epoch, _)| *epoch)
        };
        let epoch = stocked(Usable::Yes).or_else(|| stocked(Usable::Hardly))?;
        let stock = self.stocks.get_mut(&epoch)?;
        let stocked = stock.blocks.pop_front()?;
        Some((stocked.surb, stock.newest, stock.blocks.len()))
    }

    fn waiting(&self) -> usize {
        self.announced.len() + self.others.len()
    }
}

#[cfg(test)]
mod tests;
