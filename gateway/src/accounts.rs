//! Clients' accounts: the handles that lead to them, their link, their rate, what waits for them.
//!
//! An account outlives its link, so that a client that comes back finds what came meanwhile. The
//! table is bounded: at the bound the account that is away longest makes room.

use std::collections::{BTreeMap, BTreeSet};

use link::GuestId;
use rand::CryptoRng;
use traffic::{PoissonClock, Rate};
use wire::{Epoch, Handle, MailboxAddress, Time};

use crate::bucket::Bucket;
use crate::deliver::Waiting;

/// An account, for as long as this gateway runs. Local, never shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct AccountId(u64);

#[cfg(test)]
impl AccountId {
    pub(crate) const fn numbered(number: u64) -> Self {
        Self(number)
    }
}

/// Handles that lead to one account: this epoch's, and its neighbour's around the turn.
const MAX_HANDLES: usize = 2;

/// One client.
pub(crate) struct Account {
    /// What waits for the client's clock.
    pub(crate) waiting: Waiting,
    /// Mailboxes that the client attached.
    pub(crate) mailboxes: BTreeSet<MailboxAddress>,
    link: Link,
    handles: Vec<(Epoch, Handle)>,
    bucket: Bucket,
}

/// Whether a client is there.
enum Link {
    Up {
        guest: GuestId,
        clock: Box<PoissonClock>,
    },
    Away {
        since: Time,
    },
}

impl Account {
    /// Takes from the client's sending rate.
    pub(crate) fn spend(&mut self, now: Time) -> bool {
        self.bucket.take(now)
    }

    /// The epoch by whose document the client names first hops: its newest.
    pub(crate) fn epoch(&self) -> Option<Epoch> {
        self.handles.last().map(|(epoch, _)| *epoch)
    }

    /// The client's handle in `epoch`.
    pub(crate) fn handle(&self, epoch: Epoch) -> Option<Handle> {
        let named = |entry: &&(Epoch, Handle)| entry.0 == epoch;
        self.handles.iter().find(named).map(|(_, handle)| *handle)
    }

    /// The client's link, if it is there and a tick of its clock is due.
    pub(crate) fn fire(&mut self, now: Time) -> Option<GuestId> {
        match &mut self.link {
            Link::Up { guest, clock } => clock.fire(now).then_some(*guest),
            Link::Away { .. } => None,
        }
    }

    /// The next tick of the client's clock, if the client is there.
    fn tick(&self) -> Option<Time> {
        match &self.link {
            Link::Up { clock, .. } => Some(clock.poll_timeout()),
            Link::Away { .. } => None,
        }
    }
}

/// Every account of this gateway.
#[derive(Default)]
pub(crate) struct Accounts {
    opened: u64,
    accounts: BTreeMap<AccountId, Account>,
    handles: BTreeMap<Handle, AccountId>,
    guests: BTreeMap<GuestId, AccountId>,
    ticks: BTreeSet<(Time, AccountId)>,
    away: BTreeSet<(Time, AccountId)>,
}

/// A registration that was found good.
pub(crate) struct Registration {
    pub(crate) guest: GuestId,
    pub(crate) epoch: Epoch,
    pub(crate) handle: Handle,
    pub(crate) class: Rate,
}

impl Accounts {
    /// The account that a registration would come to, if there is one.
    ///
    /// By handle: a client that comes back. By link: a client that takes a new handle.
    pub(crate) fn known(&self, guest: GuestId, handle: &Handle) -> Option<AccountId> {
        self.by_handle(handle).or_else(|| self.by_guest(guest))
    }

    /// Opens an account that is nobody's yet.
    pub(crate) fn open(&mut self, now: Time, class: Rate) -> AccountId {
        let id = AccountId(self.opened);
        self.opened += 1;
        let account = Account {
            waiting: Waiting::default(),
            mailboxes: BTreeSet::new(),
            link: Link::Away { since: now },
            handles: Vec::new(),
            bucket: Bucket::new(now, class),
        };
        self.accounts.insert(id, account);
        self.away.insert((now, id));
        id
    }

    /// Puts a registration into effect: the handle leads to `id`, and so does the link.
    pub(crate) fn register(
        &mut self,
        now: Time,
        rng: &mut dyn CryptoRng,
        id: AccountId,
        registration: &Registration,
    ) {
        if self.by_guest(registration.guest) != Some(id) {
            self.disconnect(now, registration.guest);
            self.connect(now, rng, id, registration);
        }
        self.set_class(now, id, registration.class);
        self.name(id, registration.epoch, registration.handle);
    }

    /// The client of this link is gone; what waits for it stays.
    pub(crate) fn disconnect(&mut self, now: Time, guest: GuestId) {
        if let Some(id) = self.by_guest(guest) {
            self.relink(id, Link::Away { since: now });
        }
    }

