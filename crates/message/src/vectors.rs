//! Bytes that `tests/vectors/make.py` made from docs/spec/message.md alone.

use std::time::Duration;

use directory::Identity;
use wire::{
    AnswerClass, Decode, Encode, GraphHash, Mail, NodeId, Outcome, Refusal, RequestFailure,
    RequestId, Response,
};
use zeroize::Zeroizing;

use crate::contact::{Contact, ContactWord};
use crate::exchange::ExchangeSecret;
use crate::fragment::Fragment;
use crate::owner::mailbox_gateways;
use crate::profile::{Profile, read_profile, sealing_key};
use crate::sack::{Reply, Sack, Said, open, seal_sack, seal_symbol};

fn bytes(text: &str) -> Vec<u8> {
    let text: String = text.split_whitespace().collect();
    let byte = |at: usize| u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok();
    (0..text.len() / 2).map(|at| byte(at).unwrap()).collect()
}

macro_rules! vector {
    ($name:literal) => {
        bytes(include_str!(concat!("../tests/vectors/", $name, ".hex")))
    };
}

fn secret() -> ExchangeSecret {
    ExchangeSecret::from_bytes(&[0x77; 32]).unwrap()
}

fn symbol() -> Vec<u8> {
    (0..64).collect()
}

#[test]
fn names_tags_and_keys_of_an_exchange_are_those_of_the_reference() {
    let secret = secret();
    let answer = secret.reply(b"content");
    let mut made = Vec::new();
    for part in [
        secret.message().0,
        secret.tag(0).0,
        secret.tag(1_023).0,
        answer.0,
    ] {
        made.extend(part);
    }
    let expected = vector!("exchange");
    assert_eq!(made, expected.split_at(64).0);
    // The key shows in what it opens.
    let key: [u8; 32] = expected.split_at(64).1.try_into().unwrap();
    let sealed = secret.reply_key(&answer).seal(3, b"context", b"text");
    let opened = wire::BlobKey::from_bytes(key).open(3, b"context", &sealed);
    assert_eq!(opened.as_deref(), Ok(b"text".as_slice()));
}

#[test]
fn acknowledgements_are_those_of_the_reference() {
    let sack = Sack {
        received: 3,
        wanted: 2,
        seen: Sack::bits([0, 1, 11].iter()),
    };
    let expected = vector!("sack");
    assert_eq!(seal_sack(&secret(), 5, 3, &sack), expected);
    let Ok(Reply {
        number,
        held,
        said: Said::Sack(opened),
    }) = open(&secret(), &expected)
    else {
        panic!("an acknowledgement");
    };
    assert_eq!((number, held, opened), (5, 3, sack));
}

#[test]
fn symbols_of_answers_are_those_of_the_reference() {
    let answer = secret().reply(b"content");
    let expected = vector!("symbol");
    let sealed = seal_symbol(&secret(), &answer, 16_383, 0, 24_396, &symbol());
    assert_eq!(sealed, expected);
    let Ok(Reply {
        number,
        held,
        said:
            Said::Symbol {
                answer: of,
                length,
                symbol: opened,
            },
    }) = open(&secret(), &expected)
    else {
        panic!("a symbol");
    };
    assert_eq!((number, held, of, length), (16_383, 0, answer, 24_396));
    assert_eq!(*opened, symbol());
}

#[test]
fn replies_that_the_layout_does_not_know_are_malformed() {
    let bad = [
        vector!("sack_bad_last_byte"),
        vector!("sack_bad_length"),
        vector!("symbol_bad_number"),
        vector!("reply_bad_kind"),
    ];
    for reply in bad {
        assert_eq!(open(&secret(), &reply).err(), Some(Refusal::Malformed));
    }
}

#[test]
fn fragments_with_reply_blocks_are_those_of_the_reference() {
    let expected = vector!("fragment");
    let fragment = Fragment {
        secret: secret(),
        length: 200,
        index: 2,
        end: 5,
        surbs: vec![[0x33; 396], [0x44; 396]],
        symbol: Zeroizing::new(symbol()),
    };
    assert_eq!(fragment.to_bytes(), expected);
    let read = Fragment::from_bytes(&expected).unwrap();
    assert_eq!(read.secret.message(), secret().message());
    assert_eq!((read.length, read.index, read.end), (200, 2, 5));
    assert_eq!(read.surbs, fragment.surbs);
    assert_eq!(*read.symbol, symbol());
    assert!(Fragment::from_bytes(&vector!("fragment_bad_no_surbs")).is_err());
}

