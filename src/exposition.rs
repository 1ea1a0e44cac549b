//! Prometheus text over HTTP on `[metrics] listen`, rounded to ten-second buckets.
//!
//! A scrape shows the counters as they stood at the last bucket's end: finer times would tell
//! when a packet passed.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The process's counters.
#[derive(Clone)]
pub struct Exposition {
    recorder: PrometheusHandle,
    bucket: Arc<Mutex<String>>,
}

impl Exposition {
    /// Installs the recorder behind the `metrics` facade; once a process.
    ///
    /// # Errors
    /// A sentence, if another recorder is installed already.
    pub fn install() -> Result<Self, String> {
        let recorder = PrometheusBuilder::new()
            .install_recorder()
            .map_err(|e| e.to_string())?;
        Ok(Self {
            recorder,
            bucket: Arc::default(),
        })
    }

    /// The counters of the last full bucket.
    #[must_use]
    pub fn text(&self) -> String {
        self.bucket
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Closes a bucket: later scrapes show the counters as they are now.
    pub fn close_bucket(&self) {
        self.recorder.run_upkeep();
        let text = self.recorder.render();
        *self.bucket.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }

    /// Serves scrapes at `listen` until the runtime ends; returns the address bound.
    ///
    /// # Errors
    /// The operating system's, if the address cannot be bound.
    pub async fn serve(&self, listen: SocketAddr) -> std::io::Result<SocketAddr> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        if !address.ip().is_loopback() {
            tracing::warn!("metrics are public at {address}; they help an attacker");
        }
        let buckets = self.clone();
        tokio::spawn(async move {
            let mut tick = tokio::time::interval(BUCKET);
            loop {
                tick.tick().await;
                buckets.close_bucket();
            }
        });
        let counters = self.clone();
        tokio::spawn(async move {
            // One scrape at a time: a bound on sockets and memory that needs no counting.
            while let Ok((stream, _)) = listener.accept().await {
                let _ = tokio::time::timeout(SCRAPE_DEADLINE, answer(stream, &counters)).await;
            }
        });
        Ok(address)
    }
}

async fn answer(mut stream: TcpStream, counters: &Exposition) -> std::io::Result<()> {
    let mut request = [0; 1024];
    let read = stream.read(&mut request).await?;
    let request = request.get(..read).unwrap_or_default();
    let (status, body) = if request.starts_with(b"GET /metrics ") || request.starts_with(b"GET / ")
    {
        ("200 OK", counters.text())
    } else {
        ("404 Not Found", "metrics are at /metrics\n".to_owned())
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.shutdown().await
}

/// Width of a bucket.
pub const BUCKET: Duration = Duration::from_secs(10);

const SCRAPE_DEADLINE: Duration = Duration::from_secs(2);
