//! The bounds of a gateway's memory. Every queue names the field that bounds it.

/// The bounds of a gateway's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Clients that may hold an account at once, connected or not.
    pub clients: usize,
    /// Packets that wait for one client.
    pub client_queue: usize,
    /// Mailboxes kept for one client.
    pub client_mailboxes: usize,
    /// Items that wait in one mailbox.
    pub mailbox_items: usize,
    /// Mailboxes whose owners feed them with reply blocks.
    pub fed_mailboxes: usize,
    /// Reply blocks of one such mailbox and epoch.
    pub fed_stock: usize,
    /// Items that wait in one such mailbox: so many announced, and as many others.
    pub fed_items: usize,
    /// Frames on their way to the link.
    pub outbox: usize,
    /// Packets held for the gateway's own clock into layer 1.
    pub layer_queue: usize,
    /// Service descriptors that one link may publish in an epoch.
    pub publications: u32,
    /// Replay tags kept of one epoch.
    pub replay_capacity: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            clients: 4_096,
            client_queue: 256,
            client_mailboxes: 8,
            mailbox_items: 1_024,
            fed_mailboxes: 256,
            fed_stock: 256,
            fed_items: 128,
            outbox: 8_192,
            layer_queue: 1_024,
            publications: 8,
            replay_capacity: 18_000_000,
        }
    }
}
