//! A message on its way to a mailbox: what left, what arrived, what to send again
//! (docs/spec/message.md, 5 and 7).
//!
//! Nothing is sent twice. Whatever is missing is made good by fresh symbols of the same message,
//! on fresh routes, with fresh reply blocks.

use std::time::Duration;

use wire::{NodeId, Time};

use crate::ask::Recipient;
use crate::exchange::ExchangeSecret;
use crate::fragment::{MAX_PACKETS, Symbols};
use crate::repair::{Loss, Plan};
use crate::sack::Sack;

/// A message that is being sent. No `Debug`: it holds what is said.
pub(crate) struct Outgoing {
    pub(crate) secret: ExchangeSecret,
    pub(crate) to: Recipient,
    symbols: Symbols,
    /// Reply blocks in each packet.
    surbs: usize,
    packets: Vec<Packet>,
    /// Packets of `packets` that have not left.
    waiting: usize,
    /// Sent again so many times without a word from the other side.
    unheard: u32,
    /// The other side has it whole.
    arrived: bool,
}

/// One packet, by its index.
#[derive(Default)]
struct Packet {
    /// Which of the mailbox's gateways.
    gateway: Option<NodeId>,
    /// Chosen for the mixes.
    delay: Duration,
    /// The longest that was chosen for one of its reply blocks.
    back: Duration,
    left: Option<Time>,
    fate: Fate,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Fate {
    #[default]
    Open,
    Arrived,
    Lost,
}

/// The packets to be made next: a range of indices.
pub(crate) type Burst = std::ops::Range<u32>;

impl Outgoing {
    /// A message to be sent by `plan`, and its first packets.
    pub(crate) fn new(
        secret: ExchangeSecret,
        to: Recipient,
        symbols: Symbols,
        plan: Plan,
    ) -> (Self, Burst) {
        let mut outgoing = Self {
            secret,
            to,
            symbols,
            surbs: plan.surbs,
            packets: Vec::new(),
            waiting: 0,
            unheard: 0,
            arrived: false,
        };
        let burst = outgoing.more(plan.packets);
        (outgoing, burst)
    }

    /// The symbol of a packet, and one beyond the highest index so far.
    pub(crate) fn fragment(&mut self, index: u32) -> (zeroize::Zeroizing<Vec<u8>>, u32) {
        (self.symbols.symbol(index), self.end())
    }

    /// Notes that a packet was made: for which gateway, and with which delays.
    pub(crate) fn made(&mut self, index: u32, gateway: NodeId, delay: Duration, back: Duration) {
        if let Some(packet) = self.packet(index) {
            packet.gateway = Some(gateway);
            packet.delay = delay;
            packet.back = back;
        }
    }

    /// Notes that a packet left.
    pub(crate) fn left(&mut self, now: Time, index: u32) {
        if let Some(packet) = self.packet(index)
            && packet.left.is_none()
        {
            packet.left = Some(now);
            self.waiting = self.waiting.saturating_sub(1);
        }
    }

    /// Notes that a packet will not leave after all: made good like one that was lost.
    pub(crate) fn dropped(&mut self, index: u32) {
        if let Some(packet) = self.packet(index)
            && packet.left.is_none()
            && packet.fate == Fate::Open
        {
            packet.fate = Fate::Lost;
            self.waiting = self.waiting.saturating_sub(1);
        }
    }

    /// Whether all packets so far have left.
    pub(crate) const fn is_out(&self) -> bool {
        self.waiting == 0
    }

    /// When the last reply comes of packets that left, by the delays chosen alone.
    pub(crate) fn last_reply(&self) -> Option<Time> {
        let open = self.packets.iter().filter(|p| p.fate != Fate::Arrived);
        open.filter_map(|packet| Some(packet.left?.after(packet.delay + packet.back)))
            .max()
    }

    /// The longest delay chosen for one of the reply blocks.
    pub(crate) fn longest_back(&self) -> Duration {
        let backs = self.packets.iter().map(|packet| packet.back);
        backs.max().unwrap_or_default()
    }

