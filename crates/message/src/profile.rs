//! What an agent says of itself to who knocks: where to write, and the key to seal to
//! (docs/spec/message.md, 14).

use directory::Identity;
use wire::{
    Decode, DecodeError, Encode, MailboxAddress, NodeId, Outcome, Reader, Refusal, RequestId,
    Response, Writer,
};

use crate::ask::Recipient;
use crate::seal::{SealingKey, SealingPublicKey};

/// A profile, signed by the mailbox's key for one knock. No `Debug`: it names a mailbox.
pub(crate) struct Profile {
    key: [u8; 32],
    sealing_key: Vec<u8>,
    gateways: Vec<NodeId>,
    signature: [u8; 64],
}

/// The key to which letters for the agent of `identity` are sealed: the same for its life.
pub(crate) fn sealing_key(identity: &Identity) -> SealingKey {
    SealingKey::from_bytes(&identity.derive(SEALING, 0))
}

impl Profile {
    pub(crate) fn sign(
        identity: &Identity,
        sealing_key: &SealingPublicKey,
        gateways: Vec<NodeId>,
        knock: &RequestId,
    ) -> Self {
        let sealing_key = sealing_key.to_bytes();
        let signature = identity.sign(CONTEXT, &signed_bytes(knock, &sealing_key, &gateways));
        Self {
            key: identity.public(),
            sealing_key,
            gateways,
            signature,
        }
    }

    /// Whom to write to, if the owner of `mailbox` said it for this knock.
    ///
    /// # Errors
    /// [`Refusal::SealInvalid`] if not.
    pub(crate) fn recipient(
        &self,
        mailbox: &MailboxAddress,
        knock: &RequestId,
    ) -> Result<Recipient, Refusal> {
        let signed = signed_bytes(knock, &self.sealing_key, &self.gateways);
        let is_owners = MailboxAddress::of_key(&self.key) == *mailbox
            && directory::verify(&self.key, CONTEXT, &signed, &self.signature);
        let sealing_key = SealingPublicKey::from_bytes(&self.sealing_key).ok();
        sealing_key
            .filter(|_| is_owners)
            .map(|sealing_key| Recipient {
                gateways: self.gateways.clone(),
                mailbox: *mailbox,
                sealing_key,
            })
            .ok_or(Refusal::SealInvalid)
    }
}

/// Whom to write to, by the answer to a knock at `mailbox`.
///
/// # Errors
/// [`Refusal::Malformed`] or [`Refusal::SealInvalid`] if it is not the owner's word.
pub fn read_profile(mailbox: &MailboxAddress, response: &Response) -> Result<Recipient, Refusal> {
    let Outcome::Output(bytes) = &response.outcome else {
        return Err(Refusal::Malformed);
    };
    let profile = Profile::from_bytes(bytes).map_err(|_| Refusal::Malformed)?;
    profile.recipient(mailbox, &response.id)
}

impl Encode for Profile {
    fn encode(&self, writer: &mut Writer) {
        writer.raw(&self.key);
        writer.raw(&self.sealing_key);
        encode_gateways(writer, &self.gateways);
        writer.raw(&self.signature);
    }
}

impl Decode for Profile {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let key = reader.array()?;
        let sealing_key = reader.raw(SealingPublicKey::LEN)?.to_vec();
        let count = reader.u8()?;
        if !(1..=MAX_GATEWAYS).contains(&count) {
            return Err(DecodeError::OutOfRange);
        }
        Ok(Self {
            key,
            sealing_key,
            gateways: (0..count)
                .map(|_| NodeId::decode(reader))
                .collect::<Result<_, _>>()?,
            signature: reader.array()?,
        })
    }
}

fn encode_gateways(writer: &mut Writer, gateways: &[NodeId]) {
    writer.u8(u8::try_from(gateways.len()).unwrap_or(u8::MAX));
    gateways.iter().for_each(|gateway| gateway.encode(writer));
}

fn signed_bytes(knock: &RequestId, sealing_key: &[u8], gateways: &[NodeId]) -> Vec<u8> {
    let mut writer = Writer::default();
    knock.encode(&mut writer);
    writer.raw(sealing_key);
    encode_gateways(&mut writer, gateways);
    writer.into_bytes()
}

const CONTEXT: &str = "subrosa 2026-11 profile";

const SEALING: &str = "subrosa 2026-11 agent sealing";

/// Gateways that keep one mailbox.
const MAX_GATEWAYS: u8 = 2;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rand::SeedableRng;
    use rand_chacha::ChaCha20Rng;

    use super::*;

    const KNOCK: RequestId = RequestId([4; 16]);

    fn response(id: RequestId, profile: &Profile) -> Response {
        Response {
            id,
            compute: Duration::ZERO,
            held: Duration::ZERO,
            outcome: Outcome::Output(profile.to_bytes()),
        }
    }

    #[test]
    fn a_profile_is_its_owners_word_for_one_knock() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let (owner, other) = (Identity::from_seed(&[1; 32]), Identity::from_seed(&[2; 32]));
        let key = SealingKey::generate(&mut rng).public().clone();
        let gateways = vec![NodeId([7; 32]), NodeId([8; 32])];
        let profile = || Profile::sign(&owner, &key, gateways.clone(), &KNOCK);
        let mailbox = owner.mailbox();
        let read = read_profile(&mailbox, &response(KNOCK, &profile())).unwrap();
        assert_eq!(read.sealing_key, key);
        assert_eq!((read.mailbox, read.gateways), (mailbox, gateways.clone()));
        let refused = Err(Refusal::SealInvalid);
        let answer = response(KNOCK, &profile());
        assert_eq!(read_profile(&other.mailbox(), &answer), refused);
        let another = response(RequestId([5; 16]), &profile());
        assert_eq!(read_profile(&mailbox, &another), refused);
        let mut swapped = profile();
        swapped.sealing_key = SealingKey::generate(&mut rng).public().to_bytes();
        assert_eq!(read_profile(&mailbox, &response(KNOCK, &swapped)), refused);
        let mut moved = profile();
        moved.gateways.pop();
        assert_eq!(read_profile(&mailbox, &response(KNOCK, &moved)), refused);
    }

    #[test]
    fn hostile_profiles_are_refused() {
        let mailbox = MailboxAddress([7; 32]);
        bolero::check!().for_each(|bytes: &[u8]| {
            if let Ok(profile) = Profile::from_bytes(bytes) {
                assert_eq!(profile.to_bytes(), bytes);
                assert!(profile.recipient(&mailbox, &KNOCK).is_err());
            }
        });
    }
}
