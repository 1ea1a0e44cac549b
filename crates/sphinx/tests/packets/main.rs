//! Packets and reply blocks against the reference implementation, frozen vectors and hostile
//! bytes.

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod network;
#[cfg(test)]
mod oracle;
#[cfg(test)]
mod replies;
#[cfg(test)]
mod vectors;
