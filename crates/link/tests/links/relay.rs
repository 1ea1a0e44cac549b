//! A path that loses what it is told to lose.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use crate::harness::loopback;

/// A relay of datagrams between one client and a host.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    pub(crate) task: tokio::task::JoinHandle<()>,
    host: Arc<Mutex<SocketAddr>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heading {
    /// From the client to the host.
    Up,
    /// From the host to the client.
    Down,
}

impl Relay {
    /// Passes on the datagrams that `passes` lets through.
    pub(crate) async fn start(
        host: SocketAddr,
        mut passes: impl FnMut(Heading, &[u8]) -> bool + Send + 'static,
    ) -> Self {
        let inside = tokio::net::UdpSocket::bind(loopback()).await.unwrap();
        let outside = tokio::net::UdpSocket::bind(loopback()).await.unwrap();
        let host = Arc::new(Mutex::new(host));
        let leads_to = host.clone();
        let address = inside.local_addr().unwrap();
        let task = tokio::spawn(async move {
            let (mut up, mut down) = (vec![0; 65536], vec![0; 65536]);
            let mut client = None;
            loop {
                tokio::select! {
                    received = inside.recv_from(&mut up) => {
                        let Ok((length, from)) = received else { return };
                        client = Some(from);
                        if passes(Heading::Up, &up[..length]) {
                            let host = *leads_to.lock().unwrap();
                            let _ = outside.send_to(&up[..length], host).await;
                        }
                    }
                    received = outside.recv_from(&mut down) => {
                        let Ok((length, from)) = received else { continue };
                        if from != *leads_to.lock().unwrap() {
                            continue;
                        }
                        if let (Some(client), true) = (client, passes(Heading::Down, &down[..length])) {
                            let _ = inside.send_to(&down[..length], client).await;
                        }
                    }
                }
            }
        });
        Self {
            address,
            task,
            host,
        }
    }

    /// Leads the same path to another host from now on.
    pub(crate) fn lead_to(&self, host: SocketAddr) {
        *self.host.lock().unwrap() = host;
    }
}
