#![doc = include_str!("../README.md")]

mod accounts;
mod admit;
mod arrive;
mod bucket;
mod calls;
mod deliver;
mod driver;
mod fed;
mod feeding;
mod gateway;
mod layer_clock;
mod limits;
mod mailbox;
mod publications;

pub use admit::{Admission, Applicant, Decision, EveryoneUpToTheBound};
pub use calls::{Answer, verdict};
pub use driver::{GatewayConfig, GatewayError, run};
pub use gateway::{Census, Gateway};
pub use limits::Limits;
pub use publications::PublicationTicket;