    /// The gateway for the next packet: the mailbox's gateways take turns, the one that `begin`
    /// picks first.
    pub(crate) fn gateway(
        &self,
        index: u32,
        begin: usize,
        is_listed: impl Fn(&NodeId) -> bool,
    ) -> Option<NodeId> {
        let listed: Vec<&NodeId> = self.to.gateways.iter().filter(|id| is_listed(id)).collect();
        let before = index.checked_sub(1).and_then(|before| {
            let before = usize::try_from(before).ok()?;
            self.packets.get(before)?.gateway
        });
        let place = before.and_then(|before| listed.iter().position(|id| **id == before));
        let next = place.map_or(begin, |place| place + 1);
        listed.get(next.checked_rem(listed.len())?).map(|id| **id)
    }

    /// Takes an acknowledgement; the packets to send for it, `room` at most.
    pub(crate) fn acknowledged(
        &mut self,
        sack: &Sack,
        loss: &mut Loss,
        room: u32,
    ) -> Option<Burst> {
        self.unheard = 0;
        let end = sack.end();
        let mut under_way = 0;
        for (index, packet) in (0..).zip(&mut self.packets) {
            if sack.has(index) {
                if packet.fate == Fate::Open {
                    loss.arrived();
                }
                packet.fate = Fate::Arrived;
            } else if index < end && packet.left.is_some() {
                if packet.fate == Fate::Open {
                    loss.lost();
                    packet.fate = Fate::Lost;
                }
            } else if packet.fate == Fate::Open {
                under_way += 1;
            }
        }
        self.arrived |= sack.wanted == 0;
        if self.arrived {
            return None;
        }
        // What the receiver says is bounded by what the message has.
        let wanted = sack.wanted.min(self.symbols.shape().source() + 2);
        let missing = wanted
            .checked_sub(under_way)
            .filter(|missing| *missing > 0)?;
        Some(self.more((missing + loss.spare(missing)).min(room)))
    }

    /// Takes that the other side answered: it has the message.
    pub(crate) fn answered(&mut self) {
        self.unheard = 0;
        self.arrived = true;
    }

    /// The packets to send when nothing was heard in time: enough to be heard of, and to bring
    /// `replies` more reply blocks.
    pub(crate) fn unheard(&mut self, loss: Loss, replies: u32) -> Burst {
        self.unheard += 1;
        let each = u32::try_from(self.surbs).unwrap_or(1).max(1);
        let source = self.symbols.shape().source();
        let probe = if self.arrived { 1 } else { source.min(PROBE) };
        let wanted = probe.max(replies.div_ceil(each));
        self.more(wanted + loss.spare(wanted))
    }

    /// How often it was sent again without a word.
    pub(crate) const fn times_unheard(&self) -> u32 {
        self.unheard
    }

    /// Whether it may not send more packets, whatever is lost.
    pub(crate) fn is_spent(&self) -> bool {
        self.end() >= MAX_PACKETS
    }

    /// Reply blocks in each packet.
    pub(crate) const fn surbs(&self) -> usize {
        self.surbs
    }

    /// Bytes of the message.
    pub(crate) const fn length(&self) -> u32 {
        self.symbols.shape().length()
    }

    /// Bytes kept.
    pub(crate) fn bytes(&self) -> usize {
        self.symbols.bytes()
    }

    /// Packets so far.
    pub(crate) fn end(&self) -> u32 {
        u32::try_from(self.packets.len()).unwrap_or(u32::MAX)
    }

    /// When each packet left, and the delay chosen for it.
    pub(crate) fn departures(&self) -> impl Iterator<Item = (Time, Duration)> {
        let packets = self.packets.iter();
        packets.filter_map(|packet| Some((packet.left?, packet.delay)))
    }

    /// Symbols that are enough.
    pub(crate) const fn source(&self) -> u32 {
        self.symbols.shape().source()
    }

    fn more(&mut self, count: u32) -> Burst {
        let begin = self.end();
        let end = begin.saturating_add(count).min(MAX_PACKETS);
        for _ in begin..end {
            self.packets.push(Packet::default());
            self.waiting += 1;
        }
        begin..end
    }

    fn packet(&mut self, index: u32) -> Option<&mut Packet> {
        self.packets.get_mut(usize::try_from(index).ok()?)
    }
}

/// Packets of a message that nobody was heard to receive.
const PROBE: u32 = 3;
