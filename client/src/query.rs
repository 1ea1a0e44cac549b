//! One question to be awaited.

use std::pin::Pin;
use std::time::Duration;

use directory::DirectoryError;
use message::driver::UplinkStatus;
use tokio::sync::oneshot;

use crate::seat::{Ask, Command};
use crate::{Answer, Asker, Client, Input, QueryError};

/// A question that is asked when it is awaited, and forgotten when it is dropped.
#[must_use = "a question is asked when it is awaited"]
pub struct Query {
    client: Client,
    model: String,
    input: Input,
    deadline: Duration,
    proof: Proof,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Proof {
    NotAsked,
    Asked,
}

impl Query {
    pub(crate) const fn new(
        client: Client,
        model: String,
        input: Input,
        deadline: Duration,
    ) -> Self {
        Self {
            client,
            model,
            input,
            deadline,
            proof: Proof::NotAsked,
        }
    }

    /// How long to wait for the answer: five minutes at most.
    pub fn deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// Take no answer without a proof that the model ran on this input. No provider gives one
    /// yet: the question ends in [`QueryError::NoProof`], unsent.
    pub fn with_proof(self) -> Self {
        Self {
            proof: Proof::Asked,
            ..self
        }
    }

    async fn ask(self) -> Result<Answer, QueryError> {
        if self.proof == Proof::Asked {
            return Err(QueryError::NoProof { model: self.model });
        }
        if self.deadline > Asker::MAX_DEADLINE {
            return Err(QueryError::DeadlineTooLong {
                asked: self.deadline,
                bound: Asker::MAX_DEADLINE,
            });
        }
        let (answer, answered) = oneshot::channel();
        let ask = Ask {
            model: self.model,
            input: self.input,
            deadline: self.deadline,
            answer,
        };
        // The handle is let go before the answer is awaited: it would keep a closed client alive.
        {
            let uplink = self.client.uplink().ok_or(QueryError::Closed)?;
            usable(&uplink.status())?;
            uplink
                .command(Command::Ask(ask))
                .await
                .map_err(|_| QueryError::Closed)?;
        }
        match answered.await {
            Ok(Err(QueryError::Timeout { after })) => Err(self.client.why_late(after)),
            Ok(result) => result,
            Err(_) => Err(QueryError::Closed),
        }
    }
}

impl IntoFuture for Query {
    type Output = Result<Answer, QueryError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.ask())
    }
}

impl Client {
    /// What is behind a missing answer, if the uplink shows it.
    fn why_late(&self, after: Duration) -> QueryError {
        let Some(uplink) = self.uplink() else {
            return QueryError::Closed;
        };
        match uplink.status() {
            UplinkStatus::Connecting | UplinkStatus::Registering => QueryError::NotConnected,
            status => usable(&status)
                .err()
                .unwrap_or(QueryError::Timeout { after }),
        }
    }
}

/// Whether questions may be given to an uplink that stands so. While it dials they may: it may
/// be up again before their deadline.
pub(crate) fn usable(status: &UplinkStatus) -> Result<(), QueryError> {
    match status {
        UplinkStatus::NoDocument(Some(DirectoryError::Stale { epochs })) => {
            Err(QueryError::StaleDirectory { epochs: *epochs })
        }
        UplinkStatus::NoDocument(Some(why)) => Err(QueryError::Directory(*why)),
        UplinkStatus::Unfit(_) => Err(QueryError::NotConnected),
        UplinkStatus::Closed => Err(QueryError::Closed),
        _ => Ok(()),
    }
}
