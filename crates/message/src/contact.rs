//! Where an agent can be written to, as a short line that people can pass on
//! (docs/spec/message.md, 12).

use std::fmt;
use std::str::FromStr;

use directory::{Identity, Topology};
use thiserror::Error;
use wire::{MailboxAddress, NodeId};
use zeroize::Zeroizing;

use crate::ask::Recipient;
use crate::seal::SealingKey;

/// A mailbox, the gateways that keep it, these by the beginnings of their ids, and a word that
/// only those share who were given the contact.
///
/// Written it is `sr1` and 103 letters and digits. It names no network address, and no key to
/// seal to: that would be a thousand letters long. Who wants to write asks the mailbox's owner
/// for it, through the mixes, in a message sealed under the word. So the contact is the thing to
/// keep to oneself: whoever has it can write to the mailbox.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Contact {
    mailbox: MailboxAddress,
    gateways: [Prefix; GATEWAYS],
    word: ContactWord,
}

/// What only those share who were given a contact. Not the mailbox's gateways.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct ContactWord(pub(crate) [u8; 16]);

impl ContactWord {
    /// The word of the mailbox of `key`: the same for its life.
    pub(crate) fn of(key: &Identity) -> Self {
        let [word @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] =
            *key.derive("subrosa 2026-11 contact word", 0);
        Self(word)
    }

    /// The key to which knocks are sealed: its owner has it, and whoever has the contact.
    pub(crate) fn door(&self, mailbox: &MailboxAddress) -> SealingKey {
        let mut material = Zeroizing::new(mailbox.0.to_vec());
        material.extend(self.0);
        let seed = Zeroizing::new(blake3::derive_key("subrosa 2026-11 door", &material));
        SealingKey::from_bytes(&seed)
    }
}

/// Why a text is no contact, or leads nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BadContact {
    /// It does not begin with `sr1`.
    #[error("an address begins with sr1")]
    Prefix,
    /// It is too short or too long: something was lost in copying.
    #[error("an address has 106 characters; something was lost in copying")]
    Length,
    /// It has a character that no address has.
    #[error("an address has letters and the digits 2 to 7 only")]
    Character,
    /// It has capital and small letters.
    #[error("an address is all in small letters, or all in capitals")]
    MixedCase,
    /// Its checksum does not fit: something was changed in copying.
    #[error("the checksum does not fit; something was changed in copying")]
    Checksum,
}

impl Contact {
    /// The contact of `mailbox`, kept by the first two of `gateways`.
    pub(crate) fn new(mailbox: MailboxAddress, gateways: &[NodeId], word: ContactWord) -> Self {
        let prefix = |place: usize| gateways.get(place).map_or([0; PREFIX_LEN], prefix_of);
        Self {
            mailbox,
            gateways: [prefix(0), prefix(1)],
            word,
        }
    }

    /// The mailbox.
    #[must_use]
    pub const fn mailbox(&self) -> MailboxAddress {
        self.mailbox
    }

    /// To whom a knock goes; no gateways if `topology` lists none of the contact's.
    pub(crate) fn door(&self, topology: &Topology) -> Recipient {
        let listed = topology.gateways().iter().map(|relay| relay.id);
        Recipient {
            gateways: listed
                .filter(|id| self.gateways.contains(&prefix_of(id)))
                .collect(),
            mailbox: self.mailbox,
            sealing_key: self.word.door(&self.mailbox).public().clone(),
        }
    }

    fn to_bytes(self) -> Vec<u8> {
        let mut bytes = self.mailbox.0.to_vec();
        bytes.extend(self.gateways.concat());
        bytes.extend(self.word.0);
        let checksum = checksum(&bytes);
        bytes.extend(checksum);
        bytes
    }
}

