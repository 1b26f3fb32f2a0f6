//! The messages of nf_tables: tables, chains, sets, rules, and the steps that a rule is made of.
//!
//! Layout: include/uapi/linux/netfilter/{nfnetlink,nf_tables}.h. Numbers are in the network's
//! order. A batch is done as a whole or not at all.

use crate::sys::netlink::{ACK, APPEND, Answer, CREATE, EXCL, Messages, Netlink, attributes, find};

/// The name of our table; nothing in any other one is ever touched.
pub const TABLE: &str = "rocker";

/// An attribute's number in the enum that it belongs to.
type Kind = u16;
const LIST_ELEM: Kind = 1;
const TABLE_NAME: Kind = 1;
const CHAIN_TABLE: Kind = 1;
const CHAIN_NAME: Kind = 3;
const CHAIN_HOOK: Kind = 4;
const CHAIN_TYPE: Kind = 7;
const HOOK_NUMBER: Kind = 1;
const HOOK_PRIORITY: Kind = 2;
const RULE_TABLE: Kind = 1;
const RULE_CHAIN: Kind = 2;
const RULE_EXPRESSIONS: Kind = 4;
const EXPR_NAME: Kind = 1;
const EXPR_DATA: Kind = 2;
const SET_TABLE: Kind = 1;
const SET_NAME: Kind = 2;
const SET_FLAGS: Kind = 3;
const SET_KEY_TYPE: Kind = 4;
const SET_KEY_LEN: Kind = 5;
const SET_DATA_TYPE: Kind = 6;
const SET_DATA_LEN: Kind = 7;
const SET_ID: Kind = 10;
const SET_USERDATA: Kind = 13;
const ELEMENTS_TABLE: Kind = 1;
const ELEMENTS_SET: Kind = 2;
const ELEMENTS: Kind = 3;
const ELEM_KEY: Kind = 1;
const ELEM_DATA: Kind = 2;
const ELEM_FLAGS: Kind = 3;
const DATA_VALUE: Kind = 1;
const DATA_VERDICT: Kind = 2;
const VERDICT_CODE: Kind = 1;

/// `NFT_SET_INTERVAL`, `NFT_SET_MAP`, `NFT_SET_ELEM_INTERVAL_END`.
const INTERVAL: u32 = 4;
const MAP: u32 = 8;
const INTERVAL_END: u32 = 1;

/// Types that nft(8) shows elements by; the kernel looks at lengths only. A concatenation has six
/// bits for each. Source: nftables, include/datatype.h.
pub const ADDRESS_V4: u32 = 7;
pub const ADDRESS_V6: u32 = 8;
pub const PROTOCOL: u32 = 12;
pub const SERVICE: u32 = 13;
pub const INTERFACE: u32 = 41;

/// For nft(8) to show names as text: `NFTNL_UDATA_SET_KEYBYTEORDER`, four bytes, the host's order.
const NAMES: [u8; 6] = [0, 4, 1, 0, 0, 0];

/// The first of sixteen registers of four bytes, `NFT_REG32_00`.
const R0: u32 = 8;

/// A set: what its keys are and, in a map, what they lead to.
pub struct Set {
    pub name: &'static str,
    /// Type and length in bytes.
    pub key: (u32, u32),
    pub data: Option<(u32, u32)>,
    pub interval: bool,
}

/// A chain that the kernel calls.
pub struct Chain {
    pub name: &'static str,
    /// `filter` or `nat`.
    pub kind: &'static str,
    pub hook: i32,
    pub priority: i32,
}

