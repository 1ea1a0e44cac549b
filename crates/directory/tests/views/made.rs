//! Networks, descriptors and signed documents to test with.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sphinx::SecretKey;
use subrosa_directory::{
    AuthorityEntry, Consensus, Descriptor, Document, Encoding, FamilyMember, Finite, Identity,
    InputSchema, Line, ModelCard, ModelName, Network, NetworkDraft, NodeDescriptor, NodeDraft,
    OutputSchema, Parameters, Role, ServiceDescriptor, ServiceDraft, Settled, Subject,
    sign_document,
};
use wire::{AnswerClass, Encode, Epoch, GraphHash, NodeName, Time};

pub(crate) fn authority(place: u8) -> Identity {
    Identity::from_seed(&[place + 1; 32])
}

pub(crate) fn network() -> Arc<Network> {
    Arc::new(Network::new(draft()).unwrap())
}

pub(crate) fn draft() -> NetworkDraft {
    let authorities = (0..4).map(|place| AuthorityEntry {
        id: authority(place).node_id(),
        name: NodeName::new(&format!("authority-{place}")).unwrap(),
        addresses: vec![
            format!("127.0.0.1:{}", 4000 + u16::from(place))
                .parse()
                .unwrap(),
        ],
    });
    NetworkDraft {
        authorities: authorities.collect(),
        threshold: 3,
        genesis: Time::from_nanos(1_000_000_000_000),
        parameters: Parameters::demo(),
        bootstrap: Vec::new(),
    }
}

pub(crate) fn node_identity(number: u8) -> Identity {
    Identity::from_seed(&[100 + number; 32])
}

pub(crate) fn node_draft(number: u8, epoch: Epoch) -> NodeDraft {
    NodeDraft {
        name: NodeName::new(&format!("node-{number}")).unwrap(),
        role: if number < 3 { Role::Mix } else { Role::Gateway },
        epoch,
        addresses: vec![
            format!("127.0.0.1:{}", 5000 + u16::from(number))
                .parse()
                .unwrap(),
        ],
        sphinx_key: secret(number, epoch).public(),
        next_sphinx_key: secret(number, epoch.next()).public(),
        family: (number == 0).then(|| {
            FamilyMember::sign(&Identity::from_seed(&[50; 32]), &node_identity(0).node_id())
        }),
    }
}

pub(crate) fn node(number: u8, epoch: Epoch) -> NodeDescriptor {
    NodeDescriptor::sign(&node_identity(number), node_draft(number, epoch))
}

pub(crate) fn secret(number: u8, epoch: Epoch) -> SecretKey {
    let material = [&[number], epoch.0.to_be_bytes().as_slice()].concat();
    SecretKey::from_bytes(blake3::derive_key("test sphinx key", &material))
}

pub(crate) fn mailbox() -> Identity {
    Identity::from_seed(&[200; 32])
}

pub(crate) fn service(epoch: Epoch) -> ServiceDescriptor {
    let scale = Finite::new(0.5).unwrap();
    ServiceDescriptor::sign(
        &mailbox(),
        ServiceDraft {
            name: NodeName::new("provider-1").unwrap(),
            epoch,
            gateways: vec![node_identity(3).node_id()],
            sealing_key: vec![7; ServiceDescriptor::SEALING_KEY_LEN],
            models: vec![ModelCard {
                name: ModelName::new("tumour").unwrap(),
                description: Line::new("Benign or malignant").unwrap(),
                graph_hash: GraphHash([1; 32]),
                module_hash: [2; 32],
                class: AnswerClass::One,
                input: InputSchema {
                    elements: 30,
                    encoding: Encoding::Scaled,
                    missing: vec![],
                    scale: vec![scale],
                    zero: vec![Finite::new(0.0).unwrap(); 30],
                    lo: -128,
                    hi: 127,
                },
                output: OutputSchema {
                    elements: 2,
                    scale,
                    labels: vec![
                        Line::new("benign").unwrap(),
                        Line::new("malignant").unwrap(),
                    ],
                },
                fuel: 1_000_000,
            }],
        },
    )
}

/// Three mixes, a gateway and a service.
pub(crate) fn descriptors(epoch: Epoch) -> Vec<Descriptor> {
    let mut all: Vec<_> = (0..4).map(|n| Descriptor::Node(node(n, epoch))).collect();
    all.push(Descriptor::Service(Box::new(service(epoch))));
    all
}

pub(crate) fn document(
    network: &Network,
    epoch: Epoch,
    before: Option<&Document>,
    descriptors: &[Descriptor],
) -> Document {
    let set: BTreeMap<Subject, Descriptor> = descriptors
        .iter()
        .map(|d| (d.subject(), d.clone()))
        .collect();
    Document::compute(
        network,
        &Settled {
            epoch,
            before,
            descriptors: &set,
            doubled: &BTreeSet::new(),
            commitments: &BTreeMap::new(),
            shares: &BTreeMap::new(),
        },
    )
}

pub(crate) fn signed(network: &Network, document: &Document, signers: &[u8]) -> Consensus {
    let hash = document.hash();
    let sign = |place: &u8| {
        let identity = authority(*place);
        let signature = sign_document(&identity, network, document.epoch, &hash);
        (identity.node_id(), signature)
    };
    Consensus {
        document: document.clone(),
        signatures: signers.iter().map(sign).collect(),
    }
}

/// The documents of epochs 1 to `count`, in a chain, signed by three.
pub(crate) fn chain(network: &Network, count: u64) -> Vec<Vec<u8>> {
    let mut before: Option<Document> = None;
    let mut all = Vec::new();
    for epoch in (1..=count).map(Epoch) {
        let next = document(network, epoch, before.as_ref(), &descriptors(epoch));
        all.push(signed(network, &next, &[0, 1, 2]).to_bytes());
        before = Some(next);
    }
    all
}
