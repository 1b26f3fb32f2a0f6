//! `network`: makes, shows and removes networks, and connects containers.

use super::{Globals, remove_each};
use crate::container::networks::{self, ConnectOptions};
use crate::container::record::{Endpoint, State};
use crate::error::{Error, FAILURE, Result};
use crate::network::store::{Network, Wanted};
use crate::network::{Address, Subnet};
use crate::rocker::command::{Command, Flag, Rules, flag};
use crate::rocker::json::{self, Part};
use crate::rocker::list::{self, Filter};
use crate::rocker::{print, when};
use miniserde::json::Value as Json;

/// What any of these commands was asked for.
#[derive(Default)]
pub struct Options {
    words: Vec<String>,
    wanted: Wanted,
    labels: Vec<String>,
    connect: ConnectOptions,
    quiet: bool,
    force: bool,
    filters: Vec<String>,
    format: Option<String>,
}

fn word(options: &mut Options, word: String) -> Result<()> {
    options.words.push(word);
    Ok(())
}

const FORMAT: Flag<Options> =
    flag("-f, --format FORMAT", "Show each by a template, or as json", |o, value| {
        value.set(&mut o.format)
    });

pub static CREATE: Command<Options> = Command {
    name: "network create",
    aliases: "",
    words: "NETWORK",
    about: "Make a network.",
    more: "\
The name is the name of its bridge too: at most 15 characters.

Examples:
  rocker network create web
  rocker network create --driver bridge --subnet 10.9.0.0/24 --gateway 10.9.0.254 web
  rocker network create --ipv6 --subnet fd00:9::/64 six
",
    rules: Rules::Usual,
    flags: &[
        flag("-d, --driver DRIVER", "What it is made of: bridge", |_, value| {
            match &*value.text() {
                "bridge" => Ok(()),
                _ => Err(Error::new("the only driver is bridge")),
            }
        }),
        flag("--subnet CIDR", "Addresses of its members, one subnet of each family", |o, value| {
            o.wanted.subnets.push(Subnet::parse(&value.text())?);
            Ok(())
        }),
        flag("--gateway ADDRESS", "The host's own address (default the first)", |o, value| {
            o.wanted.gateways.push(Address::parse(&value.text())?);
            Ok(())
        }),
        flag("--internal", "Let its members reach nobody outside", |o, value| {
            value.set(&mut o.wanted.internal)
        }),
        flag("--ipv6", "Have IPv6 too", |o, value| value.set(&mut o.wanted.v6)),
        flag("-l, --label KEY[=VALUE]", "Attach a label", |o, value| value.set(&mut o.labels)),
    ],
    word,
    run: |globals, options| {
        let mut wanted = options.wanted;
        wanted.name = options.words.into_iter().next().unwrap_or_default();
        for label in options.labels {
            let (key, value) = label.split_once('=').unwrap_or((&label, ""));
            wanted.labels.insert(key.to_owned(), value.to_owned());
        }
        print::line(&networks::create_network(&globals.engine()?, wanted)?.id)?;
        Ok(0)
    },
};

pub static LIST: Command<Options> = Command {
    name: "network ls",
    aliases: "network list",
    words: "",
    about: "List the networks.",
    more: "\
Filters: id, name, driver, label.
Fields of a template: .ID .Name .Driver .Scope .Subnet .Internal .IPv6 .Labels .CreatedAt
",
    rules: Rules::Usual,
    flags: &[
        flag("-q, --quiet", "Show only ids", |o, value| value.set(&mut o.quiet)),
        flag("-f, --filter KEY=VALUE", "Show only what this holds for", |o, value| {
            value.set(&mut o.filters)
        }),
        flag("--format FORMAT", "Show each by a template, or as json", |o, value| {
            value.set(&mut o.format)
        }),
    ],
    word,
    run: list_networks,
};

pub static REMOVE: Command<Options> = Command {
    name: "network rm",
    aliases: "network remove",
    words: "NETWORK...",
    about: "Remove networks that no running container uses.",
    more: "",
    rules: Rules::Usual,
    flags: &[flag("-f, --force", "Let a missing one be no failure", |o, value| {
        value.set(&mut o.force)
    })],
    word,
    run: |globals, options| {
        remove_each(globals, &options.words, options.force, &mut networks::remove_network)
    },
};

pub static PRUNE: Command<Options> = Command {
    name: "network prune",
    aliases: "",
    words: "",
    about: "Remove all networks that no running container uses.",
    more: "The default network stays.\n",
    rules: Rules::Usual,
    flags: &[flag("-f, --force", "Do not ask (it never does)", |o, value| value.set(&mut o.force))],
    word,
    run: |globals, _| {
        for name in networks::prune_networks(&globals.engine()?)? {
            print::line(&name)?;
        }
        Ok(0)
    },
};

pub static INSPECT: Command<Options> = Command {
    name: "network inspect",
    aliases: "",
    words: "NETWORK...",
    about: "Show all that is known of networks.",
    more: "",
    rules: Rules::Usual,
    flags: &[FORMAT],
    word,
    run: inspect,
};

