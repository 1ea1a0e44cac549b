//! `network.toml`: all that a participant needs to know beforehand, as a file for people.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use directory::{AuthorityEntry, Network, NetworkDraft, Parameters};
use serde::{Deserialize, Serialize};
use sphinx::Geometry;
use traffic::{DelayLaw, Rate, Rates};
use wire::{NodeId, NodeName, Time};

use crate::config::{ConfigError, parse, read_text};

/// Reads a network's file.
///
/// # Errors
/// [`ConfigError`] naming file, key and reason.
pub fn read(path: &Path) -> Result<Network, ConfigError> {
    let text = read_text(path)?;
    let file: NetworkFile = parse(path, &text, NETWORK_KEYS)?;
    file.network()
        .map_err(|why| ConfigError(format!("{}: {why}", path.display())))
}

/// The file's text for a network.
///
/// # Panics
/// Never: every value of a network has a form in TOML.
#[must_use]
pub fn text(network: &Network) -> String {
    let body = toml::to_string(&NetworkFile::of(network)).expect("plain values have a TOML form");
    let requests = "slots_per_request = ";
    let body = body.replace(
        requests,
        &format!("# Of so many slots a client's request clock takes one, for a question or a dummy.\n{requests}"),
    );
    format!("# A Subrosa network: who signs its directory, and its signed parameters.\n{body}")
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct NetworkFile {
    threshold: u8,
    genesis_unix_ms: u64,
    parameters: ParametersSection,
    rates: RatesSection,
    authorities: Vec<AuthorityRow>,
    #[serde(default)]
    bootstrap: Vec<BootstrapRow>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct ParametersSection {
    epoch_ms: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    first_epoch_ms: Option<u32>,
    overlap_ms: u32,
    grace_epochs: u8,
    vote_step_ms: u32,
    payload_len_bytes: u32,
    classes_per_second: Vec<f64>,
    provider_class: u8,
    answer_tick_ms: u32,
    local_addresses: bool,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RatesSection {
    payload_per_second: f64,
    client_loop_weight: u32,
    drop_weight: u32,
    mix_loop_per_second: f64,
    gateway_loop_per_second: f64,
    delay_mean_us: u32,
    slots_per_request: u32,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct AuthorityRow {
    name: String,
    id: String,
    addresses: Vec<SocketAddr>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct BootstrapRow {
    id: String,
    address: SocketAddr,
}

impl NetworkFile {
    fn of(network: &Network) -> Self {
        let parameters = network.parameters();
        Self {
            threshold: network.draft().threshold,
            genesis_unix_ms: network.genesis().as_nanos() / 1_000_000,
            parameters: ParametersSection::of(parameters),
            rates: RatesSection::of(&parameters.rates),
            authorities: network
                .authorities()
                .iter()
                .map(|entry| AuthorityRow {
                    name: entry.name.to_string(),
                    id: entry.id.to_string(),
                    addresses: entry.addresses.clone(),
                })
                .collect(),
            bootstrap: network
                .bootstrap()
                .iter()
                .map(|(id, address)| BootstrapRow {
                    id: id.to_string(),
                    address: *address,
                })
                .collect(),
        }
    }

    fn network(self) -> Result<Network, String> {
        let authorities: Result<Vec<_>, String> = self
            .authorities
            .into_iter()
            .map(|row| {
                Ok(AuthorityEntry {
                    id: node_id(&row.id)?,
                    name: NodeName::new(&row.name).ok_or_else(|| {
                        format!("authority name {:?} is not a-z, 0-9, -", row.name)
                    })?,
                    addresses: row.addresses,
                })
            })
            .collect();
        let bootstrap: Result<Vec<_>, String> = self
            .bootstrap
            .into_iter()
            .map(|row| Ok((node_id(&row.id)?, row.address)))
            .collect();
        let draft = NetworkDraft {
            authorities: authorities?,
            threshold: self.threshold,
            genesis: Time::ZERO.after(Duration::from_millis(self.genesis_unix_ms)),
            parameters: self.parameters.parameters(self.rates.rates()?)?,
            bootstrap: bootstrap?,
        };
        Network::new(draft).map_err(|e| e.to_string())
    }
}

impl ParametersSection {
    fn of(parameters: &Parameters) -> Self {
        Self {
            epoch_ms: millis(parameters.epoch),
            first_epoch_ms: parameters.first_epoch.map(millis),
            overlap_ms: millis(parameters.overlap),
            grace_epochs: parameters.grace,
            vote_step_ms: millis(parameters.vote_step),
            payload_len_bytes: u32::try_from(parameters.geometry.payload_len()).unwrap_or(u32::MAX),
            classes_per_second: parameters
                .classes
                .iter()
                .map(|rate| rate.per_second())
                .collect(),
            provider_class: parameters.provider_class,
            answer_tick_ms: millis(parameters.answer_tick),
            local_addresses: parameters.local_addresses,
        }
    }

    fn parameters(self, rates: Rates) -> Result<Parameters, String> {
        let classes: Result<Vec<_>, String> = self
            .classes_per_second
            .into_iter()
            .map(|r| rate(r, "classes_per_second"))
            .collect();
        Ok(Parameters {
            epoch: Duration::from_millis(self.epoch_ms.into()),
            first_epoch: self
                .first_epoch_ms
                .map(|first| Duration::from_millis(first.into())),
            overlap: Duration::from_millis(self.overlap_ms.into()),
            grace: self.grace_epochs,
            vote_step: Duration::from_millis(self.vote_step_ms.into()),
            geometry: usize::try_from(self.payload_len_bytes)
                .ok()
                .and_then(Geometry::new)
                .ok_or("payload_len_bytes must be 1024 to 65536, a multiple of 64")?,
            classes: classes?,
            provider_class: self.provider_class,
            rates,
            answer_tick: Duration::from_millis(self.answer_tick_ms.into()),
            local_addresses: self.local_addresses,
        })
    }
}

impl RatesSection {
    fn of(rates: &Rates) -> Self {
        Self {
            payload_per_second: rates.payload.per_second(),
            client_loop_weight: rates.client_loop,
            drop_weight: rates.drop,
            mix_loop_per_second: rates.mix_loop.per_second(),
            gateway_loop_per_second: rates.gateway_loop.per_second(),
            delay_mean_us: u32::try_from(rates.delay.mean().as_micros()).unwrap_or(u32::MAX),
            slots_per_request: rates.slots_per_request,
        }
    }

    fn rates(self) -> Result<Rates, String> {
        Ok(Rates {
            payload: rate(self.payload_per_second, "payload_per_second")?,
            client_loop: self.client_loop_weight,
            drop: self.drop_weight,
            mix_loop: rate(self.mix_loop_per_second, "mix_loop_per_second")?,
            gateway_loop: rate(self.gateway_loop_per_second, "gateway_loop_per_second")?,
            delay: DelayLaw::new(Duration::from_micros(self.delay_mean_us.into()))
                .ok_or("delay_mean_us must be above zero")?,
            slots_per_request: match self.slots_per_request {
                0 => return Err("slots_per_request must be above zero".to_owned()),
                slots => slots,
            },
        })
    }
}

fn rate(per_second: f64, key: &str) -> Result<Rate, String> {
    Rate::new(per_second).ok_or_else(|| format!("{key}: {per_second} is not a rate above zero"))
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

pub(crate) fn node_id(hex: &str) -> Result<NodeId, String> {
    let wrong = || format!("id {hex:?} is not 64 hexadecimal digits");
    let digits: Option<Vec<u8>> = hex
        .chars()
        .map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok()))
        .collect();
    let digits = digits.ok_or_else(wrong)?;
    let mut bytes = [0; 32];
    if digits.len() != 64 {
        return Err(wrong());
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.as_chunks::<2>().0) {
        *byte = pair[0] << 4 | pair[1];
    }
    Ok(NodeId(bytes))
}

const NETWORK_KEYS: &[(&str, &[&str])] = &[
    (
        "",
        &[
            "threshold",
            "genesis_unix_ms",
            "parameters",
            "rates",
            "authorities",
            "bootstrap",
        ],
    ),
    (
        "parameters",
        &[
            "epoch_ms",
            "first_epoch_ms",
            "overlap_ms",
            "grace_epochs",
            "vote_step_ms",
            "payload_len_bytes",
            "classes_per_second",
            "provider_class",
            "answer_tick_ms",
            "local_addresses",
        ],
    ),
    (
        "rates",
        &[
            "payload_per_second",
            "client_loop_weight",
            "drop_weight",
            "mix_loop_per_second",
            "gateway_loop_per_second",
            "delay_mean_us",
            "slots_per_request",
        ],
    ),
    ("authorities", &["name", "id", "addresses"]),
    ("bootstrap", &["id", "address"]),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn network() -> Network {
        let authorities = (1..=4u8)
            .map(|n| AuthorityEntry {
                id: NodeId([n; 32]),
                name: NodeName::new(&format!("authority-{n}")).unwrap(),
                addresses: vec![SocketAddr::from(([127, 0, 0, 1], 4000 + u16::from(n)))],
            })
            .collect();
        Network::new(NetworkDraft {
            authorities,
            threshold: 3,
            genesis: Time::ZERO.after(Duration::from_secs(1_700_000_000)),
            parameters: Parameters::demo(),
            bootstrap: vec![(NodeId([9; 32]), SocketAddr::from(([127, 0, 0, 1], 5000)))],
        })
        .unwrap()
    }

    #[test]
    fn a_written_network_reads_back_as_itself() {
        let network = network();
        let file: NetworkFile =
            parse(Path::new("network.toml"), &text(&network), NETWORK_KEYS).unwrap();
        assert_eq!(file.network(), Ok(network));
    }

    #[test]
    fn impossible_values_are_named() {
        let text = text(&network()).replace("delay_mean_us = 50000", "delay_mean_us = 0");
        let file: NetworkFile = parse(Path::new("network.toml"), &text, NETWORK_KEYS).unwrap();
        assert_eq!(
            file.network(),
            Err("delay_mean_us must be above zero".to_owned())
        );
        assert!(node_id("zz").unwrap_err().contains("64 hexadecimal digits"));
    }
}
