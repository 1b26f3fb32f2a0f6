//! Networks: bridges, addresses, translation and published ports, with nothing but the kernel.
//!
//! Knows containers only by a text that names the owner of an address.

pub mod address;
pub mod conntrack;
pub mod ipam;
pub mod links;
pub mod nat;
pub mod nft;
pub mod proxy;
pub mod store;
pub mod up;

pub use address::{Address, Subnet};
pub use store::Store;

use crate::error::Error;
use crate::sys::netlink::{Answer, Refused};
use std::fmt::Display;

/// Says what was being done when the kernel refused, and what the kernel says about it.
fn explain<T>(answer: Answer<T>, what: impl Display) -> Result<T, Error> {
    answer.map_err(|Refused { errno, text, .. }| {
        let message = match text.is_empty() {
            true => what.to_string(),
            false => format!("{what}: {text}"),
        };
        Error::from(errno).message(message)
    })
}

/// A number that follows from a text and is spread evenly: FNV-1a.
pub fn hash(text: &str) -> u64 {
    let step = |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325, step);
    // The low bits of neighbours differ too little for a place in a subnet.
    (hash ^ hash >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
