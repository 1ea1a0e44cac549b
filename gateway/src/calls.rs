//! What clients ask of their gateway over the control stream.

use std::sync::Arc;

use directory::{Descriptor, ServiceDescriptor};
use link::{GuestId, Peer};
use rand::CryptoRng;
use wire::{Attach, Call, CallRefused, NodeId, Refusal, Register, Reply, Time};

use crate::accounts::Registration;
use crate::admit::{Applicant, Decision};
use crate::gateway::Gateway;
use crate::mailbox::Claim;

/// What a call comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Say this.
    Reply(Reply),
    /// Publish this service descriptor at the authorities, and say what they say.
    Relay(Vec<u8>),
}

impl Gateway {
    /// Answers a call.
    pub fn handle_call(
        &mut self,
        now: Time,
        rng: &mut dyn CryptoRng,
        from: Peer,
        call: Call,
    ) -> Answer {
        let done = match (call, from) {
            (Call::NewestDocument, _) => {
                let newest = self.documents.values().next_back();
                return document(newest);
            }
            (Call::Document(epoch), _) => return document(self.documents.get(&epoch)),
            _ if self.draining => Err(CallRefused::Busy),
            (Call::Register(register), Peer::Guest(guest)) => {
                self.register(now, rng, guest, register)
            }
            (Call::Attach(attach), Peer::Guest(guest)) => self.attach(guest, &attach),
            (Call::Publish(descriptor), Peer::Guest(guest)) => {
                match self.may_publish(guest, &descriptor) {
                    Ok(()) => return Answer::Relay(descriptor),
                    Err(refused) => Err(refused),
                }
            }
            _ => Err(CallRefused::NotForThisNode),
        };
        Answer::Reply(match done {
            Ok(()) => Reply::Done,
            Err(refused) => Reply::Refused(refused),
        })
    }

    fn register(
        &mut self,
        now: Time,
        rng: &mut dyn CryptoRng,
        guest: GuestId,
        register: Register,
    ) -> Result<(), CallRefused> {
        let Register {
            handle,
            epoch,
            class,
        } = register;
        let topology = self.gate.topology(epoch).ok_or(CallRefused::WrongEpoch)?;
        let rate = topology.parameters().class(class);
        let rate = rate.ok_or(CallRefused::Invalid)?;
        let taken = self
            .accounts
            .by_handle(&handle)
            .and_then(|id| self.accounts.get(id));
        if taken.is_some_and(|account| account.handle(epoch) != Some(handle))
            || topology.place(&NodeId(handle.0)).is_some()
        {
            return Err(CallRefused::Invalid);
        }
        let account = match self.accounts.known(guest, &handle) {
            Some(account) => account,
            None => {
                self.make_room();
                let applicant = Applicant {
                    class,
                    accounts: self.accounts.count(),
                    bound: self.limits.clients,
                };
                match self.admission.decide(&applicant) {
                    Decision::Admit => self.accounts.open(now, rate),
                    Decision::Refuse(refused) => return Err(refused),
                }
            }
        };
        let registration = Registration {
            guest,
            epoch,
            handle,
            class: rate,
        };
        self.accounts.register(now, rng, account, &registration);
        Ok(())
    }

    /// At the bound, the account whose client is away longest makes room.
    fn make_room(&mut self) {
        if self.accounts.count() < self.limits.clients {
            return;
        }
        if let Some(account) = self.accounts.away_longest() {
            self.close_account(account, Refusal::NotConnected);
        }
    }

    fn attach(&mut self, guest: GuestId, attach: &Attach) -> Result<(), CallRefused> {
        let owner = self.accounts.by_guest(guest).ok_or(CallRefused::Invalid)?;
        let account = self.accounts.get(owner).ok_or(CallRefused::Invalid)?;
        let handle = account
            .handle(attach.epoch)
            .ok_or(CallRefused::WrongEpoch)?;
        let address = message::verify_attach(attach, self.id, handle);
        let address = address.map_err(|_| CallRefused::Invalid)?;
        let known = account.mailboxes.contains(&address);
        if !known && account.mailboxes.len() >= self.limits.client_mailboxes {
            return Err(CallRefused::Busy);
        }
        let claim = Claim {
            epoch: attach.epoch,
            counter: attach.counter,
        };
        let before = self.mailboxes.attach(address, owner, claim);
        if let Some(before) = before.map_err(|_| CallRefused::Invalid)? {
            self.accounts
                .with(before, |account| account.mailboxes.remove(&address));
        }
        self.accounts
            .with(owner, |account| account.mailboxes.insert(address));
        Ok(())
    }

    fn may_publish(&mut self, guest: GuestId, descriptor: &[u8]) -> Result<(), CallRefused> {
        if descriptor.len() > ServiceDescriptor::MAX_LEN {
            return Err(CallRefused::Invalid);
        }
        let Some(topology) = self.layer.topology() else {
            return self.may_publish_first();
        };
        let topology = Arc::clone(topology);
        let account = self.accounts.by_guest(guest).ok_or(CallRefused::Invalid)?;
        let bound = self.limits.publications;
        let within = self.accounts.with(account, |account| {
            account.publications = account.publications.saturating_add(1);
            account.publications <= bound
        });
        if within != Some(true) {
            return Err(CallRefused::Busy);
        }
        match Descriptor::open(descriptor, topology.parameters()) {
            Ok(Descriptor::Service(_)) => Ok(()),
            _ => Err(CallRefused::Invalid),
        }
    }

    /// Before the first document nobody can register, yet the services of the first epoch must
    /// stand in it: a bounded number passes, and the authorities alone judge them.
    fn may_publish_first(&mut self) -> Result<(), CallRefused> {
        if self.first_publications >= self.limits.first_publications {
            return Err(CallRefused::Busy);
        }
        self.first_publications += 1;
        Ok(())
    }
}

fn document(encoded: Option<&Arc<[u8]>>) -> Answer {
    Answer::Reply(match encoded {
        Some(encoded) => Reply::Document(encoded.to_vec()),
        None => Reply::Refused(CallRefused::NotYet),
    })
}
