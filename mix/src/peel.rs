//! The first two stages of every node that peels packets, mixes and gateways alike.
//!
//! Stage 1, [`Opener::open`], is pure and runs on any thread: length, alpha, shared secret,
//! header MAC, version. Stage 2, [`Gate::admit`], runs where the state is: replay test-and-set,
//! then whether this node lets the packet go where it wants and for how long. Stage 3,
//! [`Admitted::finish`], is pure again: blinding and one layer of the payload, inside the delay.
//!
//! A packet names no epoch. The keys in force are tried from the newest to the oldest; each has
//! its window, its replay filter and the topology of its epoch.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use directory::{Parameters, Schedule, Topology};
use sphinx::{Geometry, Next, Opened, Packet, Peeled, SecretKey};
use store::ShortTag;
use wire::{Epoch, Refusal, Time};

use crate::replay::ReplayFilter;

/// From when until when packets for an epoch's key are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The first moment.
    pub from: Time,
    /// The first moment after it.
    pub until: Time,
}

impl Window {
    /// The window of `epoch`: from a quarter of the overlap before its start, for senders whose
    /// clocks run ahead, until the overlap after its end.
    #[must_use]
    pub fn of(epoch: Epoch, schedule: &Schedule, parameters: &Parameters) -> Self {
        Self {
            from: schedule.start(epoch).before(early(parameters.overlap)),
            until: schedule.end(epoch).after(parameters.overlap),
        }
    }

    /// Whether `now` is in it.
    #[must_use]
    pub fn contains(&self, now: Time) -> bool {
        self.from <= now && now < self.until
    }
}

/// Opens headers with the keys in force. Cheap to clone; a clone keeps working with the keys of
/// its moment, each within its window.
#[derive(Clone)]
pub struct Opener {
    geometry: Geometry,
    /// Newest first.
    keys: Arc<[InForce]>,
}

struct InForce {
    epoch: Epoch,
    window: Window,
    key: Arc<SecretKey>,
}

/// A packet whose header fitted the key of an epoch. Its replay tag is still to be asked about.
pub struct Unsealed {
    arrival: Time,
    epoch: Epoch,
    opened: Opened,
}

/// A packet that this node takes further once its tag is logged.
pub struct Admitted {
    unsealed: Unsealed,
    tag: ShortTag,
}

/// The keys of this node by epoch, with what belongs to each.
pub struct Gate {
    geometry: Geometry,
    replay_capacity: usize,
    epochs: BTreeMap<Epoch, EpochState>,
    opener: Opener,
}

#[derive(Default)]
struct EpochState {
    key: Option<KeyState>,
    topology: Option<Arc<Topology>>,
}

struct KeyState {
    window: Window,
    key: Arc<SecretKey>,
    filter: ReplayFilter,
}

impl Opener {
    fn new(geometry: Geometry, keys: Vec<InForce>) -> Self {
        Self {
            geometry,
            keys: keys.into(),
        }
    }

    /// Stage 1 for a packet that came in at `arrival`.
    ///
    /// # Errors
    /// [`Refusal::BadLength`], [`Refusal::BadGroupElement`], [`Refusal::BadMac`] if no key in
    /// force at `arrival` fits, [`Refusal::UnsupportedVersion`], [`Refusal::Malformed`].
    pub fn open(&self, arrival: Time, packet: &[u8]) -> Result<Unsealed, Refusal> {
        let packet = Packet::from_bytes(self.geometry, packet)?;
        let in_force = self.keys.iter().filter(|k| k.window.contains(arrival));
        let (epochs, keys): (Vec<_>, Vec<_>) = in_force.map(|k| (k.epoch, &*k.key)).unzip();
        let opened = packet.open(&keys)?;
        Ok(Unsealed {
            arrival,
            epoch: epochs[opened.key_index()],
            opened,
        })
    }
}

impl Gate {
    /// Without keys yet: every packet is refused.
    ///
    /// `replay_capacity` is the most tags that are kept of one epoch: 11 to 22 bytes each in memory.
    #[must_use]
    pub fn new(geometry: Geometry, replay_capacity: usize) -> Self {
        Self {
            geometry,
            replay_capacity,
            epochs: BTreeMap::new(),
            opener: Opener::new(geometry, Vec::new()),
        }
    }

    /// Takes the key of `epoch` and the tags that its log holds. A key that is there already
    /// stays, with its filter.
    pub fn set_key(&mut self, epoch: Epoch, window: Window, key: SecretKey, logged: &[ShortTag]) {
        let state = self.epochs.entry(epoch).or_default();
        if state.key.is_none() {
            let mut filter = ReplayFilter::new(&key, self.replay_capacity);
            filter.restore(logged);
            state.key = Some(KeyState {
                window,
                key: Arc::new(key),
                filter,
            });
        }
        self.bound_epochs();
        self.renew_opener();
    }

    /// Takes the topology of its epoch.
    pub fn set_topology(&mut self, topology: Arc<Topology>) {
        let state = self.epochs.entry(topology.epoch()).or_default();
        state.topology = Some(topology);
        self.bound_epochs();
        self.renew_opener();
    }

