//! Mailboxes whose owner polls them over its own link (`reach = "attached"`).
//!
//! A mailbox belongs to the account that last proved to hold its key. Items wait in it, bounded,
//! whether or not the owner is connected.

use std::collections::BTreeMap;

use sphinx::Geometry;
use wire::{Epoch, MailboxAddress, Refusal};

use crate::accounts::AccountId;
use crate::deliver::{Turn, Waiting};

/// Bytes in front of an item for the account of reply blocks; zero for attached mailboxes.
const ACCOUNT_LEN: usize = 16;

/// A claim that was verified, and its place among the claims for this mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Claim {
    pub(crate) epoch: Epoch,
    pub(crate) counter: u64,
}

/// One mailbox.
struct Mailbox {
    owner: AccountId,
    claim: Claim,
    items: Waiting,
}

/// Every mailbox kept here.
#[derive(Default)]
pub(crate) struct Mailboxes(BTreeMap<MailboxAddress, Mailbox>);

impl Mailboxes {
    /// Gives the mailbox to `owner`, with what waits in it, and names who had it before.
    ///
    /// `Err` if `claim` is not above the last one.
    pub(crate) fn attach(
        &mut self,
        address: MailboxAddress,
        owner: AccountId,
        claim: Claim,
    ) -> Result<Option<AccountId>, StaleClaim> {
        match self.0.get_mut(&address) {
            Some(mailbox) if claim.counter <= mailbox.claim.counter => Err(StaleClaim),
            Some(mailbox) => {
                let before = std::mem::replace(&mut mailbox.owner, owner);
                mailbox.claim = claim;
                Ok(Some(before))
            }
            None => {
                let items = Waiting::default();
                self.0.insert(
                    address,
                    Mailbox {
                        owner,
                        claim,
                        items,
                    },
                );
                Ok(None)
            }
        }
    }

    /// Queues an item for `address`.
    pub(crate) fn put(
        &mut self,
        address: MailboxAddress,
        bound: usize,
        turn: Turn,
        item: Box<[u8]>,
    ) -> Result<(), Refusal> {
        let mailbox = self.0.get_mut(&address).ok_or(Refusal::UnknownMailbox)?;
        if mailbox.items.push(bound, turn, item) {
            Ok(())
        } else {
            Err(Refusal::MailboxFull)
        }
    }

    /// Takes the next item of `address`.
    pub(crate) fn take(&mut self, address: &MailboxAddress) -> Option<Box<[u8]>> {
        self.0.get_mut(address)?.items.pop()
    }

    /// The turn of the next item of `address`.
    pub(crate) fn turn(&self, address: &MailboxAddress) -> Option<Turn> {
        self.0.get(address)?.items.turn()
    }

    /// Whether `address` is kept here.
    pub(crate) fn keeps(&self, address: &MailboxAddress) -> bool {
        self.0.contains_key(address)
    }

    /// Closes `address`; how many items waited in it.
    pub(crate) fn close(&mut self, address: &MailboxAddress) -> u64 {
        self.0
            .remove(address)
            .map_or(0, |mailbox| mailbox.items.len())
    }

    /// Closes every mailbox claimed for an epoch before `oldest`; their owners and items.
    pub(crate) fn close_before(&mut self, oldest: Epoch) -> Vec<(MailboxAddress, AccountId, u64)> {
        let over = |mailbox: &Mailbox| mailbox.claim.epoch < oldest;
        let closed = self
            .0
            .iter()
            .filter(|(_, mailbox)| over(mailbox))
            .map(|(address, mailbox)| (*address, mailbox.owner, mailbox.items.len()))
            .collect();
        self.0.retain(|_, mailbox| !over(mailbox));
        closed
    }

    /// How many mailboxes there are.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// How many items wait in all of them.
    pub(crate) fn held(&self) -> u64 {
        self.0.values().map(|mailbox| mailbox.items.len()).sum()
    }
}

/// The claim is not above the last one for its mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StaleClaim;