#[test]
fn questions_and_letters_are_those_of_the_reference() {
    let expected = vector!("question");
    let Ok(Mail::Request(request)) = Mail::from_bytes(&expected) else {
        panic!("a question");
    };
    assert_eq!(request.id, RequestId([0x55; 16]));
    assert_eq!(request.model, GraphHash([0x66; 32]));
    assert_eq!(request.class, AnswerClass::Sixteen);
    assert_eq!(request.input, b"abc");
    assert_eq!(Mail::Request(request).to_bytes(), expected);
    let expected = vector!("letter");
    let Ok(Mail::Letter(letter)) = Mail::from_bytes(&expected) else {
        panic!("a letter");
    };
    assert_eq!(letter.body, "Gr\u{fc}\u{df}e".as_bytes());
    assert_eq!(Mail::Letter(letter).to_bytes(), expected);
    for bad in [vector!("question_bad_class"), vector!("letter_bad_kind")] {
        assert!(Mail::from_bytes(&bad).is_err());
    }
}

/// The agent of the reference.
fn agent() -> Identity {
    Identity::from_seed(&[0x5e; 32])
}

/// The gateways that keep its mailbox, of five: it enters by the third.
fn keepers() -> Vec<NodeId> {
    let listed = (1..=5).map(|number| NodeId([number; 32]));
    mailbox_gateways(&agent(), listed, Some(NodeId([3; 32])))
}

const KNOCK: RequestId = RequestId([0x44; 16]);

#[test]
fn an_agents_contact_is_that_of_the_reference() {
    let word = ContactWord::of(&agent());
    let contact = Contact::new(agent().mailbox(), &keepers(), word);
    let line = include_str!("../tests/vectors/contact_agent.txt").trim();
    assert_eq!(contact.to_string(), line);
    assert_eq!(line.parse(), Ok(contact));
}

#[test]
fn a_knock_of_the_reference_opens_at_the_door() {
    let expected = vector!("knock");
    assert!(matches!(
        Mail::from_bytes(&expected),
        Ok(Mail::Knock(KNOCK))
    ));
    assert_eq!(Mail::Knock(KNOCK).to_bytes(), expected);
    for bad in [vector!("knock_bad_length"), vector!("knock_bad_rest")] {
        assert!(Mail::from_bytes(&bad).is_err());
    }
    let mailbox = agent().mailbox();
    let sealed = vector!("knock_sealed");
    let door = ContactWord::of(&agent()).door(&mailbox);
    let fragment = Fragment::from_bytes(&door.open(&mailbox, &sealed).unwrap()).unwrap();
    assert_eq!((fragment.length, fragment.index, fragment.end), (17, 0, 1));
    assert_eq!(fragment.surbs, [[0x33; 396]]);
    let (knock, padding) = fragment.symbol.split_at(17);
    assert_eq!(knock, expected);
    assert!(padding.len() == 6_469 && padding.iter().all(|byte| *byte == 0));
    // The key of the profile is another one.
    let refused = sealing_key(&agent()).open(&mailbox, &sealed);
    assert_eq!(refused, Err(Refusal::SealInvalid));
}

#[test]
fn profiles_are_those_of_the_reference() {
    let expected = vector!("profile");
    let (key, mailbox) = (sealing_key(&agent()).public().clone(), agent().mailbox());
    let profile = Profile::sign(&agent(), &key, keepers(), &KNOCK);
    assert_eq!(profile.to_bytes(), expected);
    let answer = |profile: Vec<u8>| Response {
        id: KNOCK,
        compute: Duration::ZERO,
        held: Duration::ZERO,
        outcome: Outcome::Output(profile),
    };
    let read = read_profile(&mailbox, &answer(expected)).unwrap();
    assert_eq!((read.sealing_key, read.gateways), (key, keepers()));
    let invalid = [
        vector!("profile_bad_signature"),
        vector!("profile_other_knock"),
    ];
    for bad in invalid {
        let refused = read_profile(&mailbox, &answer(bad));
        assert_eq!(refused, Err(Refusal::SealInvalid));
    }
    let malformed = [
        vector!("profile_bad_no_gateway"),
        vector!("profile_bad_three_gateways"),
    ];
    for bad in malformed {
        let refused = read_profile(&mailbox, &answer(bad));
        assert_eq!(refused, Err(Refusal::Malformed));
    }
}

#[test]
fn responses_are_those_of_the_reference() {
    let response = |outcome| Response {
        id: KNOCK,
        compute: Duration::from_millis(3),
        held: Duration::from_millis(250),
        outcome,
    };
    let known = [
        (vector!("response"), Outcome::Output(b"abc".to_vec())),
        (
            vector!("response_failed"),
            Outcome::Failed(RequestFailure::BadInput),
        ),
    ];
    for (expected, outcome) in known {
        assert_eq!(response(outcome).to_bytes(), expected);
        let read = Response::from_bytes(&expected).unwrap();
        assert_eq!(read.to_bytes(), expected);
    }
    assert!(Response::from_bytes(&vector!("response_bad_failure")).is_err());
}