    /// Lets `change` at the account, and keeps the order of ticks.
    pub(crate) fn with<R>(
        &mut self,
        id: AccountId,
        change: impl FnOnce(&mut Account) -> R,
    ) -> Option<R> {
        let account = self.accounts.get_mut(&id)?;
        let before = account.tick();
        let result = change(account);
        let after = account.tick();
        if before != after {
            if let Some(tick) = before {
                self.ticks.remove(&(tick, id));
            }
            self.ticks.extend(after.map(|tick| (tick, id)));
        }
        Some(result)
    }

    /// Closes an account and says what it held.
    pub(crate) fn close(&mut self, id: AccountId) -> Option<Account> {
        let account = self.accounts.remove(&id)?;
        for (_, handle) in &account.handles {
            self.handles.remove(handle);
        }
        match &account.link {
            Link::Up { guest, clock } => {
                self.guests.remove(guest);
                self.ticks.remove(&(clock.poll_timeout(), id));
            }
            Link::Away { since } => {
                self.away.remove(&(*since, id));
            }
        }
        Some(account)
    }

    /// Forgets handles of epochs before `oldest`.
    ///
    /// Returns the accounts that no handle leads to any more and whose client is away.
    pub(crate) fn turn_epoch(&mut self, oldest: Epoch) -> Vec<AccountId> {
        for account in self.accounts.values_mut() {
            for (_, handle) in account.handles.extract_if(.., |(epoch, _)| *epoch < oldest) {
                self.handles.remove(&handle);
            }
        }
        let forgotten = |id: &AccountId| self.accounts[id].handles.is_empty();
        self.away
            .iter()
            .map(|(_, id)| *id)
            .filter(forgotten)
            .collect()
    }

    /// The account of a link.
    pub(crate) fn by_guest(&self, guest: GuestId) -> Option<AccountId> {
        self.guests.get(&guest).copied()
    }

    /// The account that a handle leads to.
    pub(crate) fn by_handle(&self, handle: &Handle) -> Option<AccountId> {
        self.handles.get(handle).copied()
    }

    /// Looks at an account.
    pub(crate) fn get(&self, id: AccountId) -> Option<&Account> {
        self.accounts.get(&id)
    }

    /// The next tick of any client's clock.
    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        self.ticks.first().map(|(tick, _)| *tick)
    }

    /// The account whose clock is due first, if one is.
    pub(crate) fn due(&self, now: Time) -> Option<AccountId> {
        self.ticks
            .first()
            .filter(|(tick, _)| *tick <= now)
            .map(|(_, id)| *id)
    }

    /// The account whose client is away longest.
    pub(crate) fn away_longest(&self) -> Option<AccountId> {
        self.away.first().map(|(_, id)| *id)
    }

    /// Every account.
    pub(crate) fn ids(&self) -> Vec<AccountId> {
        self.accounts.keys().copied().collect()
    }

    /// How many accounts there are.
    pub(crate) fn count(&self) -> usize {
        self.accounts.len()
    }

    /// How many clients are there.
    pub(crate) fn connected(&self) -> usize {
        self.guests.len()
    }

    /// How many packets wait, mailboxes apart.
    pub(crate) fn held(&self) -> u64 {
        let waiting = |account: &Account| account.waiting.len();
        self.accounts.values().map(waiting).sum()
    }

    fn connect(
        &mut self,
        now: Time,
        rng: &mut dyn CryptoRng,
        id: AccountId,
        registration: &Registration,
    ) {
        let guest = registration.guest;
        let clock = Box::new(PoissonClock::new(now, rng, twice(registration.class)));
        self.relink(id, Link::Up { guest, clock });
        self.guests.insert(guest, id);
    }

    fn relink(&mut self, id: AccountId, link: Link) {
        if let Link::Away { since } = &link {
            self.away.insert((*since, id));
        }
        match self.with(id, |account| std::mem::replace(&mut account.link, link)) {
            Some(Link::Up { guest, .. }) => {
                self.guests.remove(&guest);
            }
            Some(Link::Away { since }) => {
                self.away.remove(&(since, id));
            }
            None => {}
        }
    }

    fn set_class(&mut self, now: Time, id: AccountId, class: Rate) {
        self.with(id, |account| {
            account.bucket.set_class(now, class);
            if let Link::Up { clock, .. } = &mut account.link {
                clock.set_rate(now, twice(class));
            }
        });
    }

    fn name(&mut self, id: AccountId, epoch: Epoch, handle: Handle) {
        let Some(account) = self.accounts.get_mut(&id) else {
            return;
        };
        if account.handle(epoch) == Some(handle) {
            return;
        }
        for (_, old) in account.handles.extract_if(.., |(named, _)| *named == epoch) {
            self.handles.remove(&old);
        }
        account.handles.push((epoch, handle));
        account.handles.sort_by_key(|(epoch, _)| *epoch);
        if account.handles.len() > MAX_HANDLES {
            let (_, oldest) = account.handles.remove(0);
            self.handles.remove(&oldest);
        }
        self.handles.insert(handle, id);
    }
}

