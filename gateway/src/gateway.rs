//! The state machine of a gateway: frames, packets and calls in, frames out.
//!
//! It does no I/O and knows no clock. What packets mean at their last mix is in `arrive`, what
//! clients ask is in `calls`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use directory::{Parameters, Topology};
use link::{Frame, GuestId, Peer};
use mix::peel::{Admitted, Gate, LogEntry, Opener, Unsealed, Window};
use rand::CryptoRng;
use sphinx::{Geometry, Peeled, SecretKey};
use store::ShortTag;
use traffic::LoopBook;
use wire::{Epoch, Ledger, NodeId, NodeName, Refusal, Time};

use crate::accounts::{Account, AccountId, Accounts};
use crate::admit::Admission;
use crate::bucket::Bucket;
use crate::deliver::{self, Delivery, Turn};
use crate::fed::FedMailboxes;
use crate::feeding::Forwarded;
use crate::layer_clock::{LayerClock, Slot};
use crate::limits::Limits;
use crate::mailbox::Mailboxes;
use crate::publications::Publications;

/// A gateway without clock, randomness, threads or sockets.
///
/// Whoever drives it either calls [`Gateway::handle_packet`], which runs all stages of peeling at
/// once, or runs the pure ones on other threads: [`Gateway::receive`], `Opener::open`,
/// [`Gateway::admit`], `Admitted::finish`, [`Gateway::arrive`]. The order of checks is the same.
pub struct Gateway {
    pub(crate) id: NodeId,
    pub(crate) parameters: Parameters,
    pub(crate) geometry: Geometry,
    pub(crate) limits: Limits,
    pub(crate) admission: Box<dyn Admission>,
    pub(crate) gate: Gate,
    pub(crate) documents: BTreeMap<Epoch, Arc<[u8]>>,
    /// What the authorities' clocks showed, and when that came.
    pub(crate) clocks: Option<(Time, Arc<[u8]>)>,
    pub(crate) accounts: Accounts,
    pub(crate) mailboxes: Mailboxes,
    pub(crate) layer: LayerClock,
    pub(crate) ledger: Ledger,
    pub(crate) draining: bool,
    /// Mailboxes whose owners feed them.
    pub(crate) fed: FedMailboxes,
    /// Service descriptors that come through the mixes.
    pub(crate) published: Publications,
    /// What items left as, for a tap; nothing is noted unless there is one.
    pub(crate) forwarded: Option<VecDeque<Forwarded>>,
    /// Service descriptors that came over each link since the last turn of the epoch.
    pub(crate) publications: BTreeMap<GuestId, u32>,
    /// What all links together may publish.
    pub(crate) publishing: Option<Bucket>,
    pub(crate) windows: BTreeMap<Epoch, Window>,
    unlogged: VecDeque<LogEntry>,
    in_stages: u64,
    outbox: VecDeque<(Peer, Frame)>,
    turns: u64,
}

/// How full a gateway is. Nothing in it belongs to one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Census {
    /// Accounts in use.
    pub accounts: u64,
    /// Clients that are connected and registered.
    pub connected: u64,
    /// Mailboxes that clients attached.
    pub mailboxes: u64,
    /// Mailboxes that are fed with reply blocks.
    pub fed_mailboxes: u64,
    /// Reply blocks in stock, of all mailboxes.
    pub stock: u64,
}

impl Gateway {
    /// A gateway called `id` with no keys and no document: it passes on what services publish,
    /// and refuses all else.
    #[must_use]
    pub fn new(
        id: NodeId,
        parameters: Parameters,
        limits: Limits,
        admission: Box<dyn Admission>,
    ) -> Self {
        let geometry = parameters.geometry;
        Self {
            id,
            parameters,
            geometry,
            limits,
            admission,
            gate: Gate::new(geometry, limits.replay_capacity),
            documents: BTreeMap::new(),
            clocks: None,
            accounts: Accounts::default(),
            mailboxes: Mailboxes::default(),
            layer: LayerClock::new(id),
            ledger: Ledger::default(),
            draining: false,
            fed: FedMailboxes::default(),
            published: Publications::default(),
            forwarded: None,
            publications: BTreeMap::new(),
            publishing: None,
            windows: BTreeMap::new(),
            unlogged: VecDeque::new(),
            in_stages: 0,
            outbox: VecDeque::new(),
            turns: 0,
        }
    }

