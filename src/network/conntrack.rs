//! Connections that the kernel translates for a published port: they outlive what translated them.
//!
//! Layout: include/uapi/linux/netfilter/nfnetlink_conntrack.h.

use super::address::Address;
use crate::sys::netlink::{ACK, DUMP, Messages, Netlink, attributes, find};

const GET: u16 = (libc::NFNL_SUBSYS_CTNETLINK as u16) << 8 | 1;
const DELETE: u16 = (libc::NFNL_SUBSYS_CTNETLINK as u16) << 8 | 2;
const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const ZONE: u16 = 18;
const TUPLE_IP: u16 = 1;
const TUPLE_PROTOCOL: u16 = 2;
const PROTOCOL_NUMBER: u16 = 1;
const SOURCE_PORT: u16 = 2;
const DESTINATION_PORT: u16 = 3;

/// An address and a port.
pub type Service = (Address, u16);

/// A connection.
#[derive(Debug, PartialEq, Eq)]
pub struct Flow {
    pub udp: bool,
    /// Whom it was meant for.
    pub wanted: Service,
    /// Who answers.
    pub answers: Service,
    /// What the kernel knows it by: the original direction as attributes, and its zone.
    pub name: (Vec<u8>, Option<Vec<u8>>),
}

/// Reads the answer to a dump.
fn flow(body: &[u8]) -> Option<Flow> {
    let v6 = i32::from(*body.first()?) == libc::AF_INET6;
    let all = body.get(4..)?;
    let original = find(attributes(all), TUPLE_ORIGINAL)?;
    let (number, wanted) = end(original, v6, 2, DESTINATION_PORT)?;
    let (_, answers) = end(find(attributes(all), TUPLE_REPLY)?, v6, 1, SOURCE_PORT)?;
    let udp = match i32::from(number) {
        libc::IPPROTO_UDP => true,
        libc::IPPROTO_TCP => false,
        _ => return None,
    };
    let zone = find(attributes(all), ZONE).map(<[u8]>::to_vec);
    Some(Flow { udp, wanted, answers, name: (original.to_vec(), zone) })
}

/// The protocol of a direction and one of its ends: `address` is 1 for its source, 2 for its
/// destination; those of IPv6 follow.
fn end(tuple: &[u8], v6: bool, address: u16, port: u16) -> Option<(u8, Service)> {
    let kind = if v6 { address + 2 } else { address };
    let bytes = find(attributes(find(attributes(tuple), TUPLE_IP)?), kind)?;
    let number = bytes.iter().fold(0, |number, byte| number << 8 | u128::from(*byte));
    let protocol = find(attributes(tuple), TUPLE_PROTOCOL)?;
    let port = find(attributes(protocol), port)?.first_chunk()?;
    let kind = *find(attributes(protocol), PROTOCOL_NUMBER)?.first()?;
    Some((kind, (Address { v6, number }, u16::from_be_bytes(*port))))
}

/// Has the kernel forget the connections of a family that are meant, so that their next packet is
/// looked at anew. A kernel that cannot list them (`CONFIG_NF_CT_NETLINK`) keeps them until they end.
pub fn forget(netlink: &mut Netlink, family: u8, is_meant: &dyn Fn(&Flow) -> bool) {
    let mut meant = Vec::new();
    let mut request = Messages::default();
    request.start(GET, DUMP, &[family, 0, 0, 0]);
    let listed = netlink.each(request, &mut |body| meant.extend(flow(body).filter(is_meant)));
    if listed.is_err() {
        return;
    }
    for Flow { name: (original, zone), .. } in meant {
        let mut request = Messages::default();
        request.start(DELETE, ACK, &[family, 0, 0, 0]);
        let tuple = request.nest(TUPLE_ORIGINAL, &original);
        request.end(tuple);
        if let Some(zone) = zone {
            request.put(ZONE, &zone);
        }
        // It may have ended by itself.
        let _ = netlink.send(request);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One direction as the kernel says it.
    fn tuple(from: [u8; 4], to: [u8; 4], ports: [u16; 2]) -> Vec<u8> {
        let mut messages = Messages::default();
        messages.start(0, 0, &[]);
        let ip = messages.nest(TUPLE_IP, b"");
        messages.put(1, &from).put(2, &to).end(ip);
        let protocol = messages.nest(TUPLE_PROTOCOL, b"");
        messages.put(PROTOCOL_NUMBER, &[libc::IPPROTO_UDP as u8]);
        messages.put(SOURCE_PORT, &ports[0].to_be_bytes());
        messages.put(DESTINATION_PORT, &ports[1].to_be_bytes()).end(protocol);
        messages.body().to_vec()
    }

    #[test]
    fn a_connection_is_read_and_a_broken_one_is_passed_over() {
        let (client, host, member) = ([192, 0, 2, 1], [192, 0, 2, 5], [10, 0, 0, 2]);
        let mut messages = Messages::default();
        messages.start(0, 0, &[libc::AF_INET as u8, 0, 0, 0]);
        let original = messages.nest(TUPLE_ORIGINAL, &tuple(client, host, [4444, 5000]));
        messages.end(original);
        let reply = messages.nest(TUPLE_REPLY, &tuple(member, client, [53, 4444]));
        messages.end(reply);
        let body = messages.body();
        let flow = flow(body).unwrap();
        let address = |bytes| Address { v6: false, number: u32::from_be_bytes(bytes).into() };
        assert!(flow.udp);
        assert_eq!(flow.wanted, (address(host), 5000));
        assert_eq!(flow.answers, (address(member), 53));
        for length in 0..body.len() {
            let _ = super::flow(&body[..length]);
        }
    }
}
