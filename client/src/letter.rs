//! Letters between agents: one to be sent, and those that come.

use std::pin::Pin;
use std::time::Duration;

use message::{Contact, EdgeError};
use tokio::sync::{mpsc, oneshot};
use zeroize::Zeroizing;

use crate::query::usable;
use crate::seat::{Command, Listen, Write};
use crate::{Client, LetterError, QueryError};

/// A letter that is sent when it is awaited, and given up when it is dropped.
#[must_use = "a letter is sent when it is awaited"]
pub struct Sending {
    client: Client,
    to: Contact,
    body: Zeroizing<Vec<u8>>,
    deadline: Duration,
}

/// A mailbox of one's own. Whoever was given its [contact](Self::contact) can write to it, and
/// nobody learns where it is read.
///
/// It is closed when it is dropped.
pub struct Listener {
    contact: Contact,
    letters: mpsc::Receiver<Zeroizing<Vec<u8>>>,
}

impl Listener {
    /// What to give to those who may write here: as text, 106 characters.
    #[must_use]
    pub const fn contact(&self) -> Contact {
        self.contact
    }

    /// The next letter; `None` once the client is closed. Each comes once, whatever the network
    /// does; while 64 wait here others wait with those who send them.
    pub async fn next(&mut self) -> Option<Zeroizing<Vec<u8>>> {
        self.letters.recv().await
    }
}

impl Client {
    /// Opens a mailbox of a new key, until it is dropped.
    ///
    /// Two gateways other than the one this client enters by keep it, and are fed through the
    /// mixes; that takes a few seconds, and letters sent meanwhile are sent again.
    ///
    /// # Errors
    /// [`LetterError::NoRoute`] if the network has too few gateways or this client too many
    /// mailboxes, [`LetterError::NotUsable`] if it is closed.
    pub async fn listen(&self) -> Result<Listener, LetterError> {
        self.open(None).await
    }

    /// Opens the mailbox of a key that was kept: the same seed, the same contact, as long as the
    /// same gateways are there. Not by two clients at once.
    ///
    /// # Errors
    /// As [`Self::listen`].
    pub async fn listen_at(&self, seed: Zeroizing<[u8; 32]>) -> Result<Listener, LetterError> {
        self.open(Some(seed)).await
    }

    /// A letter of up to a mebibyte to the owner of `to`. Sent when it is awaited; done when its
    /// receiver said that it arrived.
    pub fn send(&self, to: Contact, body: impl Into<Vec<u8>>) -> Sending {
        Sending {
            client: self.clone(),
            to,
            body: Zeroizing::new(body.into()),
            deadline: LETTER_DEADLINE,
        }
    }

    async fn open(&self, seed: Option<Zeroizing<[u8; 32]>>) -> Result<Listener, LetterError> {
        let (letters_sender, letters) = mpsc::channel(READ_AHEAD);
        let (opened, contact) = oneshot::channel();
        self.command(Command::Listen(Listen {
            seed,
            letters: letters_sender,
            opened,
        }))
        .await?;
        let contact: Result<Contact, EdgeError> = contact.await.map_err(|_| closed())?;
        let contact = contact.map_err(LetterError::from)?;
        Ok(Listener { contact, letters })
    }

    async fn command(&self, command: Command) -> Result<(), LetterError> {
        let uplink = self.uplink().ok_or_else(closed)?;
        usable(&uplink.status()).map_err(LetterError::NotUsable)?;
        uplink.command(command).await.map_err(|_| closed())
    }
}

impl Sending {
    /// How long to try: a minute by default, five minutes at most.
    pub fn deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    async fn send(self) -> Result<(), LetterError> {
        let (ended, end) = oneshot::channel();
        let write = Write {
            to: self.to,
            body: self.body,
            deadline: self.deadline,
            ended,
        };
        self.client.command(Command::Write(write)).await?;
        // The handle is let go before the end is awaited: it would keep a closed client alive.
        drop(self.client);
        end.await.map_err(|_| closed())?
    }
}

impl IntoFuture for Sending {
    type Output = Result<(), LetterError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

const fn closed() -> LetterError {
    LetterError::NotUsable(QueryError::Closed)
}

/// How long a letter is sent unless it says otherwise.
const LETTER_DEADLINE: Duration = Duration::from_secs(60);

/// Letters handed over before they are asked for.
const READ_AHEAD: usize = 1;
