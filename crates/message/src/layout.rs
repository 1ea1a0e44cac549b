//! What stands where inside a packet's payload (docs/spec/message.md, 2 and 6).
//!
//! Sizes follow from the network's geometry alone; no content changes them.

use sphinx::Geometry;
use wire::{AnswerClass, MessageId, Refusal};

use crate::fragment::{FRAGMENT_HEADER_LEN, MAX_SOURCE, Shape};
use crate::seal::SEAL_OVERHEAD;

/// The field that the mailbox's gateway checks before it spends room on a packet. All zero
/// until there are credentials.
pub const ADMISSION_LEN: usize = 96;

/// The room before a mailbox item for an account of the owner's reply blocks. All zero while
/// mailboxes are attached.
const ACCOUNT_LEN: usize = 16;

/// In a reply, before the sealed part: the message's name and the fragment's index.
pub(crate) const REPLY_PREFIX_LEN: usize = MessageId::LEN + 4;

/// In a reply, inside the seal before the symbol: the message's length.
pub(crate) const REPLY_LENGTH_LEN: usize = 4;

/// Before the encoded response in the padded message: its length.
const RESPONSE_LENGTH_LEN: usize = 4;

/// Longest response, encoded, that an answer of `class` carries.
#[must_use]
pub fn answer_capacity(geometry: Geometry, class: AnswerClass) -> usize {
    let shape = Shape::of_class(class, reply_symbol_len(geometry));
    to_usize(shape.length()) - RESPONSE_LENGTH_LEN
}

/// Longest request, encoded, reply blocks included.
#[must_use]
pub fn request_capacity(geometry: Geometry) -> usize {
    to_usize(MAX_SOURCE) * usize::from(request_symbol_len(geometry))
}

/// Length of a request packet's payload: all that a mailbox forwards.
pub(crate) fn request_payload_len(geometry: Geometry) -> usize {
    geometry.mailbox_capacity()
}

pub(crate) fn request_symbol_len(geometry: Geometry) -> u16 {
    symbol_len(
        request_payload_len(geometry),
        ADMISSION_LEN + SEAL_OVERHEAD + FRAGMENT_HEADER_LEN,
    )
}

pub(crate) fn reply_symbol_len(geometry: Geometry) -> u16 {
    let overhead = REPLY_PREFIX_LEN + wire::BlobKey::OVERHEAD + REPLY_LENGTH_LEN;
    symbol_len(geometry.capacity(), overhead)
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
    request_payload_len(geometry) > ADMISSION_LEN + SEAL_OVERHEAD + FRAGMENT_HEADER_LEN
}

/// What is left of `room` after `overhead`; one rather than none where [`carries_requests`]
/// says no.
fn symbol_len(room: usize, overhead: usize) -> u16 {
    let left = room.saturating_sub(overhead).max(1);
    u16::try_from(left).unwrap_or(u16::MAX)
}

pub(crate) fn to_usize(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_the_specification() {
        let geometry = Geometry::DEFAULT;
        assert_eq!(request_payload_len(geometry), 8_159);
        assert_eq!(request_symbol_len(geometry), 6_903);
        assert_eq!(reply_symbol_len(geometry), 8_135);
        let answers = AnswerClass::ALL.map(|class| answer_capacity(geometry, class));
        assert_eq!(answers, [8_131, 24_401, 113_886, 471_826]);
        assert_eq!(request_capacity(geometry), 256 * 6_903);
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
