//! Any order of operations leaves the ledger balanced and the bounds kept.

use std::time::Duration;

use directory::Identity;
use link::{GuestId, Peer};
use sphinx::{Address, Packet};
use subrosa_gateway::Limits;
use wire::{Call, Epoch, Handle, Refusal, Register};

use crate::fixture::{GATEWAY, Network};

/// One thing that happens, by three numbers.
type Operation = (u8, u8, u8);

fn limits() -> Limits {
    Limits {
        clients: 3,
        client_queue: 4,
        client_mailboxes: 2,
        mailbox_items: 3,
        outbox: 16,
        layer_queue: 4,
        publications: 2,
        replay_capacity: 64,
        fed_mailboxes: 2,
        fed_stock: 4,
        fed_items: 4,
    }
}

fn handle(number: u8) -> Handle {
    Handle([number % 5 + 1; 32])
}

fn guest(number: u8) -> GuestId {
    GuestId(u64::from(number % 4))
}

struct World {
    network: Network,
    packets: Vec<Packet>,
    epoch: u64,
}

impl World {
    fn new() -> Self {
        let mut network = Network::new(11, limits());
        let mailbox = Identity::from_seed(&[4; 32]).mailbox();
        let mut packets = Vec::new();
        for number in 0..5 {
            packets.push(network.passing(handle(number).into()));
            packets.push(network.passing(network.id(usize::from(number)).into()));
            packets.push(network.ending(mailbox.into(), &[number]));
        }
        packets.push(network.ending(Address::DROP, b""));
        packets.push(network.ending(Address::LOOP, b""));
        Self {
            network,
            packets,
            epoch: 1,
        }
    }

    fn act(&mut self, (what, which, how): Operation) {
        match what % 10 {
            0 => self.register(which, how),
            1 => self
                .network
                .gateway
                .handle_disconnect(self.network.now, guest(which)),
            2 => self.frame(which, how),
            3 | 4 => self.arrive(which, how),
            5 => self.attach(which, how),
            6 => self.wait(Duration::from_millis(4 * u64::from(which))),
            7 => self.turn(which),
            8 => self.send(which),
            _ if which == 255 => self.network.gateway.drain(),
            _ => self.wait(Duration::from_millis(u64::from(how))),
        }
    }

    fn call(&mut self, from: GuestId, call: Call) {
        let (now, rng) = (self.network.now, &mut self.network.rng);
        let gateway = &mut self.network.gateway;
        gateway.handle_call(now, rng, Peer::Guest(from), call);
    }

    fn register(&mut self, which: u8, how: u8) {
        let register = Register {
            handle: handle(how),
            epoch: Epoch(self.epoch + u64::from(how & 0x80 != 0)),
            class: which % 4,
        };
        self.call(guest(which), Call::Register(register));
    }

    fn attach(&mut self, which: u8, how: u8) {
        let key = Identity::from_seed(&[4 + how % 3; 32]);
        let gateway = self.network.id(GATEWAY);
        let epoch = Epoch(self.epoch);
        let attach = message::attach(&key, gateway, handle(how), epoch, u64::from(which));
        self.call(guest(which), Call::Attach(attach));
    }

    fn frame(&mut self, which: u8, how: u8) {
        let len = self.network.parameters.geometry.packet_len() - usize::from(how & 0x80 != 0);
        let now = self.network.now;
        let gateway = &mut self.network.gateway;
        gateway.handle_client_frame(now, guest(which), u16::from(how % 3), &vec![1; len]);
    }

    fn arrive(&mut self, which: u8, how: u8) {
        let packet = &self.packets[usize::from(which) % self.packets.len()];
        let mut bytes = packet.as_bytes().to_vec();
        if how & 0xc0 == 0xc0 {
            let place = usize::from(how) * 8 % bytes.len();
            bytes[place] ^= 1;
        }
        let now = self.network.now;
        self.network.gateway.handle_packet(now, &bytes);
        if how & 1 == 0 {
            while self.network.gateway.poll_log().is_some() {}
        }
    }

    fn wait(&mut self, time: Duration) {
        self.network.now = self.network.now.after(time);
        let (now, rng) = (self.network.now, &mut self.network.rng);
        self.network.gateway.handle_timeout(now, rng);
        self.network.gateway.prepare(now, rng);
    }

    fn turn(&mut self, which: u8) {
        if which < 32 {
            self.epoch += 1;
            self.network.enter_epoch(Epoch(self.epoch));
        } else if which < 64 {
            self.wait(self.network.parameters.epoch);
        }
    }

    fn send(&mut self, which: u8) {
        for _ in 0..which % 8 {
            if self.network.gateway.poll_transmit().is_some() && which & 0x80 != 0 {
                self.network.gateway.unsent(1, Refusal::Overload);
            }
        }
    }
}

#[test]
fn whatever_happens_the_ledger_balances_and_bounds_are_kept() {
    bolero::check!()
        .with_type::<Vec<Operation>>()
        .with_iterations(400)
        .for_each(|operations| {
            let mut world = World::new();
            for operation in operations.iter().take(256) {
                world.act(*operation);
                world.network.check();
            }
            let census = world.network.gateway.census();
            assert!(census.accounts <= 3 && census.connected <= census.accounts);
            assert!(census.mailboxes <= 2 * census.accounts);
            world.network.gateway.drain();
            world.network.check();
            assert_eq!(world.network.gateway.held(), 0);
        });
}
