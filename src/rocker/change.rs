//! The lines of `--change`: instructions of a Dockerfile that alter an image's configuration.

use crate::container::membership::ports;
use crate::container::spec::set;
use crate::error::{ENGINE, Error, Result};
use crate::image::ImageConfig;
use crate::sys::signal;

/// Why a line is no change.
type Parsed<T> = std::result::Result<T, String>;

/// More alternatives inside alternatives are refused, since each level is a call of this program.
const DEEPEST: u32 = 64;

/// Applies instructions: `ENV`, `CMD`, `ENTRYPOINT`, `WORKDIR`, `USER`, `LABEL`, `EXPOSE`,
/// `STOPSIGNAL` or `VOLUME`. All but the commands may name variables of the image.
pub fn apply(config: &mut ImageConfig, lines: &[String]) -> Result<()> {
    let mut has_command = false;
    lines.iter().try_for_each(|line| {
        let line = line.trim();
        let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        change(config, &name.to_ascii_uppercase(), rest.trim(), &mut has_command)
            .map_err(|why| Error::new(format!("invalid change '{line}': {why}")).code(ENGINE))
    })
}

fn change(config: &mut ImageConfig, name: &str, rest: &str, has_command: &mut bool) -> Parsed<()> {
    let expanded;
    let rest = match name {
        "WORKDIR" | "USER" | "EXPOSE" | "STOPSIGNAL" => {
            expanded = expand(rest, &config.env)?;
            &*expanded
        }
        _ => rest,
    };
    if rest.is_empty() && !matches!(name, "CMD" | "ENTRYPOINT") {
        return Err(format!("{name} needs a value"));
    }
    match name {
        "ENV" | "LABEL" => {
            for pair in pairs(rest, &config.env)? {
                match pair.split_once('=') {
                    None | Some(("", _)) => return Err(format!("{pair} is not KEY=VALUE")),
                    Some((key, value)) if name == "LABEL" => {
                        config.labels.insert(key.to_string(), value.to_string());
                    }
                    Some(_) => set(&mut config.env, pair),
                }
            }
        }
        "CMD" => {
            config.cmd = command(rest)?;
            *has_command = true;
        }
        "ENTRYPOINT" => {
            config.entrypoint = command(rest)?;
            // The arguments belonged to the old one, unless they have just been given.
            if !*has_command {
                config.cmd.clear();
            }
        }
        "WORKDIR" if rest.starts_with('/') => config.working_dir = rest.to_string(),
        "WORKDIR" => {
            let before = config.working_dir.trim_end_matches('/');
            config.working_dir = format!("{before}/{rest}");
        }
        "USER" => config.user = rest.to_string(),
        "EXPOSE" => {
            for port in rest.split_ascii_whitespace() {
                let port = check_port(&port.to_ascii_lowercase())?;
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
                let path = expand(&path, &config.env)?;
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
fn command(text: &str) -> Parsed<Vec<String>> {
    Ok(match text {
        "" => Vec::new(),
        _ if text.starts_with('[') => words(text)?,
        _ => vec!["/bin/sh".to_string(), "-c".to_string(), text.to_string()],
    })
}

/// A JSON list of strings, or words between blanks.
fn words(text: &str) -> Parsed<Vec<String>> {
    if !text.starts_with('[') {
        return Ok(text.split_ascii_whitespace().map(str::to_string).collect());
    }
    let list = miniserde::json::from_str(text);
    list.map_err(|_| "not a list like [\"sh\", \"-c\", \"ls\"]".to_string())
}

/// `KEY=VALUE …` with quotes; the old form `KEY VALUE` is made one.
fn pairs(text: &str, env: &[String]) -> Parsed<Vec<String>> {
    if let Some((key, value)) = text.split_once(char::is_whitespace)
        && !key.contains('=')
    {
        return Ok(vec![format!("{key}={}", expand(value.trim_start(), env)?)]);
    }
    let mut shell = Shell { rest: text, env, depth: 0 };
    let mut pairs = Vec::new();
    while !shell.rest.is_empty() {
        pairs.push(shell.word(' ')?);
        shell.rest = shell.rest.trim_start();
    }
    Ok(pairs)
}

/// The text without its quotes, its variables replaced.
fn expand(text: &str, env: &[String]) -> Parsed<String> {
    Shell { rest: text, env, depth: 0 }.word('\0')
}

/// Text that is read as a shell would.
struct Shell<'a> {
    rest: &'a str,
    env: &'a [String],
    depth: u32,
}

impl Shell<'_> {
    fn next(&mut self) -> Option<char> {
        let mut characters = self.rest.chars();
        let next = characters.next();
        self.rest = characters.as_str();
        next
    }

    /// Takes a word off and the character that ends it, of which quotes and backslashes keep some in.
    /// A blank stands for all blanks. Only a brace has to come.
    fn word(&mut self, end: char) -> Parsed<String> {
        let mut word = String::new();
        let mut quote = None;
        while let Some(character) = self.next() {
            match character {
                _ if Some(character) == quote => quote = None,
                '$' if quote != Some('\'') => word.push_str(&self.variable()?),
                '\\' if quote != Some('\'') => {
                    let next = self.next();
                    if quote.is_some() && !matches!(next, Some('"' | '\\' | '$')) {
                        word.push('\\');
                    }
                    word.extend(next);
                }
                _ if quote.is_some() => word.push(character),
                '"' | '\'' => quote = Some(character),
                _ if character == end || end == ' ' && character.is_whitespace() => {
                    return Ok(word);
                }
                _ => word.push(character),
            }
        }
        match quote.or((end == '}').then_some('{')) {
            Some(open) => Err(format!("{open} is not closed")),
            None => Ok(word),
        }
    }

    /// The value of the variable behind a `$`; empty where there is none of that name.
    fn variable(&mut self) -> Parsed<String> {
        let inner = self.rest.strip_prefix('{');
        let rest = inner.unwrap_or(self.rest);
        self.rest = rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_');
        let name = &rest[..rest.len() - self.rest.len()];
        let value = |entry: &String| Some(entry.strip_prefix(name)?.strip_prefix('=')?.to_string());
        let value = self.env.iter().find_map(value).unwrap_or_default();
        if inner.is_none() {
            return Ok(if name.is_empty() { "$".to_string() } else { value });
        }
        let known = || "only ${NAME}, ${NAME:-WORD} and ${NAME:+WORD} are known".to_string();
        match self.next() {
            Some('}') if !name.is_empty() => return Ok(value),
            Some(':') if self.depth < DEEPEST => {}
            _ => return Err(known()),
        }
        let sign = self.next();
        self.depth += 1;
        let word = self.word('}')?;
        self.depth -= 1;
        match (sign, value.is_empty()) {
            (Some('-'), true) | (Some('+'), false) => Ok(word),
            (Some('-' | '+'), _) => Ok(value),
            _ => Err(known()),
        }
    }
}

/// `80`, `80/udp`, `8000-8010/tcp`; the protocol is added.
fn check_port(text: &str) -> Parsed<String> {
    let (numbers, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    match ports(numbers) {
        Some(_) if matches!(&*protocol, "tcp" | "udp" | "sctp") => {
            Ok(format!("{numbers}/{protocol}"))
        }
        _ => Err(format!("{text} is no port like 80 or 53/udp")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(lines: &[&str]) -> Result<ImageConfig> {
        let mut config = ImageConfig::default();
        let lines: Vec<String> = lines.iter().map(|line| line.to_string()).collect();
        apply(&mut config, &lines).map(|()| config)
    }

    #[test]
    fn variables_are_replaced_by_name_and_may_be_quoted() {
        let config =
            changed(&["ENV A=1 B=\"x y\" C=it\\ is", "env A=2", "ENV OLD some words"]).unwrap();
        assert_eq!(config.env, ["A=2", "B=x y", "C=it is", "OLD=some words"]);
    }

    #[test]
    fn commands_are_lists_or_lines_for_the_shell() {
        let config = changed(&[r#"CMD ["sh", "-c", "echo hi"]"#]).unwrap();
        assert_eq!(config.cmd, ["sh", "-c", "echo hi"]);
        let config = changed(&["ENTRYPOINT top -b"]).unwrap();
        assert_eq!(config.entrypoint, ["/bin/sh", "-c", "top -b"]);
    }

    #[test]
    fn an_entry_point_drops_the_command_unless_that_was_given_with_it() {
        let config = changed(&["CMD [\"x\"]", "ENTRYPOINT [\"e\"]"]).unwrap();
        assert_eq!(
            (&config.cmd[..], &config.entrypoint[..]),
            (&["x".into()][..], &["e".into()][..])
        );
        let mut config = ImageConfig { cmd: vec!["old".into()], ..Default::default() };
        apply(&mut config, &["ENTRYPOINT [\"e\"]".into()]).unwrap();
        assert!(config.cmd.is_empty());
    }

    #[test]
    fn variables_of_the_lines_before_are_replaced() {
        let config = changed(&[
            "ENV A=1 PATH=/bin E=",
            r#"ENV A=2 B=$A C='$A' D=\$A F="${A}b \"$A\" $" PATH=$PATH:/opt/${NONE}bin"#,
            "ENV G=${E:-x$A} H=${A:-x} I=${A:+'y }'} J=${NONE:+x}${NONE:-${E:-z}} K=\"$B $A\"",
            "ENV OLD say $A \"it\"",
            "LABEL a$A=$A",
            "WORKDIR $PATH",
            "USER $A:${B}",
            "EXPOSE $A ${A}0/UDP",
            "STOPSIGNAL $A",
            "VOLUME /$A",
            r#"VOLUME ["/v$A"]"#,
            r#"CMD ["$A"]"#,
            "ENTRYPOINT echo $A",
        ])
        .unwrap();
        let env = "A=2 PATH=/bin:/opt/bin E= B=1 C=$A D=$A F=1b \"1\" $ G=x2 H=2 I=y } J=z K=1 2";
        assert_eq!(config.env.join(" "), env.to_string() + " OLD=say 2 it");
        assert_eq!(config.labels.get("a2").map(String::as_str), Some("2"));
        assert_eq!((&*config.working_dir, &*config.user), ("/bin:/opt/bin", "2:1"));
        assert_eq!(config.exposed_ports, ["2/tcp", "20/udp"]);
        assert_eq!(config.stop_signal, "SIGINT");
        assert_eq!(config.volumes, ["/2", "/v2"]);
        assert_eq!((&*config.cmd[0], &*config.entrypoint[2]), ("$A", "echo $A"));
    }

    #[test]
    fn the_rest_of_the_configuration_is_set() {
        let config = changed(&[
            "WORKDIR /srv",
            "WORKDIR app",
            "USER 1000:1000",
            "LABEL a=1 b='x y'",
            "EXPOSE 80 53/UDP",
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
            "WORKDIR $NONE",
            "ENV A=${",
            "ENV A=${A",
            "ENV A=${A:-b",
            "ENV A=${A#b}",
            "ENV A=${}",
            "ENV A=${é}",
        ];
        for line in lines {
            assert_eq!(changed(&[line]).map_err(|error| error.code), Err(ENGINE), "{line}");
        }
        assert!(changed(&[&format!("ENV A={}", "${A:-".repeat(10_000))]).is_err());
    }
}
