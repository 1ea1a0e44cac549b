use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

use super::*;

fn contact() -> Contact {
    let mut mailbox = MailboxAddress([0; 32]);
    for (byte, value) in mailbox.0.iter_mut().zip((0..).step_by(7)) {
        *byte = value;
    }
    let gateways = [NodeId([0xa1; 32]), NodeId([0x5e; 32])];
    Contact::new(mailbox, &gateways, ContactWord([0x3c; 16]))
}

#[test]
fn a_contact_is_written_in_106_letters_and_read_again() {
    let text = contact().to_string();
    assert_eq!(text.len(), 106);
    assert_eq!(text, include_str!("../../tests/vectors/contact.txt").trim());
    assert_eq!(text.parse(), Ok(contact()));
    assert_eq!(text.to_uppercase().parse(), Ok(contact()));
    assert_eq!(format!(" {text}\n").parse(), Ok(contact()));
    assert_eq!(format!("{:?}", contact()), "Contact(..)");
}

#[test]
fn what_was_copied_wrongly_is_refused_by_name() {
    let text = contact().to_string();
    let read = |text: &str| text.parse::<Contact>().unwrap_err();
    assert_eq!(read(""), BadContact::Prefix);
    assert_eq!(read(&text[1..]), BadContact::Prefix);
    assert_eq!(read(&text[..105]), BadContact::Length);
    assert_eq!(read(&format!("{text}a")), BadContact::Length);
    assert_eq!(read(&text.repeat(1_000)), BadContact::Length);
    let mixed = text.replacen("sr1", "SR1", 1);
    assert_eq!(read(&mixed), BadContact::MixedCase);
    let mut changed = text.clone();
    changed.replace_range(9..10, "0");
    assert_eq!(read(&changed), BadContact::Character);
    changed.replace_range(9..12, "\u{e9}");
    assert_eq!(read(&changed), BadContact::Length);
    for place in 3..106 {
        let mut changed = text.clone();
        let other = if &text[place..=place] == "b" {
            "c"
        } else {
            "b"
        };
        changed.replace_range(place..=place, other);
        assert_eq!(read(&changed), BadContact::Checksum, "letter {place}");
    }
}

#[test]
fn hostile_texts_are_refused_or_read_in_one_way() {
    bolero::check!().with_type::<String>().for_each(|text| {
        for text in [text.clone(), format!("sr1{text}")] {
            if let Ok(contact) = text.parse::<Contact>() {
                assert_eq!(contact.to_string(), text.trim().to_ascii_lowercase());
            }
        }
    });
}

#[test]
fn any_contact_survives_its_writing() {
    bolero::check!()
        .with_type::<([u8; 32], [u8; 6], [u8; 6], [u8; 16])>()
        .for_each(|(mailbox, first, second, word)| {
            let contact = Contact {
                mailbox: MailboxAddress(*mailbox),
                gateways: [*first, *second],
                word: ContactWord(*word),
            };
            assert_eq!(contact.to_string().parse(), Ok(contact));
        });
}

#[test]
fn the_door_is_open_to_who_has_the_contact_alone() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let given = contact();
    let sealed =
        given
            .word
            .door(&given.mailbox)
            .public()
            .seal(&mut rng, &given.mailbox, b"who is there");
    let opened = given
        .word
        .door(&given.mailbox)
        .open(&given.mailbox, &sealed);
    assert_eq!(**opened.unwrap(), *b"who is there");
    let guessed = ContactWord([0x3d; 16]).door(&given.mailbox);
    assert!(guessed.open(&given.mailbox, &sealed).is_err());
}
