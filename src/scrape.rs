//! Reads a node's page of counters, as a Prometheus server would.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A node's counters.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Counters {
    /// Packets by what became of them: received, made, sent, consumed, refused, lost, held.
    pub packets: BTreeMap<String, u64>,
    /// Refused packets by reason.
    pub refused: BTreeMap<String, u64>,
}

impl Counters {
    /// Packets of one kind.
    #[must_use]
    pub fn of(&self, kind: &str) -> u64 {
        self.packets.get(kind).copied().unwrap_or(0)
    }

    /// Whether received + made = sent + consumed + refused + lost + held.
    #[must_use]
    pub fn balance(&self) -> bool {
        let went = ["sent", "consumed", "refused", "lost", "held"];
        self.of("received") + self.of("made") == went.iter().map(|kind| self.of(kind)).sum::<u64>()
    }

    /// Adds another node's counters to these.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in [
            (&mut self.packets, &other.packets),
            (&mut self.refused, &other.refused),
        ] {
            for (name, count) in theirs {
                *mine.entry(name.clone()).or_default() += count;
            }
        }
    }

    /// Reads Prometheus text: the counters of `node`, or of all nodes of the process.
    #[must_use]
    pub fn parse(text: &str, node: Option<&str>) -> Self {
        let mut counters = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((series, value)) = line.rsplit_once(' ') else {
                continue;
            };
            let label = |name: &str| {
                series
                    .split_once(&format!("{name}=\""))
                    .and_then(|(_, rest)| rest.split('"').next())
            };
            if node.is_some() && label("node") != node {
                continue;
            }
            #[allow(
                clippy::cast_sign_loss,
                clippy::cast_possible_truncation,
                reason = "a count"
            )]
            let count = value
                .parse::<f64>()
                .map_or(0, |count| count.max(0.0) as u64);
            if series.starts_with("subrosa_packets_total")
                || series.starts_with("subrosa_packets_held")
            {
                let flow = label("kind").unwrap_or("held");
                *counters.packets.entry(flow.to_owned()).or_default() += count;
            } else if series.starts_with("subrosa_refused_total") {
                let reason = label("reason").unwrap_or("unknown");
                *counters.refused.entry(reason.to_owned()).or_default() += count;
                *counters.packets.entry("refused".to_owned()).or_default() += count;
            }
        }
        counters
    }
}

/// Scrapes a node.
///
/// # Errors
/// The operating system's, or a timeout after two seconds.
pub async fn counters(address: SocketAddr) -> std::io::Result<Counters> {
    let text = tokio::time::timeout(Duration::from_secs(2), page(address)).await??;
    Ok(Counters::parse(&text, None))
}

async fn page(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await?;
    let mut text = Vec::new();
    stream.take(MAX_PAGE_LEN).read_to_end(&mut text).await?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

const MAX_PAGE_LEN: u64 = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# TYPE subrosa_packets_total counter\n\
        subrosa_packets_total{node=\"mix-1\",role=\"mix\",kind=\"received\"} 7\n\
        subrosa_packets_total{node=\"mix-1\",role=\"mix\",kind=\"sent\"} 4\n\
        subrosa_packets_total{node=\"mix-2\",role=\"mix\",kind=\"sent\"} 9\n\
        subrosa_refused_total{node=\"mix-1\",role=\"mix\",reason=\"replay\"} 2\n\
        subrosa_packets_held{node=\"mix-1\",role=\"mix\"} 1\n";

    #[test]
    fn reads_one_node_or_all() {
        let one = Counters::parse(PAGE, Some("mix-1"));
        assert_eq!(
            (one.of("received"), one.of("sent"), one.of("refused")),
            (7, 4, 2)
        );
        assert!(one.balance());
        assert_eq!(one.refused.get("replay"), Some(&2));
        assert_eq!(Counters::parse(PAGE, None).of("sent"), 13);
        assert!(!Counters::parse(PAGE, None).balance());
    }
}