/// A step of a rule; what does not hold ends the rule. Keys are put together from register 0 on.
#[derive(Debug, Clone, Copy)]
pub enum Step {
    /// Loads what is known of the packet, `NFT_META_*`, into a register.
    Meta(i32, u32),
    /// Loads the source or the destination address into register 0 and, for IPv6, the next three.
    Source,
    Destination,
    /// Loads the protocol: into register 0, or behind an address.
    Protocol {
        behind_address: bool,
    },
    /// Loads the port of the destination behind the protocol.
    Service {
        behind_address: bool,
    },
    /// Loads the first byte of an address: 0 of the source, 4 behind it of the destination.
    FirstByte(u32),
    /// Loads what is known of the connection, `NFT_CT_*`.
    Connection(i32),
    /// Loads the kind of the destination address.
    Kind,
    /// Keeps only these bits of register 0.
    Mask(u32),
    /// Holds where register 0 begins with these bytes.
    Is(&'static [u8]),
    /// Holds where it does not.
    IsNot(&'static [u8]),
    /// Holds where the key is in the set.
    In(&'static str),
    NotIn(&'static str),
    /// Replaces the key by what the map has for it.
    Lookup(&'static str),
    /// Sends it to the address in register 0 and the port behind it.
    Translate,
    Masquerade,
    Accept,
    Drop,
}

/// An element of a set.
#[derive(Default)]
pub struct Element {
    pub key: Vec<u8>,
    pub data: Vec<u8>,
    /// Whether it is the first one behind an interval.
    pub end: bool,
}

/// Changes that are made together, in the tables of one family (`NFPROTO_*`).
pub struct Batch {
    messages: Messages,
    family: u8,
    sets: u32,
}

/// `struct nfgenmsg`: family, version, and for the borders of a batch the part it is for.
fn fixed(family: u8) -> [u8; 4] {
    [family, 0, 0, 0]
}

fn kind(message: i32) -> u16 {
    (libc::NFNL_SUBSYS_NFTABLES << 8 | message) as u16
}

impl Batch {
    pub fn new(family: u8) -> Self {
        let mut messages = Messages::default();
        let border = [0, 0, 0, libc::NFNL_SUBSYS_NFTABLES as u8];
        messages.start(libc::NFNL_MSG_BATCH_BEGIN as u16, 0, &border);
        Self { messages, family, sets: 0 }
    }

    fn start(&mut self, message: i32, flags: u16) -> &mut Messages {
        self.messages.start(kind(message), flags, &fixed(self.family))
    }

    /// Makes the table, which must not be there: then the whole batch is refused (`EEXIST`).
    pub fn new_table(&mut self) {
        self.start(libc::NFT_MSG_NEWTABLE, CREATE | EXCL).put_text(TABLE_NAME, TABLE);
    }

    /// Makes a set, or a map where it has `data`; one that is there and alike is no error.
    pub fn new_set(&mut self, set: &Set) {
        self.sets += 1;
        let id = self.sets;
        let interval = if set.interval { INTERVAL } else { 0 };
        let flags = interval | if set.data.is_some() { MAP } else { 0 };
        let messages = self.start(libc::NFT_MSG_NEWSET, CREATE);
        messages.put_text(SET_TABLE, TABLE).put_text(SET_NAME, set.name);
        messages.put_be32(SET_FLAGS, flags).put_be32(SET_ID, id);
        messages.put_be32(SET_KEY_TYPE, set.key.0).put_be32(SET_KEY_LEN, set.key.1);
        if set.key.0 == INTERFACE {
            messages.put(SET_USERDATA, &NAMES);
        }
        if let Some((kind, length)) = set.data {
            messages.put_be32(SET_DATA_TYPE, kind).put_be32(SET_DATA_LEN, length);
        }
    }

    /// Makes a chain, called at its hook; one that is there and alike is no error.
    pub fn new_chain(&mut self, chain: &Chain) {
        let messages = self.start(libc::NFT_MSG_NEWCHAIN, CREATE);
        messages.put_text(CHAIN_TABLE, TABLE).put_text(CHAIN_NAME, chain.name);
        messages.put_text(CHAIN_TYPE, chain.kind);
        let hook = messages.nest(CHAIN_HOOK, b"");
        messages.put_be32(HOOK_NUMBER, chain.hook as u32);
        messages.put_be32(HOOK_PRIORITY, chain.priority as u32).end(hook);
    }

    /// Adds a rule at the end of a chain.
    pub fn new_rule(&mut self, chain: &str, steps: &[Step]) {
        let v6 = self.family == libc::NFPROTO_IPV6 as u8;
        let messages = self.start(libc::NFT_MSG_NEWRULE, CREATE | APPEND);
        messages.put_text(RULE_TABLE, TABLE).put_text(RULE_CHAIN, chain);
        let all = messages.nest(RULE_EXPRESSIONS, b"");
        for step in steps {
            let one = messages.nest(LIST_ELEM, b"");
            put_step(messages, v6, *step);
            messages.end(one);
        }
        messages.end(all);
    }

    /// Adds elements to a set, or takes them out.
    pub fn change(&mut self, set: &str, elements: &[Element], add: bool) {
        // What one attribute holds is limited to 64 KiB.
        for part in elements.chunks(256) {
            let messages = match add {
                true => self.start(libc::NFT_MSG_NEWSETELEM, CREATE),
                false => self.start(libc::NFT_MSG_DELSETELEM, 0),
            };
            put_elements(messages, set, part);
        }
    }

    /// Has it done.
    pub fn send(mut self, netlink: &mut Netlink) -> Answer<()> {
        let border = [0, 0, 0, libc::NFNL_SUBSYS_NFTABLES as u8];
        // The end itself is never answered; what was refused is answered unasked.
        self.messages.acknowledge();
        self.messages.start(libc::NFNL_MSG_BATCH_END as u16, 0, &border);
        netlink.send(self.messages)
    }
}

fn put_elements(messages: &mut Messages, set: &str, elements: &[Element]) {
    messages.put_text(ELEMENTS_TABLE, TABLE).put_text(ELEMENTS_SET, set);
    let all = messages.nest(ELEMENTS, b"");
    for element in elements {
        let one = messages.nest(LIST_ELEM, b"");
        put_data(messages, ELEM_KEY, &element.key);
        if !element.data.is_empty() {
            put_data(messages, ELEM_DATA, &element.data);
        }
        if element.end {
            messages.put_be32(ELEM_FLAGS, INTERVAL_END);
        }
        messages.end(one);
    }
    messages.end(all);
}

fn put_data(messages: &mut Messages, kind: Kind, bytes: &[u8]) {
    let data = messages.nest(kind, b"");
    messages.put(DATA_VALUE, bytes).end(data);
}

/// The name of an expression, and its attributes in the order of its enum from 1 on: numbers.
fn put_numbers(messages: &mut Messages, name: &str, numbers: &[u32]) {
    messages.put_text(EXPR_NAME, name);
    let data = messages.nest(EXPR_DATA, b"");
    for (kind, number) in (1..).zip(numbers) {
        messages.put_be32(kind, *number);
    }
    messages.end(data);
}

fn put_step(messages: &mut Messages, v6: bool, step: Step) {
    let (length, next) = if v6 { (16, R0 + 4) } else { (4, R0 + 1) };
    // Where the source is in the header of the network; the destination is behind it.
    let source = if v6 { 8 } else { 12 };
    match step {
        Step::Meta(key, register) => put_numbers(messages, "meta", &[R0 + register, key as u32]),
        Step::Source => put_numbers(messages, "payload", &[R0, 1, source, length]),
        Step::Destination => put_numbers(messages, "payload", &[R0, 1, source + length, length]),
        Step::FirstByte(behind) => put_numbers(messages, "payload", &[R0, 1, source + behind, 1]),
        Step::Service { behind_address } => {
            let first = if behind_address { next } else { R0 };
            put_numbers(messages, "payload", &[first + 1, 2, 2, 2]);
        }
        Step::Protocol { behind_address } => {
            let first = if behind_address { next } else { R0 };
            put_numbers(messages, "meta", &[first, libc::NFT_META_L4PROTO as u32]);
        }
        Step::Connection(key) => put_numbers(messages, "ct", &[R0, key as u32]),
        // NFT_FIB_RESULT_ADDRTYPE of NFTA_FIB_F_DADDR.
        Step::Kind => put_numbers(messages, "fib", &[R0, 3, 2]),
        Step::Masquerade => put_numbers(messages, "masq", &[]),
        Step::Mask(mask) => {
            messages.put_text(EXPR_NAME, "bitwise");
            let data = messages.nest(EXPR_DATA, b"");
            messages.put_be32(1, R0).put_be32(2, R0).put_be32(3, 4);
            put_data(messages, 4, &mask.to_ne_bytes());
            put_data(messages, 5, &[0; 4]);
            messages.end(data);
        }
        Step::Is(bytes) => put_compare(messages, 0, bytes),
        Step::IsNot(bytes) => put_compare(messages, 1, bytes),
        Step::In(set) => put_lookup(messages, set, &[(2, R0)]),
        Step::NotIn(set) => put_lookup(messages, set, &[(2, R0), (5, 1)]),
        Step::Lookup(set) => put_lookup(messages, set, &[(2, R0), (3, R0)]),
        Step::Translate => {
            // NFT_NAT_DNAT.
            let family = if v6 { libc::NFPROTO_IPV6 } else { libc::NFPROTO_IPV4 };
            put_numbers(messages, "nat", &[1, family as u32, R0, R0, next, next]);
        }
        Step::Accept => put_verdict(messages, libc::NF_ACCEPT),
        Step::Drop => put_verdict(messages, libc::NF_DROP),
    }
}

fn put_compare(messages: &mut Messages, operation: u32, bytes: &[u8]) {
    messages.put_text(EXPR_NAME, "cmp");
    let data = messages.nest(EXPR_DATA, b"");
    messages.put_be32(1, R0).put_be32(2, operation);
    put_data(messages, 3, bytes);
    messages.end(data);
}

fn put_lookup(messages: &mut Messages, set: &str, numbers: &[(Kind, u32)]) {
    messages.put_text(EXPR_NAME, "lookup");
    let data = messages.nest(EXPR_DATA, b"");
    messages.put_text(1, set);
    for (kind, number) in numbers {
        messages.put_be32(*kind, *number);
    }
    messages.end(data);
}

fn put_verdict(messages: &mut Messages, code: i32) {
    messages.put_text(EXPR_NAME, "immediate");
    let data = messages.nest(EXPR_DATA, b"");
    messages.put_be32(1, libc::NFT_REG_VERDICT as u32);
    let value = messages.nest(2, b"");
    let verdict = messages.nest(DATA_VERDICT, b"");
    messages.put_be32(VERDICT_CODE, code as u32).end(verdict);
    messages.end(value);
    messages.end(data);
}

/// Asks whether the table of a family is there: `ENOENT` where it is not.
pub fn find_table(netlink: &mut Netlink, family: u8) -> Answer<()> {
    let bodies = netlink.ask(&|messages| {
        messages.start(kind(libc::NFT_MSG_GETTABLE), ACK, &fixed(family));
        messages.put_text(TABLE_NAME, TABLE);
    });
    bodies.map(drop)
}

/// What a map has for a key: `ENOENT` where it has nothing.
pub fn find_element(
    netlink: &mut Netlink,
    family: u8,
    map: &str,
    key: &[u8],
) -> Answer<Option<Vec<u8>>> {
    let bodies = netlink.ask(&|messages| {
        messages.start(kind(libc::NFT_MSG_GETSETELEM), ACK, &fixed(family));
        put_elements(messages, map, &[Element { key: key.to_vec(), ..Element::default() }]);
    })?;
    let data = |body: &Vec<u8>| {
        let all = find(attributes(body.get(4..)?), ELEMENTS)?;
        let one = find(attributes(all), LIST_ELEM)?;
        find(attributes(find(attributes(one), ELEM_DATA)?), DATA_VALUE).map(<[u8]>::to_vec)
    };
    Ok(bodies.iter().find_map(data))
}