/// What the owner is handed: the account of reply blocks, what was sent, padding.
pub(crate) fn item(geometry: Geometry, plaintext: &[u8]) -> Result<Box<[u8]>, Refusal> {
    if plaintext.len() > geometry.mailbox_capacity() {
        return Err(Refusal::Malformed);
    }
    let mut item = vec![0; geometry.packet_len()];
    item[ACCOUNT_LEN..ACCOUNT_LEN + plaintext.len()].copy_from_slice(plaintext);
    Ok(item.into_boxed_slice())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: MailboxAddress = MailboxAddress([1; 32]);
    const ALICE: AccountId = AccountId::numbered(1);
    const BOB: AccountId = AccountId::numbered(2);

    fn claim(epoch: u64, counter: u64) -> Claim {
        Claim {
            epoch: Epoch(epoch),
            counter,
        }
    }

    fn put(mailboxes: &mut Mailboxes, turn: u64) -> Result<(), Refusal> {
        mailboxes.put(ADDRESS, 2, Turn(turn), Box::new([9]))
    }

    #[test]
    fn the_newest_claim_has_the_mailbox_and_what_waits_in_it() {
        let mut mailboxes = Mailboxes::default();
        assert_eq!(mailboxes.attach(ADDRESS, ALICE, claim(1, 5)), Ok(None));
        assert_eq!(put(&mut mailboxes, 1), Ok(()));
        assert_eq!(mailboxes.attach(ADDRESS, BOB, claim(1, 6)), Ok(Some(ALICE)));
        assert_eq!(mailboxes.turn(&ADDRESS), Some(Turn(1)));
    }

    #[test]
    fn refuses_an_older_claim_and_the_same_again() {
        let mut mailboxes = Mailboxes::default();
        assert_eq!(mailboxes.attach(ADDRESS, ALICE, claim(1, 5)), Ok(None));
        for counter in [0, 4, 5] {
            let again = mailboxes.attach(ADDRESS, BOB, claim(2, counter));
            assert_eq!(again, Err(StaleClaim));
        }
    }

    #[test]
    fn holds_to_its_bound() {
        let mut mailboxes = Mailboxes::default();
        assert_eq!(put(&mut mailboxes, 0), Err(Refusal::UnknownMailbox));
        assert_eq!(mailboxes.attach(ADDRESS, ALICE, claim(1, 5)), Ok(None));
        assert_eq!(put(&mut mailboxes, 1), Ok(()));
        assert_eq!(put(&mut mailboxes, 2), Ok(()));
        assert_eq!(put(&mut mailboxes, 3), Err(Refusal::MailboxFull));
        assert_eq!(mailboxes.held(), 2);
        assert_eq!(mailboxes.close(&ADDRESS), 2);
    }

    #[test]
    fn closes_what_was_claimed_for_an_epoch_that_is_over() {
        let mut mailboxes = Mailboxes::default();
        assert_eq!(mailboxes.attach(ADDRESS, ALICE, claim(1, 5)), Ok(None));
        assert_eq!(put(&mut mailboxes, 1), Ok(()));
        assert!(mailboxes.close_before(Epoch(1)).is_empty());
        assert_eq!(mailboxes.close_before(Epoch(2)), [(ADDRESS, ALICE, 1)]);
        assert_eq!(mailboxes.count(), 0);
    }

    #[test]
    fn every_item_is_as_long_as_a_packet() {
        let geometry = Geometry::DEFAULT;
        let longest = vec![7; geometry.mailbox_capacity()];
        for plaintext in [&[][..], &[7; 100], &longest] {
            let item = item(geometry, plaintext).unwrap();
            assert_eq!(item.len(), geometry.packet_len());
            assert_eq!(&item[ACCOUNT_LEN..][..plaintext.len()], plaintext);
        }
        let too_long = vec![7; geometry.mailbox_capacity() + 1];
        assert_eq!(item(geometry, &too_long), Err(Refusal::Malformed));
    }
}