    /// Takes the key of `epoch`, in force during `window`, and the tags that its log holds.
    pub fn set_key(&mut self, epoch: Epoch, window: Window, key: SecretKey, logged: &[ShortTag]) {
        self.gate.set_key(epoch, window, key, logged);
        self.windows.entry(epoch).or_insert(window);
    }

    /// Takes the topology of its epoch: clients may register for it from now on.
    pub fn set_topology(&mut self, topology: Arc<Topology>) {
        self.gate.set_topology(topology);
    }

    /// Takes the verified consensus of `epoch`, encoded, to hand to whoever asks.
    pub fn set_document(&mut self, epoch: Epoch, encoded: Arc<[u8]>) {
        self.documents.insert(epoch, encoded);
        while self.documents.len() > MAX_DOCUMENTS {
            self.documents.pop_first();
        }
    }

    /// Sends into layer 1 by the topology of `epoch` from now on, if that epoch's key and
    /// topology are here; else sends nothing there.
    pub fn enter_epoch(&mut self, now: Time, rng: &mut dyn CryptoRng, epoch: Epoch) {
        match self.gate.topology(epoch) {
            Some(topology) if self.gate.has_key(epoch) => {
                self.layer.set_topology(now, rng, Arc::clone(topology));
            }
            _ => self.layer.stop(),
        }
    }

    /// Sends nothing into layer 1 by itself until there is another topology.
    pub fn stop_loops(&mut self) {
        self.layer.stop();
    }

    /// A frame of a client: to the mix that its prefix names, at once.
    pub fn handle_client_frame(&mut self, now: Time, guest: GuestId, prefix: u16, packet: &[u8]) {
        self.ledger.received += 1;
        if let Err(refusal) = self.forward(now, guest, prefix, packet) {
            self.ledger.refused.add(refusal);
        }
    }

    /// All stages for a packet of layer 3 that came in now.
    pub fn handle_packet(&mut self, now: Time, packet: &[u8]) {
        if self.receive(1) == 0 {
            return;
        }
        let unsealed = self.gate.opener().open(now, packet);
        if let Some(admitted) = self.admit(now, unsealed) {
            self.arrive(now, admitted.finish());
        }
    }

    /// Counts `packets` of layer 3 in and says how many may go through the stages: all or none.
    pub fn receive(&mut self, packets: u64) -> u64 {
        self.ledger.received += packets;
        if self.draining {
            self.refuse_many(Refusal::Draining, packets);
            return 0;
        }
        self.in_stages += packets;
        packets
    }

    /// Ends a packet that was received, for a reason outside the stages: a full queue between
    /// them, or a replay log that could not be written.
    pub fn refuse(&mut self, refusal: Refusal) {
        self.in_stages = self.in_stages.saturating_sub(1);
        self.ledger.refused.add(refusal);
    }

    /// Stage 2, with what stage 1 said. Once its tag was taken from [`Self::poll_log`] and
    /// logged, the packet goes on to stage 3.
    pub fn admit(&mut self, now: Time, unsealed: Result<Unsealed, Refusal>) -> Option<Admitted> {
        let admitted = if self.unlogged.len() >= MAX_UNLOGGED {
            Err(unsealed.err().unwrap_or(Refusal::ReplayLogFailed))
        } else {
            unsealed.and_then(|unsealed| self.gate.admit(now, unsealed, crate::arrive::allows))
        };
        match admitted {
            Ok(admitted) => {
                self.unlogged.push_back(admitted.log_entry());
                Some(admitted)
            }
            Err(refusal) => {
                self.refuse(refusal);
                None
            }
        }
    }

    /// Stage 4: puts a packet where it belongs.
    ///
    /// Nothing leaves at once, whatever it is: neither a refusal nor a delivery shows.
    pub fn arrive(&mut self, now: Time, peeled: Peeled) {
        match self.place(now, peeled) {
            Ok(()) => self.in_stages = self.in_stages.saturating_sub(1),
            Err(refusal) => self.refuse(refusal),
        }
    }

    /// A link to a client is gone; what waits for the client stays.
    pub fn handle_disconnect(&mut self, now: Time, guest: GuestId) {
        self.accounts.disconnect(now, guest);
        self.publications.remove(&guest);
    }

    /// Counts frames that were refused before they came here.
    pub fn refuse_unseen(&mut self, refusal: Refusal, frames: u64) {
        self.ledger.received += frames;
        self.refuse_many(refusal, frames);
    }

