//! The lines of `--change`: instructions of a Dockerfile that alter an image's configuration.

use super::json;
use crate::error::{ENGINE, Error, Result};
use crate::image::ImageConfig;
use crate::sys::signal;
use miniserde::json::Value;

/// Applies one instruction: `ENV`, `CMD`, `ENTRYPOINT`, `WORKDIR`, `USER`, `LABEL`, `EXPOSE`,
/// `STOPSIGNAL` or `VOLUME`.
pub fn apply(config: &mut ImageConfig, line: &str) -> Result<()> {
    let line = line.trim();
    let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    change(config, &name.to_ascii_uppercase(), rest.trim())
        .map_err(|why| Error::new(format!("invalid change '{line}': {why}")).code(ENGINE))
}

fn change(config: &mut ImageConfig, name: &str, rest: &str) -> std::result::Result<(), String> {
    if rest.is_empty() && !matches!(name, "CMD" | "ENTRYPOINT") {
        return Err(format!("{name} needs a value"));
    }
    match name {
        "ENV" => {
            for (key, value) in pairs(rest)? {
                let start = format!("{key}=");
                config.env.retain(|known| !known.starts_with(&start));
                config.env.push(start + &value);
            }
        }
        "LABEL" => config.labels.extend(pairs(rest)?),
        "CMD" => config.cmd = command(rest)?,
        "ENTRYPOINT" => {
            config.entrypoint = command(rest)?;
            // The arguments belonged to the old one.
            config.cmd.clear();
        }
        "WORKDIR" if rest.starts_with('/') => config.working_dir = rest.to_string(),
        "WORKDIR" => {
            let before = config.working_dir.trim_end_matches('/');
            config.working_dir = format!("{before}/{rest}");
        }
        "USER" => config.user = rest.to_string(),
        "EXPOSE" => {
            for port in rest.split_ascii_whitespace() {
                let port = check_port(port)?;
                if !config.exposed_ports.contains(&port) {
                    config.exposed_ports.push(port);
                }
            }
        }
        "STOPSIGNAL" => match signal::parse(rest) {
            Some(number) => config.stop_signal = signal::name(number),
            None => return Err(format!("no signal {rest}")),
        },
        "VOLUME" => {
            for path in words(rest)? {
                if !path.starts_with('/') {
                    return Err(format!("{path} is not an absolute path"));
                }
                if !config.volumes.contains(&path) {
                    config.volumes.push(path);
                }
            }
        }
        _ => {
            return Err("an instruction is one of ENV, CMD, ENTRYPOINT, WORKDIR, USER, LABEL, \
                 EXPOSE, STOPSIGNAL, VOLUME"
                .to_string());
        }
    }
    Ok(())
}

/// `["a", "b"]` as it is; anything else is a line for the shell.
fn command(text: &str) -> std::result::Result<Vec<String>, String> {
    Ok(match text {
        "" => Vec::new(),
        _ if text.starts_with('[') => words(text)?,
        _ => vec!["/bin/sh".to_string(), "-c".to_string(), text.to_string()],
    })
}

/// A JSON list of strings, or words between blanks.
fn words(text: &str) -> std::result::Result<Vec<String>, String> {
    if !text.starts_with('[') {
        return Ok(text.split_ascii_whitespace().map(str::to_string).collect());
    }
    let error = || "not a list like [\"sh\", \"-c\", \"ls\"]".to_string();
    let Ok(Value::Array(array)) = miniserde::json::from_str(text) else { return Err(error()) };
    array
        .iter()
        .map(|value| match value {
            Value::String(text) => Ok(text.clone()),
            _ => Err(error()),
        })
        .collect()
}