    /// Forgets the keys whose windows are over, with their filters: their packets are
    /// [`Refusal::BadMac`] from now on. Returns whether any went.
    pub fn expire(&mut self, now: Time) -> bool {
        let before = self.epochs.len();
        self.epochs.retain(|_, state| {
            let over = state.key.as_ref().is_some_and(|k| k.window.until <= now);
            !over
        });
        let expired = self.epochs.len() < before;
        if expired {
            self.renew_opener();
        }
        expired
    }

    /// When the next key's window is over.
    #[must_use]
    pub fn next_expiry(&self) -> Option<Time> {
        self.keys().map(|(_, key)| key.window.until).min()
    }

    /// What stage 1 needs, for other threads. Take it anew after each change of keys.
    #[must_use]
    pub fn opener(&self) -> &Opener {
        &self.opener
    }

    /// Whether packets for `epoch` can be opened.
    #[must_use]
    pub fn has_key(&self, epoch: Epoch) -> bool {
        self.keys().any(|(held, _)| held == epoch)
    }

    /// The topology of `epoch`.
    #[must_use]
    pub fn topology(&self, epoch: Epoch) -> Option<&Arc<Topology>> {
        self.epochs.get(&epoch)?.topology.as_ref()
    }

    /// How many tags the filter of `epoch` holds.
    #[must_use]
    pub fn replay_len(&self, epoch: Epoch) -> usize {
        let key = self.epochs.get(&epoch).and_then(|s| s.key.as_ref());
        key.map_or(0, |key| key.filter.len())
    }

    /// Stage 2. `allows` says, by the topology of the packet's own epoch, whether it may go
    /// where it wants from here.
    ///
    /// # Errors
    /// In this order: [`Refusal::BadMac`] if the key's window ended since stage 1,
    /// [`Refusal::Replay`], [`Refusal::ReplayFilterFull`], [`Refusal::WrongEpoch`] if no
    /// topology of that epoch is known, [`Refusal::BadNextHop`], [`Refusal::DelayOutOfRange`].
    pub fn admit(
        &mut self,
        now: Time,
        unsealed: Unsealed,
        allows: impl FnOnce(&Topology, &Next) -> bool,
    ) -> Result<Admitted, Refusal> {
        let state = self.epochs.get_mut(&unsealed.epoch);
        let state = state.ok_or(Refusal::BadMac)?;
        let key = state.key.as_mut().ok_or(Refusal::BadMac)?;
        if key.window.until <= now {
            return Err(Refusal::BadMac);
        }
        let tag = key.filter.admit(unsealed.opened.replay_tag())?;
        let topology = state.topology.as_ref().ok_or(Refusal::WrongEpoch)?;
        let next = unsealed.opened.next();
        if !allows(topology, &next) {
            return Err(Refusal::BadNextHop);
        }
        if let Next::Hop { delay, .. } = next
            && !topology.parameters().rates.delay.accepts(delay)
        {
            return Err(Refusal::DelayOutOfRange);
        }
        Ok(Admitted { unsealed, tag })
    }

    fn keys(&self) -> impl Iterator<Item = (Epoch, &KeyState)> {
        let states = self.epochs.iter().rev();
        states.filter_map(|(epoch, state)| Some((*epoch, state.key.as_ref()?)))
    }

    fn renew_opener(&mut self) {
        let in_force = self.keys().map(|(epoch, state)| InForce {
            epoch,
            window: state.window,
            key: Arc::clone(&state.key),
        });
        self.opener = Opener::new(self.geometry, in_force.collect());
    }

    fn bound_epochs(&mut self) {
        while self.epochs.len() > MAX_EPOCHS {
            self.epochs.pop_first();
        }
    }
}

impl Unsealed {
    /// When the packet came in.
    #[must_use]
    pub fn arrival(&self) -> Time {
        self.arrival
    }

    /// The epoch whose key fitted.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }
}

impl Admitted {
    /// When the packet came in: its delay counts from there.
    #[must_use]
    pub fn arrival(&self) -> Time {
        self.unsealed.arrival
    }

    /// What must be in the replay log before the packet leaves.
    #[must_use]
    pub fn log_entry(&self) -> LogEntry {
        LogEntry {
            epoch: self.unsealed.epoch,
            tag: self.tag,
        }
    }

    /// Where the packet goes.
    #[must_use]
    pub fn next(&self) -> Next {
        self.unsealed.opened.next()
    }

    /// Stage 3.
    #[must_use]
    pub fn finish(self) -> Peeled {
        self.unsealed.opened.finish()
    }
}

/// A tag for the replay log of its epoch's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogEntry {
    /// Whose log.
    pub epoch: Epoch,
    /// The tag.
    pub tag: ShortTag,
}

fn early(overlap: Duration) -> Duration {
    overlap / 4
}

/// The last epoch's, this one's, the next one's, and one that is about to be dropped.
const MAX_EPOCHS: usize = 4;