    /// Takes back that `frames` were sent: the link refused them.
    pub fn unsent(&mut self, frames: u64, refusal: Refusal) {
        self.ledger.sent = self.ledger.sent.saturating_sub(frames);
        self.refuse_many(refusal, frames);
    }

    /// Lets every clock that is due tick, and drops the keys whose time is over: returns whether
    /// any went, and [`Self::opener`] must be taken anew.
    pub fn handle_timeout(&mut self, now: Time, rng: &mut dyn CryptoRng) -> bool {
        self.depart(now, rng);
        while let Some(account) = self.accounts.due(now) {
            self.deliver(now, rng, account);
        }
        let expired = self.gate.expire(now);
        if expired {
            self.windows.retain(|_, window| now < window.until);
            self.forget_epochs();
        }
        expired
    }

    /// Builds ahead what a later tick may need. Call it after sending: then building a packet
    /// delays none.
    pub fn prepare(&mut self, now: Time, rng: &mut dyn CryptoRng) {
        self.layer.prepare(now, rng);
        self.prepare_items(now);
    }

    /// When [`Self::handle_timeout`] has something to do next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        let times = [
            self.layer.poll_timeout(),
            self.accounts.poll_timeout(),
            self.gate.next_expiry(),
        ];
        times.into_iter().flatten().min()
    }

    /// The next tag that must be in the replay log before its packet leaves.
    pub fn poll_log(&mut self) -> Option<LogEntry> {
        self.unlogged.pop_front()
    }

    /// The next frame to send, and to whom.
    pub fn poll_transmit(&mut self) -> Option<(Peer, Frame)> {
        let departure = self.outbox.pop_front()?;
        self.ledger.sent += 1;
        Some(departure)
    }

    /// Takes in nothing more, and refuses what waits.
    pub fn drain(&mut self) {
        self.draining = true;
        for account in self.accounts.ids() {
            self.close_account(account, Refusal::Draining);
        }
        let items = self.fed.empty();
        let waiting = items + self.layer.empty() + self.outbox.drain(..).count() as u64;
        self.layer.stop();
        self.refuse_many(Refusal::Draining, waiting);
    }

    /// Whether packets for `epoch` can be opened.
    #[must_use]
    pub fn has_key(&self, epoch: Epoch) -> bool {
        self.gate.has_key(epoch)
    }

    /// What stage 1 needs, for other threads. Take it anew after each change of keys.
    #[must_use]
    pub fn opener(&self) -> &Opener {
        self.gate.opener()
    }

    /// The account of packets.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Packets held: between the stages, for clients, in mailboxes, for layer 1, on the way out.
    #[must_use]
    pub fn held(&self) -> u64 {
        let mailboxes = self.mailboxes.held() + self.fed.held();
        let waiting = self.accounts.held() + mailboxes + self.layer.held();
        self.in_stages + waiting + self.outbox.len() as u64
    }

    /// How full the gateway is.
    #[must_use]
    pub fn census(&self) -> Census {
        Census {
            accounts: self.accounts.count() as u64,
            connected: self.accounts.connected() as u64,
            mailboxes: self.mailboxes.count() as u64,
            fed_mailboxes: self.fed.count() as u64,
            stock: self.fed.stock() as u64,
        }
    }

    /// What became of the gateway's own loops, and what that says of each node. The test of
    /// this gateway itself has all of them.
    #[must_use]
    pub fn loops(&self) -> &LoopBook {
        self.layer.book()
    }

    /// What the document by which loops are sent calls `node`.
    #[must_use]
    pub fn name(&self, node: &NodeId) -> Option<&NodeName> {
        self.layer.topology()?.name(node)
    }

    /// Whether some document in use lists the node.
    pub(crate) fn knows(&self, node: &NodeId) -> bool {
        let topologies = self
            .windows
            .keys()
            .filter_map(|epoch| self.gate.topology(*epoch));
        topologies
            .into_iter()
            .any(|topology| topology.place(node).is_some())
    }

    pub(crate) fn next_turn(&mut self) -> Turn {
        self.turns += 1;
        Turn(self.turns)
    }

    pub(crate) fn refuse_many(&mut self, refusal: Refusal, packets: u64) {
        for _ in 0..packets {
            self.ledger.refused.add(refusal);
        }
    }

    /// Closes an account; what waited for it is refused.
    pub(crate) fn close_account(&mut self, id: AccountId, refusal: Refusal) {
        let Some(account) = self.accounts.close(id) else {
            return;
        };
        let closed = account.mailboxes.iter();
        let items: u64 = closed.map(|address| self.mailboxes.close(address)).sum();
        self.refuse_many(refusal, items + account.waiting.len());
    }

    /// Forgets handles and mailboxes of epochs whose keys are gone.
    fn forget_epochs(&mut self) {
        let Some(oldest) = self.windows.keys().next().copied() else {
            return;
        };
        self.publications.clear();
        for (address, owner, items) in self.mailboxes.close_before(oldest) {
            self.accounts
                .with(owner, |account| account.mailboxes.remove(&address));
            self.refuse_many(Refusal::WrongEpoch, items);
        }
        let items = self.fed.close_before(oldest);
        self.refuse_many(Refusal::WrongEpoch, items);
        for account in self.accounts.turn_epoch(oldest) {
            self.close_account(account, Refusal::WrongEpoch);
        }
    }

    fn forward(
        &mut self,
        now: Time,
        guest: GuestId,
        prefix: u16,
        packet: &[u8],
    ) -> Result<(), Refusal> {
        if self.draining {
            return Err(Refusal::Draining);
        }
        if packet.len() != self.geometry.packet_len() {
            return Err(Refusal::BadLength);
        }
        let id = self.accounts.by_guest(guest).ok_or(Refusal::NotAdmitted)?;
        let within = self.accounts.with(id, |account| account.spend(now));
        if within != Some(true) {
            return Err(Refusal::RateExceeded);
        }
        let epoch = self.accounts.get(id).and_then(Account::epoch);
        let topology = epoch.and_then(|epoch| self.gate.topology(epoch));
        let layer = topology.ok_or(Refusal::WrongEpoch)?.layer(1);
        let mix = layer.get(usize::from(prefix)).ok_or(Refusal::BadFirstHop)?;
        let to = Peer::Node(mix.id);
        self.send(to, Frame::new(0, packet))
    }

    /// The gateway's own clock into layer 1.
    fn depart(&mut self, now: Time, rng: &mut dyn CryptoRng) {
        while let Some(slot) = self.layer.fire(now, rng) {
            let (mix, packet) = match slot {
                Slot::Idle => continue,
                Slot::Through(mix, packet) => (mix, packet),
                Slot::Own(mix, packet) => {
                    self.ledger.made += 1;
                    (mix, packet)
                }
            };
            let frame = Frame::new(0, packet.as_bytes());
            if let Err(refusal) = self.send(Peer::Node(mix), frame) {
                self.ledger.refused.add(refusal);
            }
        }
    }

    /// One turn of a client's clock: what waits longest, else a dummy.
    fn deliver(&mut self, now: Time, rng: &mut dyn CryptoRng, id: AccountId) {
        let due = self.accounts.with(id, |account| account.fire(now));
        let Some(guest) = due.flatten() else {
            return;
        };
        let (kind, bytes) = self.take_waiting(id).unwrap_or_else(|| {
            self.ledger.made += 1;
            (Delivery::Dummy, deliver::dummy(rng, self.geometry))
        });
        let frame = Frame::new(kind.prefix(), &bytes);
        if let Err(refusal) = self.send(Peer::Guest(guest), frame) {
            self.ledger.refused.add(refusal);
        }
    }

    fn take_waiting(&mut self, id: AccountId) -> Option<(Delivery, Box<[u8]>)> {
        let account = self.accounts.get(id)?;
        let own = account.waiting.turn().map(|turn| (turn, None));
        let boxed = account.mailboxes.iter().filter_map(|address| {
            let turn = self.mailboxes.turn(address)?;
            Some((turn, Some(*address)))
        });
        match own.into_iter().chain(boxed).min_by_key(|(turn, _)| *turn)? {
            (_, Some(address)) => Some((Delivery::Item, self.mailboxes.take(&address)?)),
            (_, None) => {
                let packet = self.accounts.with(id, |account| account.waiting.pop());
                Some((Delivery::Packet, packet.flatten()?))
            }
        }
    }

    fn send(&mut self, to: Peer, frame: Frame) -> Result<(), Refusal> {
        if self.outbox.len() >= self.limits.outbox {
            return Err(Refusal::Overload);
        }
        self.outbox.push_back((to, frame));
        Ok(())
    }
}

/// Tags that wait to be logged; a driver takes them after each batch.
const MAX_UNLOGGED: usize = 4_096;

/// Documents handed out: the last epoch's, this one's, the next one's.
const MAX_DOCUMENTS: usize = 3;