/// `KEY=VALUE …` with quotes, or the old form `KEY VALUE`.
fn pairs(text: &str) -> std::result::Result<Vec<(String, String)>, String> {
    let first = text.split(char::is_whitespace).next().unwrap_or_default();
    if !first.contains('=') {
        return match text.split_once(char::is_whitespace) {
            Some((key, value)) => Ok(vec![(key.to_string(), value.trim_start().to_string())]),
            None => Err(format!("{} is not KEY=VALUE", json::compact(&json::text(text)))),
        };
    }
    let mut list = Vec::new();
    for word in quoted_words(text)? {
        match word.split_once('=') {
            Some((key, value)) if !key.is_empty() => {
                list.push((key.to_string(), value.to_string()));
            }
            _ => return Err(format!("{word} is not KEY=VALUE")),
        }
    }
    Ok(list)
}

/// Words between blanks; quotes and backslashes keep blanks in a word.
fn quoted_words(text: &str) -> std::result::Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (character, quote) {
            ('\\', None | Some('"')) => {
                word.get_or_insert_default().extend(characters.next());
            }
            (_, Some(open)) if character == open => quote = None,
            ('"' | '\'', None) => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (_, None) if character.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    match quote {
        Some(open) => Err(format!("{open} is not closed")),
        None => Ok(words),
    }
}

/// `80`, `80/udp`, `8000-8010/tcp`; the protocol is added.
fn check_port(text: &str) -> std::result::Result<String, String> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let number = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
    let (from, to) = ports.split_once('-').unwrap_or((ports, ports));
    match (number(from), number(to)) {
        (Some(from), Some(to)) if from <= to && matches!(protocol, "tcp" | "udp" | "sctp") => {
            Ok(format!("{ports}/{protocol}"))
        }
        _ => Err(format!("{text} is no port like 80 or 53/udp")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(lines: &[&str]) -> Result<ImageConfig> {
        let mut config = ImageConfig::default();
        lines.iter().try_for_each(|line| apply(&mut config, line)).map(|()| config)
    }

    #[test]
    fn variables_are_replaced_by_name_and_may_be_quoted() {
        let config =
            changed(&["ENV A=1 B=\"x y\" C=it\\ is", "env A=2", "ENV OLD some words"]).unwrap();
        assert_eq!(config.env, ["B=x y", "C=it is", "A=2", "OLD=some words"]);
    }

    #[test]
    fn commands_are_lists_or_lines_for_the_shell() {
        let config = changed(&[r#"CMD ["sh", "-c", "echo hi"]"#]).unwrap();
        assert_eq!(config.cmd, ["sh", "-c", "echo hi"]);
        let config = changed(&["CMD [\"x\"]", "ENTRYPOINT top -b"]).unwrap();
        assert_eq!(config.entrypoint, ["/bin/sh", "-c", "top -b"]);
        assert!(config.cmd.is_empty());
    }

    #[test]
    fn the_rest_of_the_configuration_is_set() {
        let config = changed(&[
            "WORKDIR /srv",
            "WORKDIR app",
            "USER 1000:1000",
            "LABEL a=1 b='x y'",
            "EXPOSE 80 53/udp",
            "STOPSIGNAL int",
            r#"VOLUME ["/data"]"#,
            "VOLUME /data /log",
        ])
        .unwrap();
        assert_eq!((&*config.working_dir, &*config.user), ("/srv/app", "1000:1000"));
        assert_eq!(config.labels.get("b").map(String::as_str), Some("x y"));
        assert_eq!(config.exposed_ports, ["80/tcp", "53/udp"]);
        assert_eq!(config.stop_signal, "SIGINT");
        assert_eq!(config.volumes, ["/data", "/log"]);
    }

    #[test]
    fn what_is_no_change_is_wrong_use() {
        let lines = [
            "",
            "RUN ls",
            "ENV",
            "ENV A",
            "ENV =x",
            "ENV A=\"x",
            "CMD [\"a\"",
            "CMD [1]",
            "EXPOSE x",
            "EXPOSE 0",
            "EXPOSE 9-8",
            "EXPOSE 80/ip",
            "STOPSIGNAL nope",
            "VOLUME data",
        ];
        for line in lines {
            assert_eq!(changed(&[line]).map_err(|error| error.code), Err(ENGINE), "{line}");
        }
    }
}
