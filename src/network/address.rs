//! Addresses and subnets of both families, as numbers.

use crate::error::{Error, Result};
use std::fmt::{self, Display};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address of either family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    pub v6: bool,
    pub number: u128,
}

impl Address {
    /// Reads `10.0.0.1` or `fd00::1`.
    pub fn parse(text: &str) -> Result<Self> {
        match text.parse() {
            Ok(IpAddr::V4(address)) => Ok(Self { v6: false, number: address.to_bits().into() }),
            Ok(IpAddr::V6(address)) => Ok(Self { v6: true, number: address.to_bits() }),
            Err(_) => Err(Error::new(format!("{text:?} is no address"))),
        }
    }

    /// How many bits an address of its family has.
    fn bits(self) -> u8 {
        if self.v6 { 128 } else { 32 }
    }

    /// In the order of the network: 4 or 16 bytes.
    pub fn bytes(self) -> Vec<u8> {
        let from = if self.v6 { 0 } else { 12 };
        self.number.to_be_bytes()[from..].to_vec()
    }

    /// The address that is this much higher.
    pub fn plus(self, offset: u128) -> Self {
        Self { number: self.number.wrapping_add(offset), ..self }
    }

    /// Whether it is one that only its own host can be reached by.
    pub fn is_loopback(self) -> bool {
        match self.v6 {
            true => self.number == 1,
            false => self.number >> 24 == 127,
        }
    }

    /// Whether it stands for all addresses of its family.
    pub fn is_any(self) -> bool {
        self.number == 0
    }
}

impl Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.v6 {
            true => Ipv6Addr::from_bits(self.number).fmt(f),
            false => Ipv4Addr::from_bits(self.number as u32).fmt(f),
        }
    }
}

/// A range of addresses that share their first bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subnet {
    /// Its lowest address.
    pub base: Address,
    /// How many bits are shared.
    pub prefix: u8,
}

impl Subnet {
    /// The subnet that an address lies in.
    pub fn of(address: Address, prefix: u8) -> Self {
        let host = Self::mask(address.bits() - prefix.min(address.bits()));
        Self { base: Address { number: address.number & !host, ..address }, prefix }
    }

    /// As many ones at the low end.
    fn mask(bits: u8) -> u128 {
        1_u128.checked_shl(bits.into()).unwrap_or(0).wrapping_sub(1)
    }

    /// Reads `10.0.0.0/16`; bits behind the prefix must be zero.
    pub fn parse(text: &str) -> Result<Self> {
        let refuse = |why: &str| Err(Error::new(format!("subnet {text:?}: {why}")));
        let Some((address, prefix)) = text.split_once('/') else {
            return refuse("is not ADDRESS/PREFIX");
        };
        let (Ok(address), Ok(prefix)) = (Address::parse(address), prefix.parse::<u8>()) else {
            return refuse("is not ADDRESS/PREFIX");
        };
        if prefix > address.bits() {
            return refuse("its prefix is too long");
        }
        let subnet = Self::of(address, prefix);
        match subnet.base == address {
            true => Ok(subnet),
            false => refuse(&format!("has bits behind its prefix; {subnet} has none")),
        }
    }

    /// Checks that a network can have it: a /8 to /30 of IPv4, a /16 to /126 of IPv6, and none of
    /// loopback, groups, or what else no host has. Such a part is never smaller than the prefix.
    pub fn check(self) -> Result<()> {
        let Self { base: Address { v6, number }, prefix } = self;
        let good = match v6 {
            true => (16..=126).contains(&prefix) && number > 0 && (number >> 120) as u8 != 0xff,
            false => {
                let first = (number >> 24) as u8;
                (8..=30).contains(&prefix) && !matches!(first, 0 | 127 | 224..)
            }
        };
        if good {
            return Ok(());
        }
        let sizes = if v6 { "/16 to /126" } else { "/8 to /30" };
        Err(Error::new(format!("subnet {self}: must be a {sizes} of addresses for hosts")))
    }

    /// Its highest address; of IPv4 the one for broadcasts.
    pub fn last(self) -> Address {
        self.base.plus(Self::mask(self.base.bits() - self.prefix))
    }

    /// The lowest and the highest address that a member can have.
    pub fn usable(self) -> (Address, Address) {
        let last = self.last();
        let end = if self.base.v6 { 0 } else { 1 };
        (self.base.plus(1), Address { number: last.number - end, ..last })
    }

    /// Whether a member can have this address.
    pub fn has_room_for(self, address: Address) -> bool {
        let (first, last) = self.usable();
        (first..=last).contains(&address)
    }

    pub fn contains(self, address: Address) -> bool {
        address.v6 == self.base.v6
            && (self.base.number..=self.last().number).contains(&address.number)
    }

    pub fn overlaps(self, other: Self) -> bool {
        self.contains(other.base) || other.contains(self.base)
    }
}

impl Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(text: &str) -> Subnet {
        Subnet::parse(text).unwrap()
    }

    #[test]
    fn a_subnet_is_read_as_it_is_written() {
        for text in ["10.0.0.0/8", "10.1.2.4/30", "fd00:1::/64", "0.0.0.0/0", "::/0"] {
            assert_eq!(subnet(text).to_string(), text);
        }
        for bad in ["", "10.0.0.0", "10.0.0.1/24", "10.0.0.0/33", "fd00::/129", "x/8", "1.2.3/8"] {
            assert!(Subnet::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn usable_addresses_leave_out_network_and_broadcast() {
        let ends = |text| {
            let (first, last) = subnet(text).usable();
            format!("{first} {last}")
        };
        assert_eq!(ends("10.1.2.4/30"), "10.1.2.5 10.1.2.6");
        assert_eq!(ends("10.0.0.0/8"), "10.0.0.1 10.255.255.254");
        assert_eq!(ends("fd00::/126"), "fd00::1 fd00::3");
    }

    #[test]
    fn overlap_is_mutual_and_within_a_family() {
        let overlap = |a, b| {
            let (a, b) = (subnet(a), subnet(b));
            assert_eq!(a.overlaps(b), b.overlaps(a));
            a.overlaps(b)
        };
        assert!(overlap("10.0.0.0/8", "10.9.0.0/16"));
        assert!(!overlap("10.8.0.0/16", "10.9.0.0/16"));
        assert!(!overlap("0.0.0.0/0", "::/0"));
    }

    #[test]
    fn only_subnets_that_can_be_served_are_taken() {
        for (text, good) in [
            ("10.0.0.0/8", true),
            ("10.0.0.0/30", true),
            ("10.0.0.0/31", false),
            ("0.0.0.0/7", false),
            ("fd00::/126", true),
            ("fd00::/127", false),
            ("0.0.0.0/8", false),
            ("126.0.0.0/8", true),
            ("127.1.0.0/16", false),
            ("223.0.0.0/8", true),
            ("224.1.0.0/24", false),
            ("240.0.0.0/24", false),
            ("255.255.255.0/24", false),
            ("::/126", false),
            ("::/16", false),
            ("64:ff9b::/96", true),
            ("7f00::/16", true),
            ("e000::/16", true),
            ("ff02::/64", false),
        ] {
            assert_eq!(subnet(text).check().is_ok(), good, "{text}");
        }
    }
}
