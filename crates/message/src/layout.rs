//! What stands where inside a packet's payload (docs/spec/message.md, 2 and 6).
//!
//! Sizes follow from the network's geometry alone; no content changes them.

use sphinx::Geometry;
use wire::{AnswerClass, MessageId, Refusal, SURB_LEN};

use crate::fragment::{FRAGMENT_HEADER_LEN, MAX_SOURCE, Shape};
use crate::seal::SEAL_OVERHEAD;

/// The field that the mailbox's gateway checks before it spends room on a packet: a
/// [tag](wire::AdmissionTag), then random bytes until there are credentials.
pub const ADMISSION_LEN: usize = 96;

/// The room before a mailbox item for an account of the owner's reply blocks. All zero while
/// mailboxes are attached.
const ACCOUNT_LEN: usize = 16;

/// In a reply, before the sealed part: its message's name, and its reply block's number.
pub(crate) const REPLY_PREFIX_LEN: usize = MessageId::LEN + 4;

/// In a reply, inside the seal before a symbol: kind, reply blocks left, the message's length.
pub(crate) const REPLY_HEADER_LEN: usize = 1 + 2 + 4;

/// Before the encoded response in the padded message: its length.
const RESPONSE_LENGTH_LEN: usize = 4;

/// Longest response, encoded, that an answer of `class` carries.
#[must_use]
pub fn answer_capacity(geometry: Geometry, class: AnswerClass) -> usize {
    let shape = Shape::of_class(class, reply_symbol_len(geometry));
    to_usize(shape.length()) - RESPONSE_LENGTH_LEN
}

/// Longest message to a mailbox, encoded.
#[must_use]
pub fn mail_capacity(geometry: Geometry) -> usize {
    let symbol_len = request_symbol_len(geometry, 1).unwrap_or_default();
    to_usize(MAX_SOURCE) * usize::from(symbol_len)
}

/// Length of a request packet's payload: all that a mailbox forwards.
pub(crate) fn request_payload_len(geometry: Geometry) -> usize {
    geometry.mailbox_capacity()
}

/// Bytes of a message in a packet that also carries `surbs` reply blocks; `None` if they leave
/// no room worth it.
pub(crate) fn request_symbol_len(geometry: Geometry, surbs: usize) -> Option<u16> {
    let overhead = ADMISSION_LEN + SEAL_OVERHEAD + FRAGMENT_HEADER_LEN + surbs * SURB_LEN;
    let left = request_payload_len(geometry).checked_sub(overhead)?;
    u16::try_from(left)
        .ok()
        .filter(|left| *left >= MIN_SYMBOL_LEN)
}

pub(crate) fn reply_symbol_len(geometry: Geometry) -> u16 {
    let overhead = REPLY_PREFIX_LEN + wire::BlobKey::OVERHEAD + REPLY_HEADER_LEN;
    let left = geometry.capacity().saturating_sub(overhead).max(1);
    u16::try_from(left).unwrap_or(u16::MAX)
}

/// The sealed part of a mailbox item.
///
/// # Errors
/// [`Refusal::BadLength`] unless the item has a packet's length.
pub(crate) fn sealed_part(geometry: Geometry, item: &[u8]) -> Result<&[u8], Refusal> {
    let start = ACCOUNT_LEN + ADMISSION_LEN;
    let end = ACCOUNT_LEN + request_payload_len(geometry);
    match item.get(start..end) {
        Some(sealed) if item.len() == geometry.packet_len() => Ok(sealed),
        _ => Err(Refusal::BadLength),
    }
}

/// Whether sealed requests fit the geometry at all.
pub(crate) fn carries_requests(geometry: Geometry) -> bool {
    request_symbol_len(geometry, 1).is_some()
}

pub(crate) fn to_usize(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// A packet with less of its message than this is not worth sending.
const MIN_SYMBOL_LEN: u16 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_the_specification() {
        let geometry = Geometry::DEFAULT;
        assert_eq!(request_payload_len(geometry), 8_159);
        let symbols = [1, 2, 16, 17].map(|surbs| request_symbol_len(geometry, surbs));
        assert_eq!(symbols, [Some(6_486), Some(6_090), Some(546), Some(150)]);
        assert_eq!(request_symbol_len(geometry, 18), None);
        assert_eq!(reply_symbol_len(geometry), 8_132);
        let answers = AnswerClass::ALL.map(|class| answer_capacity(geometry, class));
        assert_eq!(answers, [8_128, 24_392, 113_844, 471_652]);
        assert_eq!(mail_capacity(geometry), 256 * 6_486);
    }

    #[test]
    fn an_item_has_a_packets_length_and_its_seal_in_one_place() {
        let geometry = Geometry::DEFAULT;
        let mut item = vec![0; geometry.packet_len()];
        item[112] = 1;
        item[8_174] = 2;
        let sealed = sealed_part(geometry, &item).unwrap();
        assert_eq!((sealed.len(), sealed[0], sealed[8_062]), (8_063, 1, 2));
        for wrong in [&item[..8_539], &item[..200], &[]] {
            assert_eq!(sealed_part(geometry, wrong), Err(Refusal::BadLength));
        }
    }

    #[test]
    fn the_smallest_networks_carry_no_requests() {
        assert!(!carries_requests(Geometry::new(1_024).unwrap()));
        assert!(carries_requests(Geometry::new(2_048).unwrap()));
        assert!(carries_requests(Geometry::new(65_536).unwrap()));
    }
}
