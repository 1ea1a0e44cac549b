//! A path that loses what it is told to lose.

use std::net::SocketAddr;

use crate::harness::loopback;

/// A relay of datagrams between one client and a host.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    pub(crate) task: tokio::task::JoinHandle<()>,
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
        outside.connect(host).await.unwrap();
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
                            let _ = outside.send(&up[..length]).await;
                        }
                    }
                    received = outside.recv(&mut down) => {
                        let Ok(length) = received else { continue };
                        if let (Some(client), true) = (client, passes(Heading::Down, &down[..length])) {
                            let _ = inside.send_to(&down[..length], client).await;
                        }
                    }
                }
            }
        });
        Self { address, task }
    }
}