/// `sr1` and base32 (RFC 4648, without padding) in small letters.
impl fmt::Display for Contact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HEAD)?;
        let (mut bits, mut count) = (0u32, 0);
        for byte in self.to_bytes() {
            bits = bits << 8 | u32::from(byte);
            count += 8;
            while count >= 5 {
                count -= 5;
                letter(bits >> count, f)?;
            }
        }
        letter(bits << (5 - count), f)
    }
}

/// A contact is for whom it is given to: logs do not show it.
impl fmt::Debug for Contact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Contact(..)")
    }
}

impl FromStr for Contact {
    type Err = BadContact;

    fn from_str(text: &str) -> Result<Self, BadContact> {
        let text = text.trim();
        let upper = text.bytes().any(|byte| byte.is_ascii_uppercase());
        if upper && text.bytes().any(|byte| byte.is_ascii_lowercase()) {
            return Err(BadContact::MixedCase);
        }
        let text = text.to_ascii_lowercase();
        let coded = text.strip_prefix(HEAD).ok_or(BadContact::Prefix)?;
        if coded.chars().count() != CODED_LEN {
            return Err(BadContact::Length);
        }
        let bytes = decoded(coded)?;
        let (content, sum) = bytes
            .split_last_chunk::<CHECKSUM_LEN>()
            .ok_or(BadContact::Length)?;
        if checksum(content) != *sum {
            return Err(BadContact::Checksum);
        }
        let (mailbox, gateways) = content.split_first_chunk().ok_or(BadContact::Length)?;
        let (first, second) = gateways.split_first_chunk().ok_or(BadContact::Length)?;
        let (second, word) = second.split_first_chunk().ok_or(BadContact::Length)?;
        let word = word.first_chunk().ok_or(BadContact::Length)?;
        Ok(Self {
            mailbox: MailboxAddress(*mailbox),
            gateways: [*first, *second],
            word: ContactWord(*word),
        })
    }
}

/// The bytes of `coded`. The bits that are left over are zero, so that there is one way to write
/// a contact.
fn decoded(coded: &str) -> Result<Vec<u8>, BadContact> {
    let (mut bits, mut count) = (0u32, 0);
    let mut bytes = Vec::with_capacity(CONTENT_LEN + CHECKSUM_LEN);
    for letter in coded.bytes() {
        let value = match letter {
            b'a'..=b'z' => letter - b'a',
            b'2'..=b'7' => letter - b'2' + 26,
            _ => return Err(BadContact::Character),
        };
        bits = (bits << 5 | u32::from(value)) & 0xfff;
        count += 5;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xff).to_be_bytes()[3]);
        }
    }
    let rest = bits & ((1 << count) - 1);
    (rest == 0).then_some(bytes).ok_or(BadContact::Checksum)
}

fn letter(bits: u32, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let [.., value] = (bits & 31).to_be_bytes();
    let letter = match value {
        0..26 => b'a' + value,
        _ => b'2' + value - 26,
    };
    fmt::Write::write_char(f, char::from(letter))
}

fn checksum(content: &[u8]) -> [u8; CHECKSUM_LEN] {
    let hash = blake3::derive_key("subrosa 2026-11 contact checksum", content);
    let [a, b, c, d, ..] = hash;
    [a, b, c, d]
}

fn prefix_of(id: &NodeId) -> Prefix {
    let [a, b, c, d, e, f, ..] = id.0;
    [a, b, c, d, e, f]
}

type Prefix = [u8; PREFIX_LEN];

const HEAD: &str = "sr1";
const GATEWAYS: usize = 2;

/// Two gateways in a hundred thousand have one beginning in 50,000 networks.
const PREFIX_LEN: usize = 6;
const CHECKSUM_LEN: usize = 4;
const WORD_LEN: usize = 16;
const CONTENT_LEN: usize = MailboxAddress::LEN + GATEWAYS * PREFIX_LEN + WORD_LEN;
const CODED_LEN: usize = ((CONTENT_LEN + CHECKSUM_LEN) * 8).div_ceil(5);

#[cfg(test)]
mod tests;