pub static CONNECT: Command<Options> = Command {
    name: "network connect",
    aliases: "",
    words: "NETWORK CONTAINER",
    about: "Connect a container to a network.",
    more: "",
    rules: Rules::Usual,
    flags: &[
        flag("--ip, --ip6 ADDRESS", "Its address there", |o, value| {
            value.set(&mut o.connect.addresses)
        }),
        flag("--alias NAME", "Another name by which other members find it", |o, value| {
            value.set(&mut o.connect.aliases)
        }),
    ],
    word,
    run: |globals, options| {
        let [network, container] = &options.words[..] else { return Ok(FAILURE) };
        networks::connect(&globals.engine()?, network, container, &options.connect)?;
        Ok(0)
    },
};

pub static DISCONNECT: Command<Options> = Command {
    name: "network disconnect",
    aliases: "",
    words: "NETWORK CONTAINER",
    about: "Take a container out of a network.",
    more: "",
    rules: Rules::Usual,
    flags: &[flag("-f, --force", "Changes nothing: it is always at once", |o, value| {
        value.set(&mut o.force)
    })],
    word,
    run: |globals, options| {
        let [network, container] = &options.words[..] else { return Ok(FAILURE) };
        networks::disconnect(&globals.engine()?, network, container)?;
        Ok(0)
    },
};

fn subnets(network: &Network) -> String {
    let list: Vec<&str> = network.ranges.iter().map(|range| range.subnet.as_str()).collect();
    list.join(",")
}

fn has_v6(network: &Network) -> bool {
    network.ranges.iter().any(|range| range.subnet.contains(':'))
}

fn holds(network: &Network, filter: &Filter) -> bool {
    match &*filter.key {
        "id" => list::matches(&network.id, &filter.value),
        "name" => list::matches(&network.name, &filter.value),
        "driver" => filter.value == "bridge",
        _ => list::has_label(&network.labels, &filter.value),
    }
}

fn list_networks(globals: &Globals, options: Options) -> Result<u8> {
    let format = list::format(options.format.as_deref())?;
    let filters = list::filters(&options.filters, &["id", "name", "driver", "label"])?;
    let mut found = networks::networks(&globals.engine()?)?;
    found.retain(|network| list::passes(&filters, |filter| holds(network, filter)));
    let text = match format {
        Some(format) => {
            let rows: Vec<Json> = found.iter().map(row).collect();
            let headers = [("ID", "NETWORK ID"), ("CreatedAt", "CREATED AT")];
            list::show(&format, &rows, &headers, &row(&Network::default()))?
        }
        None if options.quiet => found.iter().map(|network| network.id.clone() + "\n").collect(),
        None => {
            let header = ["NETWORK ID", "NAME", "DRIVER", "SUBNET"].map(str::to_owned).to_vec();
            let row = |network: &Network| {
                let (id, name) = (network.id.clone(), network.name.clone());
                vec![id, name, "bridge".to_owned(), subnets(network)]
            };
            let rows: Vec<_> = [header].into_iter().chain(found.iter().map(row)).collect();
            print::table(&rows)
        }
    };
    print::out(&text)?;
    Ok(0)
}

fn row(network: &Network) -> Json {
    json::object(&mut [
        ("CreatedAt", Part::Text(&when::local_text_with_zone(network.created))),
        ("Driver", Part::Text("bridge")),
        ("ID", Part::Text(&network.id)),
        ("IPv6", Part::Flag(has_v6(network))),
        ("Internal", Part::Flag(network.internal)),
        ("Labels", Part::Text(&list::labels_text(&network.labels))),
        ("Name", Part::Text(&network.name)),
        ("Scope", Part::Text("local")),
        ("Subnet", Part::Text(&subnets(network))),
    ])
}

fn inspect(globals: &Globals, options: Options) -> Result<u8> {
    list::inspect(globals, options.format.as_deref(), &options.words, |engine, name| {
        let (network, members) = networks::network(engine, name)?;
        Ok(details(&network, &members))
    })
}

/// One network under docker's keys.
fn details(network: &Network, members: &[(State, Endpoint)]) -> Json {
    let ranges = network.ranges.iter().map(|range| {
        let (subnet, gateway) = (Part::Text(&range.subnet), Part::Text(&range.gateway));
        json::object(&mut [("Subnet", subnet), ("Gateway", gateway)])
    });
    let config = Part::Value(json::list(ranges));
    let ipam = json::object(&mut [("Driver", Part::Text("default")), ("Config", config)]);
    let mut containers: Vec<(&str, Part<'_>)> = Vec::new();
    for (state, endpoint) in members {
        let address = |v6: bool| {
            let found = endpoint.addresses.iter().find(|text| text.contains(':') == v6);
            Part::Text(found.map_or("", String::as_str))
        };
        let member = json::object(&mut [
            ("Name", Part::Text(&state.name)),
            ("MacAddress", Part::Text(&endpoint.mac)),
            ("IPv4Address", address(false)),
            ("IPv6Address", address(true)),
        ]);
        containers.push((&state.id, Part::Value(member)));
    }
    json::object(&mut [
        ("Name", Part::Text(&network.name)),
        ("Id", Part::Text(&network.id)),
        ("Created", Part::Text(&when::rfc3339(network.created.saturating_mul(1_000_000_000)))),
        ("Scope", Part::Text("local")),
        ("Driver", Part::Text("bridge")),
        ("EnableIPv6", Part::Flag(has_v6(network))),
        ("IPAM", Part::Value(ipam)),
        ("Internal", Part::Flag(network.internal)),
        ("Bridge", Part::Text(&network.bridge)),
        ("Containers", Part::Value(json::object(&mut containers))),
        ("Labels", Part::Value(json::map(&network.labels))),
    ])
}
