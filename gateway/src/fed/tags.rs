//! Tags that an owner announced: each lets one packet go first.

use std::collections::{BTreeSet, VecDeque};

use wire::AdmissionTag;

#[derive(Default)]
pub(super) struct Tags {
    held: BTreeSet<AdmissionTag>,
    /// In the order in which they were announced; spent ones among them.
    order: VecDeque<AdmissionTag>,
}

impl Tags {
    /// Takes more tags; beyond the bound the oldest are forgotten.
    pub(super) fn announce(&mut self, tags: Vec<AdmissionTag>) {
        for tag in tags {
            if self.held.insert(tag) {
                self.order.push_back(tag);
            }
        }
        while self.order.len() > MAX_TAGS {
            if let Some(oldest) = self.order.pop_front() {
                self.held.remove(&oldest);
            }
        }
    }

    pub(super) fn holds(&self, tag: &AdmissionTag) -> bool {
        self.held.contains(tag)
    }

    /// Uses a tag up.
    pub(super) fn spend(&mut self, tag: &AdmissionTag) {
        self.held.remove(tag);
    }
}

/// Tags of one mailbox.
const MAX_TAGS: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(number: u16) -> AdmissionTag {
        let mut tag = [0; 16];
        tag[..2].copy_from_slice(&number.to_be_bytes());
        AdmissionTag(tag)
    }

    #[test]
    fn a_tag_is_good_once() {
        let mut tags = Tags::default();
        tags.announce(vec![tag(1), tag(1)]);
        assert!(tags.holds(&tag(1)) && !tags.holds(&tag(2)));
        tags.spend(&tag(1));
        assert!(!tags.holds(&tag(1)));
    }

    #[test]
    fn the_oldest_tags_make_room() {
        let mut tags = Tags::default();
        for number in 0..2_000 {
            tags.announce(vec![tag(number)]);
        }
        assert!(!tags.holds(&tag(975)) && tags.holds(&tag(976)));
        assert_eq!((tags.held.len(), tags.order.len()), (MAX_TAGS, MAX_TAGS));
    }
}
