//! Nobody but its owner can join an anonymous mailbox to where the owner is: what every node of
//! a running network saw, opened and stored is searched for both.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use directory::{Identity, Parameters};
use link::{Sight, Tap};
use provider::Trial;
use subrosa::demo::house::{House, Setting};
use subrosa::demo::inspector::Secrets;
use subrosa::plan::Counts;
use subrosa::trial::ChildProcess;
use wire::Time;

const OWNER: &str = "provider-1";

/// The ways in which bytes could stand in a record.
fn forms(secret: &[u8]) -> Vec<Vec<u8>> {
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    vec![
        secret.to_vec(),
        hex.to_uppercase().into_bytes(),
        hex.into_bytes(),
        base64(secret).into_bytes(),
    ]
}

/// RFC 4648, section 4, without padding.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let sextet = |chunk: &[u8], place: usize| {
        let bits = chunk
            .iter()
            .fold(0_u32, |bits, byte| (bits << 8) | u32::from(*byte))
            << (8 * (3 - chunk.len()));
        char::from(LETTERS[(bits >> (18 - 6 * place) & 63) as usize])
    };
    let letters = |chunk: &'_ [u8]| {
        (0..=chunk.len())
            .map(|p| sextet(chunk, p))
            .collect::<String>()
    };
    bytes.chunks(3).map(letters).collect()
}

fn holds(bytes: &[u8], needles: &[Vec<u8>]) -> bool {
    needles
        .iter()
        .any(|needle| bytes.windows(needle.len()).any(|window| window == *needle))
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

/// Who is searched for: the mailbox by any of its names, and where its owner is.
struct Owner {
    mailbox: Vec<Vec<u8>>,
    address: SocketAddr,
}

impl Owner {
    fn of(house: &House) -> Self {
        let mut nodes = house.plan().nodes.iter();
        let seed = &nodes.find(|node| node.name == OWNER).unwrap().seed;
        let key = Identity::from_seed(seed);
        let mut mailbox = forms(&key.public());
        mailbox.extend(forms(&key.mailbox().0));
        mailbox.push(OWNER.as_bytes().to_vec());
        Self {
            mailbox,
            address: house.inspector().address_of(OWNER),
        }
    }

    /// The address as text, and as the bytes of address and port.
    fn places(&self) -> Vec<Vec<u8>> {
        let SocketAddr::V4(address) = self.address else {
            panic!("loopback is 127.0.0.1 here");
        };
        let port = address.port().to_be_bytes();
        let raw = [address.ip().octets().as_slice(), &port].concat();
        vec![self.address.to_string().into_bytes(), raw]
    }
}

/// Who, apart from the owner, can join both: by what a node saw and opened, or by one file.
fn who_knows_both(house: &House, owner: &Owner) -> Vec<String> {
    let mut known = Vec::new();
    for node in house.plan().nodes.iter().filter(|node| node.name != OWNER) {
        let mut saw = (false, false);
        for form in &owner.mailbox {
            let secrets = Secrets {
                address: owner.address,
                whom: form.clone(),
                question: Vec::new(),
                answer: Vec::new(),
            };
            let knowledge = house.inspector().knowledge(&node.name, &secrets);
            saw = (saw.0 || knowledge.whom, saw.1 || knowledge.address);
        }
        if saw == (true, true) {
            known.push(format!("{} saw both", node.name));
        }
        let dir = house.state().join(&node.name);
        for file in files(&dir) {
            let bytes = fs::read(&file).unwrap();
            if holds(&bytes, &owner.mailbox) && holds(&bytes, &owner.places()) {
                known.push(format!("{} has both", file.display()));
            }
        }
    }
    known
}

#[tokio::test(flavor = "multi_thread")]
async fn no_node_can_join_a_mailbox_to_where_its_owner_is() {
    let _alone = crate::ALONE.lock().await;
    let counts = Counts {
        authorities: 1,
        mixes: 3,
        gateways: 4,
        providers: 1,
    };
    let services = subrosa::services();
    let trial: Arc<dyn Trial> = Arc::new(ChildProcess::of(env!("CARGO_BIN_EXE_subrosa")));
    let parameters = Parameters::demo().with_short_first_epoch();
    let mut house = House::start(&services, &trial, Setting::new(counts, parameters)).unwrap();
    let client = house
        .join("asker", house.entry_apart_from(OWNER), 1)
        .await
        .unwrap();
    house.listed(&client, 1).await.unwrap();
    let shipped = &compiler::shipped()[0];
    let answer = client
        .query(shipped.name, shipped.samples()[0].input.clone())
        .await
        .unwrap();
    assert_eq!(answer.model, shipped.name);

    let owner = Owner::of(&house);
    assert_ne!(owner.address.port(), 0, "the owner's link was seen");
    assert_eq!(who_knows_both(&house, &owner), Vec::<String>::new());

    // The search finds a pair that is there: in a file, and in what a node opened.
    let place = String::from_utf8(owner.places()[0].clone()).unwrap();
    let planted = house.state().join("mix-1").join("planted");
    let mailbox = String::from_utf8(owner.mailbox[3].clone()).unwrap();
    fs::write(&planted, format!("{mailbox} at {place}")).unwrap();
    assert_eq!(who_knows_both(&house, &owner).len(), 1);
    fs::remove_file(&planted).unwrap();
    let bytes = format!("{mailbox} at {place}").into_bytes();
    let tap = Tap::new("mix-1", house.inspector().clone());
    tap.saw(Sight::Plaintext {
        at: Time::ZERO,
        label: "planted",
        bytes,
    });
    assert_eq!(who_knows_both(&house, &owner), ["mix-1 saw both"]);
    client.close().await;
    house.stop().await;
}
