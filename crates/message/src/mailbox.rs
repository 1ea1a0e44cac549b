//! Owning a mailbox, and claiming it at the gateway that keeps it (docs/spec/message.md, 4).

use directory::Identity;
use thiserror::Error;
use wire::{Attach, Encode, Epoch, Handle, MailboxAddress, NodeId, Writer};

/// A claim to a mailbox that its owner did not make for this gateway and handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not a valid claim to a mailbox")]
pub struct BadAttach;

/// Claims the mailbox of `key` for the client of `gateway` that has `handle`.
///
/// `counter` rises with every claim, across restarts too: a time in microseconds will do.
#[must_use]
pub fn attach(
    key: &Identity,
    gateway: NodeId,
    handle: Handle,
    epoch: Epoch,
    counter: u64,
) -> Attach {
    let signed = signed_bytes(&gateway, &handle, epoch, counter);
    Attach {
        key: key.public(),
        epoch,
        counter,
        signature: key.sign(CONTEXT, &signed),
    }
}

/// The mailbox that `attach` claims, if its owner made the claim for this gateway and handle.
///
/// Whether epoch and counter are new is for the gateway to say.
///
/// # Errors
/// [`BadAttach`] if the signature is not the owner's, or for another gateway or handle.
pub fn verify_attach(
    attach: &Attach,
    gateway: NodeId,
    handle: Handle,
) -> Result<MailboxAddress, BadAttach> {
    let signed = signed_bytes(&gateway, &handle, attach.epoch, attach.counter);
    directory::verify(&attach.key, CONTEXT, &signed, &attach.signature)
        .then(|| MailboxAddress::of_key(&attach.key))
        .ok_or(BadAttach)
}

fn signed_bytes(gateway: &NodeId, handle: &Handle, epoch: Epoch, counter: u64) -> Vec<u8> {
    let mut writer = Writer::default();
    gateway.encode(&mut writer);
    handle.encode(&mut writer);
    epoch.encode(&mut writer);
    writer.u64(counter);
    writer.into_bytes()
}

const CONTEXT: &str = "subrosa 2026-11 attach";

#[cfg(test)]
mod tests {
    use super::*;

    const GATEWAY: NodeId = NodeId([1; 32]);
    const HANDLE: Handle = Handle([2; 32]);

    fn claim() -> (Identity, Attach) {
        let key = Identity::from_seed(&[3; 32]);
        let attach = attach(&key, GATEWAY, HANDLE, Epoch(4), 5);
        (key, attach)
    }

    #[test]
    fn a_claim_names_the_mailbox_of_its_key() {
        let (key, attach) = claim();
        assert_eq!(verify_attach(&attach, GATEWAY, HANDLE), Ok(key.mailbox()));
    }

    #[test]
    fn a_claim_holds_for_nothing_else() {
        let (_, attach) = claim();
        let refused = Err(BadAttach);
        assert_eq!(verify_attach(&attach, NodeId([9; 32]), HANDLE), refused);
        assert_eq!(verify_attach(&attach, GATEWAY, Handle([9; 32])), refused);
        let later = Attach {
            epoch: Epoch(5),
            ..attach
        };
        assert_eq!(verify_attach(&later, GATEWAY, HANDLE), refused);
        let again = Attach {
            counter: 6,
            ..attach
        };
        assert_eq!(verify_attach(&again, GATEWAY, HANDLE), refused);
        let stolen = Attach {
            key: Identity::from_seed(&[8; 32]).public(),
            ..attach
        };
        assert_eq!(verify_attach(&stolen, GATEWAY, HANDLE), refused);
    }

    #[test]
    fn any_bytes_but_the_claim_are_refused() {
        bolero::check!()
            .with_type::<([u8; 32], [u8; 32], [u8; 32])>()
            .with_iterations(500)
            .for_each(|(key, left, right)| {
                let mut signature = [0; 64];
                signature[..32].copy_from_slice(left);
                signature[32..].copy_from_slice(right);
                let attach = Attach {
                    key: *key,
                    epoch: Epoch(4),
                    counter: 5,
                    signature,
                };
                assert_eq!(verify_attach(&attach, GATEWAY, HANDLE), Err(BadAttach));
            });
    }
}
