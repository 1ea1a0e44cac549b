//! Following the directory: documents through the gateway, descriptors if there are any.

use std::sync::Arc;

use directory::{DirectoryError, SubscriberEvent, Topology};
use rand::CryptoRng;
use wire::{Epoch, NodeId, Time};

use super::{Asked, LOOK, Link, MOMENT, Run};
use crate::driver::{Publishing, UplinkStatus};
use crate::{EdgeError, Participant};

impl<P, M> Run<P, M>
where
    P: Participant,
    M: FnOnce(Time, &mut dyn CryptoRng, Arc<Topology>, NodeId) -> Result<P, EdgeError>,
{
    /// Does what the directory's schedule calls for.
    pub(super) fn follow_directory(&mut self, now: Time) {
        if self.link == Link::Down {
            // All that it wants goes over the link.
            return;
        }
        if self.subscriber.poll_timeout() <= now {
            self.subscriber.handle_timeout(now);
        }
        while let Some(event) = self.subscriber.poll_event() {
            match event {
                SubscriberEvent::NeedDescriptor(epoch) => self.offer(now, epoch),
                SubscriberEvent::Clock(right) => {
                    if let Err(skew) = right {
                        tracing::error!(%skew, "nothing is sent");
                    }
                    self.look_at = now;
                }
                SubscriberEvent::Document(topology) => {
                    self.look_at = now;
                    if let Some(core) = &mut self.core {
                        core.foresee(&mut *self.rng, topology);
                    }
                }
                SubscriberEvent::DocumentRefused { why, .. } => {
                    tracing::warn!(%why, "document refused");
                    if self.core.is_none() {
                        self.status(UplinkStatus::NoDocument(Some(why)));
                    }
                }
                SubscriberEvent::PublishRefused { epoch, why, .. } => {
                    tracing::warn!(%epoch, %why, "descriptor refused");
                }
                SubscriberEvent::PublishedInPart { epoch, .. } => {
                    tracing::warn!(%epoch, "descriptor not published in time");
                }
                _ => {}
            }
        }
        while let Some((_, call)) = self.subscriber.poll_transmit() {
            self.call(Asked::Directory(call.clone()), call);
        }
    }

    fn offer(&mut self, now: Time, epoch: Epoch) {
        match &mut self.publish {
            Publishing::Nothing => {}
            Publishing::OverTheLink(publish) => {
                self.subscriber.offer(now, epoch, publish(epoch));
            }
            Publishing::ThroughTheMixes => self.to_publish = Some(epoch),
        }
        self.publish_by_core(now);
    }

    /// Before there is a core there is no way through the mixes.
    fn publish_by_core(&mut self, now: Time) {
        let open = self.schedule.open_for(now);
        self.to_publish = self.to_publish.filter(|epoch| *epoch >= open);
        if matches!(self.publish, Publishing::ThroughTheMixes)
            && let Some(core) = &mut self.core
            && let Some(epoch) = self.to_publish.take()
        {
            core.publish(now, epoch);
        }
    }

    /// Takes the document that is current, or stops sending without one.
    pub(super) fn look(&mut self, now: Time) {
        match self.subscriber.current(now) {
            Ok(topology) => {
                let next = topology.epoch().next();
                let starts = self.schedule.start(next);
                // Under grace the next epoch's start may be past: then look again and again.
                self.look_at = if starts > now {
                    starts
                } else {
                    now.after(LOOK)
                };
                let known = self.topology.as_ref();
                if known.is_none_or(|held| !Arc::ptr_eq(held, &topology)) {
                    self.take_topology(now, topology);
                } else if self.link == Link::Up && self.retry_at.is_none() {
                    self.register(now);
                }
            }
            Err(why) => {
                let begins = self.schedule.start(Epoch(1));
                self.look_at = now.after(LOOK).min(begins.max(now.after(MOMENT)));
                self.fail_closed();
                self.without_document(why);
            }
        }
    }

    fn without_document(&mut self, why: DirectoryError) {
        let told = matches!(*self.outputs.status.borrow(), UplinkStatus::NoDocument(_));
        match (self.link, why) {
            (Link::Down, _) => self.status(UplinkStatus::Connecting),
            // Why the last one offered was refused says more.
            (_, DirectoryError::NoDocument) if told => {}
            (_, DirectoryError::NoDocument) => self.status(UplinkStatus::NoDocument(None)),
            (_, why) => self.status(UplinkStatus::NoDocument(Some(why))),
        }
    }

    fn take_topology(&mut self, now: Time, topology: Arc<Topology>) {
        let taken = match (&mut self.core, self.make.take()) {
            (Some(core), _) => core.set_topology(now, &mut *self.rng, Arc::clone(&topology)),
            (None, Some(make)) => make(now, &mut *self.rng, Arc::clone(&topology), self.gateway)
                .map(|core| {
                    self.core = Some(core);
                    // At once, not only when the schedule says: in the first epoch time is short.
                    self.to_publish = Some(self.schedule.open_for(now));
                }),
            (None, None) => return,
        };
        self.fail_closed();
        if let Err(why) = taken {
            tracing::error!(%why, "cannot send by the new document");
            self.status(UplinkStatus::Unfit(why));
            self.ended = self.core.is_none();
            return;
        }
        if let Some(relay) = topology.relay(&self.gateway)
            && !relay.addresses.is_empty()
            && relay.addresses != self.addresses
        {
            self.addresses.clone_from(&relay.addresses);
            self.dial();
        }
        self.publish_by_core(now);
        self.report_at = now;
        self.topology = Some(Arc::clone(&topology));
        self.outputs.topology.send_replace(Some(topology));
        self.register(now);
    }
}