/// Deliveries run at twice the rate of the class.
fn twice(class: Rate) -> Rate {
    Rate::from_millihertz(class.millihertz().saturating_mul(2)).unwrap_or(class)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha20Rng;

    use super::*;

    const NOW: Time = Time::ZERO;

    fn registration(guest: u64, epoch: u64, handle: u8) -> Registration {
        Registration {
            guest: GuestId(guest),
            epoch: Epoch(epoch),
            handle: Handle([handle; 32]),
            class: Rate::new(6.0).unwrap(),
        }
    }

    fn register(accounts: &mut Accounts, registration: &Registration) -> AccountId {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let known = accounts.known(registration.guest, &registration.handle);
        let id = known.unwrap_or_else(|| accounts.open(NOW, registration.class));
        accounts.register(NOW, &mut rng, id, registration);
        id
    }

    #[test]
    fn a_handle_outlives_its_link() {
        let mut accounts = Accounts::default();
        let id = register(&mut accounts, &registration(1, 1, 7));
        accounts.disconnect(NOW, GuestId(1));
        assert_eq!(accounts.by_guest(GuestId(1)), None);
        assert_eq!(accounts.poll_timeout(), None);
        assert_eq!(register(&mut accounts, &registration(2, 1, 7)), id);
        assert_eq!(accounts.by_guest(GuestId(2)), Some(id));
        assert!(accounts.poll_timeout().is_some());
        assert_eq!(accounts.away_longest(), None);
    }

    #[test]
    fn the_newest_link_has_the_account() {
        let mut accounts = Accounts::default();
        let id = register(&mut accounts, &registration(1, 1, 7));
        assert_eq!(register(&mut accounts, &registration(2, 1, 7)), id);
        assert_eq!(accounts.by_guest(GuestId(1)), None);
        accounts.disconnect(NOW, GuestId(1));
        assert_eq!(accounts.by_guest(GuestId(2)), Some(id));
        assert_eq!(accounts.ticks.len(), 1);
    }

    #[test]
    fn two_handles_lead_to_a_client_around_the_turn_of_an_epoch() {
        let mut accounts = Accounts::default();
        let id = register(&mut accounts, &registration(1, 1, 7));
        assert_eq!(register(&mut accounts, &registration(1, 2, 8)), id);
        assert_eq!(accounts.by_handle(&Handle([7; 32])), Some(id));
        assert_eq!(accounts.by_handle(&Handle([8; 32])), Some(id));
        assert_eq!(register(&mut accounts, &registration(1, 3, 9)), id);
        assert_eq!(accounts.by_handle(&Handle([7; 32])), None);
        assert!(accounts.turn_epoch(Epoch(3)).is_empty());
        assert_eq!(accounts.by_handle(&Handle([8; 32])), None);
        assert_eq!(accounts.by_handle(&Handle([9; 32])), Some(id));
    }

    #[test]
    fn one_handle_an_epoch() {
        let mut accounts = Accounts::default();
        register(&mut accounts, &registration(1, 1, 7));
        register(&mut accounts, &registration(1, 1, 8));
        assert_eq!(accounts.by_handle(&Handle([7; 32])), None);
        assert_eq!(accounts.handles.len(), 1);
    }

    #[test]
    fn whoever_is_away_without_a_handle_is_forgotten() {
        let mut accounts = Accounts::default();
        let here = register(&mut accounts, &registration(1, 1, 7));
        let away = register(&mut accounts, &registration(2, 1, 8));
        accounts.disconnect(NOW, GuestId(2));
        assert_eq!(accounts.turn_epoch(Epoch(2)), [away]);
        assert!(accounts.get(here).is_some());
    }

    #[test]
    fn closing_leaves_nothing_behind() {
        let mut accounts = Accounts::default();
        let id = register(&mut accounts, &registration(1, 1, 7));
        assert!(accounts.close(id).is_some());
        let other = register(&mut accounts, &registration(1, 1, 7));
        accounts.disconnect(NOW, GuestId(1));
        assert!(accounts.close(other).is_some());
        assert!(accounts.handles.is_empty() && accounts.guests.is_empty());
        assert!(accounts.ticks.is_empty() && accounts.away.is_empty());
    }
}
