//! A node's `node.toml`: parsed once, here, into types that cannot be wrong.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use wire::NodeName;

/// What a node is told by its operator.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    /// Which part the node plays.
    pub role: Role,
    /// Its name in the consensus document.
    pub name: String,
    /// The network it belongs to; relative to this file.
    pub network: PathBuf,
    /// Where it keeps keys and state; relative to this file.
    #[serde(default = "default_data")]
    pub data: PathBuf,
    /// Key file of the family that it belongs to, for an operator of several mixes and gateways;
    /// relative to this file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family: Option<PathBuf>,
    /// Its links.
    pub link: LinkSection,
    /// Its counters.
    #[serde(default)]
    pub metrics: MetricsSection,
    /// What a provider serves.
    #[serde(default)]
    pub provider: ProviderSection,
}

/// The part that a node plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Signs one view of the network an epoch.
    Authority,
    /// Peels, delays, forwards.
    Mix,
    /// Admits clients, keeps mailboxes.
    Gateway,
    /// Runs models and answers.
    Provider,
}

impl Role {
    /// The word in configs, commands and metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Authority => "authority",
            Self::Mix => "mix",
            Self::Gateway => "gateway",
            Self::Provider => "provider",
        }
    }
}

/// `[link]`: where the node listens, and what others are told.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LinkSection {
    /// Address to listen on; a provider has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
    /// Addresses that the descriptor names; `listen` if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub advertise: Vec<SocketAddr>,
    /// A provider's entry gateway by its document name; drawn at random if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
}

/// `[metrics]`: Prometheus text over HTTP; off unless `listen` is set.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct MetricsSection {
    /// Address to listen on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
    /// Must be true for an address other than loopback: counters help an attacker.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub expose_metrics: bool,
}

/// `[provider]`: what is served.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderSection {
    /// Names of the shipped models to serve, all of them if empty, and of files that must be there.
    /// Files that were added to its state are served in any case.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    /// How it is reached.
    #[serde(default)]
    pub reach: ReachSetting,
}

/// How a provider is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(try_from = "String", rename_all = "lowercase")]
pub enum ReachSetting {
    /// By nobody who could tell where it is.
    #[default]
    Anonymous,
    /// At its entry gateway, which the document names: faster, and no secret.
    Attached,
}

impl TryFrom<String> for ReachSetting {
    type Error = String;

    fn try_from(word: String) -> Result<Self, String> {
        match word.as_str() {
            "anonymous" => Ok(Self::Anonymous),
            "attached" => Ok(Self::Attached),
            _ => {
                let hint = client::nearest(&word, ["anonymous", "attached"].into_iter())
                    .map(|near| format!("; did you mean {near:?}?"))
                    .unwrap_or_default();
                Err(format!(
                    "reach in [provider] is \"anonymous\" or \"attached\", not {word:?}{hint}"
                ))
            }
        }
    }
}

/// What is wrong with a config: one line that names file, reason and way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError(pub(crate) String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

impl NodeConfig {
    /// Reads `node.toml` in `dir`; paths in it become relative to the caller.
    ///
    /// # Errors
    /// [`ConfigError`] if it is missing, malformed, or says something impossible.
    pub fn read(dir: &Path) -> Result<Self, ConfigError> {
        let path = dir.join(NODE_FILE);
        let text = read_text(&path)?;
        let mut config: Self = parse(&path, &text, NODE_KEYS)?;
        config
            .check()
            .map_err(|why| ConfigError(format!("{}: {why}", path.display())))?;
        config.network = dir.join(&config.network);
        config.data = dir.join(&config.data);
        config.family = config.family.map(|file| dir.join(file));
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        if NodeName::new(&self.name).is_none() {
            return Err(format!(
                "name {:?} is not 1 to 32 of a-z, 0-9, -",
                self.name
            ));
        }
        if self.role != Role::Provider && self.link.listen.is_none() {
            return Err(format!("a {} needs listen in [link]", self.role.label()));
        }
        if self.family.is_some() && !matches!(self.role, Role::Mix | Role::Gateway) {
            return Err(format!(
                "family is for mixes and gateways; take it out of this {}'s config",
                self.role.label()
            ));
        }
        let exposed = self.metrics.listen.is_some_and(|at| !at.ip().is_loopback());
        if exposed && !self.metrics.expose_metrics {
            return Err("metrics would be public; listen on 127.0.0.1, or set \
                        expose_metrics = true in [metrics]"
                .to_owned());
        }
        Ok(())
    }
}

/// Reads a text file.
pub(crate) fn read_text(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|e| ConfigError(format!("{}: {e}", path.display())))
}

