//! Bytes that `tests/vectors/make.py` made from docs/spec/message.md alone.

use wire::{AnswerClass, Decode, Encode, GraphHash, Mail, Refusal, RequestId};
use zeroize::Zeroizing;

use crate::exchange::ExchangeSecret;
use crate::fragment::Fragment;
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