/// Parses TOML; an unknown key is an error that names key, section and likely intention.
pub(crate) fn parse<T: serde::de::DeserializeOwned>(
    path: &Path,
    text: &str,
    known: &[(&str, &[&str])],
) -> Result<T, ConfigError> {
    let name = path
        .file_name()
        .map_or_else(|| path.to_string_lossy(), |n| n.to_string_lossy());
    let table: toml::Table = text
        .parse()
        .map_err(|e: toml::de::Error| ConfigError(format!("{name}: {}", e.message())))?;
    if let Some(why) = unknown_key(&table, "", known) {
        return Err(ConfigError(format!("{name}: {why}")));
    }
    table
        .try_into()
        .map_err(|e: toml::de::Error| ConfigError(format!("{name}: {}", e.message())))
}

fn unknown_key(table: &toml::Table, section: &str, known: &[(&str, &[&str])]) -> Option<String> {
    let keys = known
        .iter()
        .find(|(name, _)| *name == section)
        .map_or(&[][..], |(_, keys)| keys);
    for (key, value) in table {
        if !keys.contains(&key.as_str()) {
            let place = if section.is_empty() {
                String::new()
            } else {
                format!(" in [{section}]")
            };
            let hint = client::nearest(key, keys.iter().copied())
                .map(|near| format!("; did you mean {near:?}?"))
                .unwrap_or_default();
            return Some(format!("unknown key {key:?}{place}{hint}"));
        }
        let below = match value {
            toml::Value::Table(table) => unknown_key(table, key, known),
            toml::Value::Array(rows) => rows
                .iter()
                .filter_map(toml::Value::as_table)
                .find_map(|row| unknown_key(row, key, known)),
            _ => None,
        };
        if below.is_some() {
            return below;
        }
    }
    None
}

fn default_data() -> PathBuf {
    "data".into()
}

/// A node's config inside its directory.
pub(crate) const NODE_FILE: &str = "node.toml";

const NODE_KEYS: &[(&str, &[&str])] = &[
    (
        "",
        &[
            "role", "name", "network", "data", "family", "link", "metrics", "provider",
        ],
    ),
    ("link", &["listen", "advertise", "gateway"]),
    ("metrics", &["listen", "expose_metrics"]),
    ("provider", &["models", "reach"]),
];

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "role = \"mix\"\nname = \"mix-1\"\nnetwork = \"../network.toml\"\n\
                        [link]\nlisten = \"127.0.0.1:4001\"\n";

    fn read(text: &str) -> Result<NodeConfig, ConfigError> {
        let config: NodeConfig = parse(Path::new("dir/gateway.toml"), text, NODE_KEYS)?;
        config.check().map_err(ConfigError)?;
        Ok(config)
    }

    #[test]
    fn an_unknown_key_is_named_with_the_likely_intention() {
        assert!(read(GOOD).is_ok());
        let error = read(&GOOD.replace("listen", "listn")).unwrap_err();
        let expected = "gateway.toml: unknown key \"listn\" in [link]; did you mean \"listen\"?";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn a_provider_is_anonymous_unless_it_says_otherwise() {
        let provider = "role = \"provider\"\nname = \"p\"\nnetwork = \"n\"\n[link]\n[provider]\n";
        assert_eq!(
            read(provider).unwrap().provider.reach,
            ReachSetting::Anonymous
        );
        let attached = read(&format!("{provider}reach = \"attached\"\n")).unwrap();
        assert_eq!(attached.provider.reach, ReachSetting::Attached);
        let error = read(&format!("{provider}reach = \"atached\"\n")).unwrap_err();
        let expected = "gateway.toml: reach in [provider] is \"anonymous\" or \"attached\", not \
                        \"atached\"; did you mean \"attached\"?";
        assert!(error.to_string().starts_with(expected), "{error}");
    }

    #[test]
    fn metrics_are_not_public_by_accident() {
        let text = format!("{GOOD}[metrics]\nlisten = \"0.0.0.0:9000\"\n");
        assert!(
            read(&text)
                .unwrap_err()
                .to_string()
                .contains("expose_metrics = true")
        );
        assert!(read(&format!("{text}expose_metrics = true\n")).is_ok());
    }

    #[test]
    fn a_family_is_for_mixes_and_gateways() {
        let with = format!("family = \"../family.key\"\n{GOOD}");
        assert!(read(&with).unwrap().family.is_some());
        let error = read(&with.replace("\"mix\"", "\"authority\"")).unwrap_err();
        let expected = "family is for mixes and gateways; take it out of this authority's config";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn a_relay_needs_an_address() {
        let error = read(&GOOD.replace("listen = \"127.0.0.1:4001\"", "")).unwrap_err();
        assert_eq!(error.to_string(), "a mix needs listen in [link]");
    }
}
