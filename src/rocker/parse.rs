//! Puts a call together from the words of a command line and the table of its command.

use super::command::{Call, Entry, Value, find_flag, flags, names, value_name, word_count};
use super::nearest::nearest;
use crate::error::{ENGINE, Error, FAILURE, Result, escape};
use lexopt::{Arg, Parser};
use std::ffi::OsString;

/// What the words ask for.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed {
    Act,
    Help,
}

/// Why words are no call of a command.
#[derive(Debug)]
pub struct Refusal {
    /// 125 for an option or a value that is wrong, 1 for a wrong number of positional words.
    pub error: Error,
    /// Whether the usage line helps: not where the options are right and a value is wrong.
    pub usage: bool,
}

/// Fills `call` from the words that follow the name of the command.
pub fn parse(
    entry: &dyn Entry,
    call: &mut dyn Call,
    words: &[String],
) -> std::result::Result<Parsed, Refusal> {
    let mut parser = Parser::from_args(words);
    // The word that is being looked at, for errors that speak of it.
    let mut current = String::new();
    // An option without a value that came last: `-d=false` tells its value afterwards.
    let mut switch = None;
    let (mut count, mut ended) = (0, false);
    loop {
        if let Some(word) = parser.try_raw_args().and_then(|raw| raw.peek().map(OsString::from)) {
            current = text(word);
            ended |= current == "--";
            if !ended {
                check_dashes(entry, &current).map_err(wrong)?;
            }
        }
        let name = match parser.next() {
            Ok(None) => break,
            Ok(Some(Arg::Short(letter))) => format!("-{letter}"),
            Ok(Some(Arg::Long(name))) => format!("--{name}"),
            Ok(Some(Arg::Value(word))) => {
                call.word(text(word)).map_err(wrong)?;
                count += 1;
                if entry.facts().rules.stops_at_word() {
                    for word in parser.raw_args().into_iter().flatten() {
                        call.word(text(word)).map_err(wrong)?;
                        count += 1;
                    }
                    break;
                }
                continue;
            }
            Err(lexopt::Error::UnexpectedValue { value, .. }) if switch.is_some() => {
                set(call, switch.take(), Some(text(value)))?;
                continue;
            }
            Err(lexopt::Error::UnexpectedValue { option, .. }) => {
                return Err(wrong(Error::new(format!("option {option} takes no value"))));
            }
            Err(_) => return Err(wrong(Error::new(format!("wrong option {}", escape(&current))))),
        };
        let Some((index, spec)) = find_flag(entry, &name) else {
            if name == "--help" || name == "-h" {
                return Ok(Parsed::Help);
            }
            return Err(wrong(unknown(entry, &name)));
        };
        switch = value_name(spec).is_none().then_some((index, spec));
        let value = if switch.is_none() {
            let missing = |_| wrong(Error::new(format!("option {name} needs a value")));
            Some(text(parser.value().map_err(missing)?))
        } else if name.starts_with("--") {
            parser.optional_value().map(text)
        } else {
            None
        };
        set(call, Some((index, spec)), value)?;
    }
    check_count(entry.facts().words, count)?;
    Ok(Parsed::Act)
}

/// All words have been found to be UTF-8 at the start.
fn text(word: OsString) -> String {
    word.to_string_lossy().into_owned()
}

fn wrong(error: Error) -> Refusal {
    Refusal { error: error.code(ENGINE), usage: true }
}

fn set(
    call: &mut dyn Call,
    flag: Option<(usize, &'static str)>,
    value: Option<String>,
) -> std::result::Result<(), Refusal> {
    let Some((index, spec)) = flag else { return Ok(()) };
    let shown = escape(value.as_deref().unwrap_or_default());
    call.set(index, Value(value)).map_err(|error| {
        let names: Vec<_> = names(spec).collect();
        let message = format!("invalid value '{shown}' for {}: {error}", names.join(", "));
        let mut error = error.message(message).code(ENGINE);
        error.errno = None;
        Refusal { error, usage: false }
    })
}

/// `-name` and the like would be taken for `-n -a -m -e`, or for `-n` with the value `ame`.
fn check_dashes(entry: &dyn Entry, word: &str) -> Result<()> {
    let name = word.split('=').next().unwrap_or(word);
    if !name.starts_with('-') || name.starts_with("--") || name.len() < 3 {
        return Ok(());
    }
    let long = format!("-{name}");
    match find_flag(entry, &long) {
        Some(_) => Err(Error::new(format!("unknown option {name}")).hint(format!("write {long}"))),
        None => Ok(()),
    }
}

fn unknown(entry: &dyn Entry, name: &str) -> Error {
    let error = Error::new(format!("unknown option {}", escape(name)));
    let known = flags(entry).flat_map(|(spec, _)| names(spec)).filter(|name| name.len() > 2);
    match nearest(name, known.chain(["--help"])) {
        Some(near) if name.len() > 2 => error.hint(format!("did you mean {near}?")),
        _ => error,
    }
}

fn check_count(words: &str, count: usize) -> std::result::Result<(), Refusal> {
    let (least, most) = word_count(words);
    let (what, number) = match most {
        Some(most) if most == least && count != least => ("exactly", least),
        Some(most) if count > most => ("at most", most),
        _ if count < least => ("at least", least),
        _ => return Ok(()),
    };
    let noun = if number == 1 { "argument" } else { "arguments" };
    let message = match number {
        0 => "takes no arguments".to_string(),
        _ => format!("requires {what} {number} {noun}"),
    };
    Err(Refusal { error: Error::new(message).code(FAILURE), usage: true })
}

#[cfg(test)]
mod tests {
    use super::super::Globals;
    use super::super::command::{Command, Flag, Rules, flag};
    use super::*;

    #[derive(Default)]
    struct Options {
        detach: bool,
        tty: bool,
        env: Vec<String>,
        name: Option<String>,
        hostname: Option<String>,
        words: Vec<String>,
    }

    const FLAGS: &[Flag<Options>] = &[
        flag("-d, --detach", "", |o, v| v.set(&mut o.detach)),
        flag("-t, --tty", "", |o, v| v.set(&mut o.tty)),
        flag("-e, --env KEY=VALUE", "", |o, v| v.set(&mut o.env)),
        flag("--name NAME", "", |o, v| v.set(&mut o.name)),
        flag("-h, --hostname NAME", "", |o, v| v.set(&mut o.hostname)),
    ];

    const fn command(words: &'static str, rules: Rules) -> Command<Options> {
        Command {
            name: "test",
            aliases: "",
            words,
            about: "",
            more: "",
            rules,
            flags: FLAGS,
            word: |o, word| {
                o.words.push(word);
                Ok(())
            },
            run: |_, _| Ok(0),
        }
    }

    static PROGRAM: Command<Options> = command("[WORD...]", Rules::Program);
    static USUAL: Command<Options> = command("WORD [MORE]", Rules::Usual);

    struct Sample(Options);

    impl Call for Sample {
        fn set(&mut self, index: usize, value: Value) -> Result<()> {
            (FLAGS[index].set)(&mut self.0, value)
        }
        fn word(&mut self, word: String) -> Result<()> {
            self.0.words.push(word);
            Ok(())
        }
        fn run(self: Box<Self>, _: &Globals) -> Result<u8> {
            Ok(0)
        }
    }

    fn read(entry: &dyn Entry, line: &[&str]) -> Result<(Options, Parsed)> {
        let words: Vec<String> = line.iter().map(|word| word.to_string()).collect();
        let mut call = Sample(Options::default());
        let parsed = parse(entry, &mut call, &words).map_err(|refusal| refusal.error)?;
        Ok((call.0, parsed))
    }

    #[test]
    fn short_options_cluster_and_take_attached_values() {
        let (options, _) = read(&PROGRAM, &["-dteK=V", "-e", "-x", "-e=L", "image"]).unwrap();
        assert!(options.detach && options.tty);
        assert_eq!(options.env, ["K=V", "-x", "L"]);
        assert_eq!(options.words, ["image"]);
    }

    #[test]
    fn the_words_of_a_program_are_kept_as_they_are() {
        let line = ["-t", "image", "ls", "-la", "--", "--name=x", "-d"];
        let (options, _) = read(&PROGRAM, &line).unwrap();
        assert_eq!(options.words, line[1..]);
        assert!(!options.detach && options.name.is_none());
    }

    #[test]
    fn two_dashes_end_the_options() {
        let (options, _) = read(&PROGRAM, &["--name", "x", "--", "-d"]).unwrap();
        assert_eq!((options.words, options.detach), (vec!["-d".to_string()], false));
        let (options, _) = read(&USUAL, &["--", "-a", "-name"]).unwrap();
        assert_eq!(options.words, ["-a", "-name"]);
    }

    #[test]
    fn options_of_other_commands_may_follow_words() {
        let (options, _) = read(&USUAL, &["a", "--name=x=y", "b", "-d"]).unwrap();
        assert_eq!((options.name.as_deref(), options.detach), (Some("x=y"), true));
        assert_eq!(options.words, ["a", "b"]);
    }

    #[test]
    fn switches_take_true_and_false_after_an_equals_sign() {
        let (options, _) = read(&PROGRAM, &["--detach=false", "-t=false"]).unwrap();
        assert!(!options.detach && !options.tty);
        let (options, _) = read(&PROGRAM, &["--detach=1", "-dt=true"]).unwrap();
        assert!(options.detach && options.tty);
        let error = read(&PROGRAM, &["--tty=maybe"]).err().unwrap();
        assert_eq!(error.code, ENGINE);
        assert_eq!(error.message, "invalid value 'maybe' for -t, --tty: neither true nor false");
    }

    #[test]
    fn a_long_option_with_one_dash_gets_the_right_spelling() {
        for line in [&["-name", "x", "i"][..], &["-tty", "i"], &["-env=K=V", "i"]] {
            let error = read(&PROGRAM, line).err().unwrap();
            let name = line[0].split('=').next().unwrap_or_default();
            assert_eq!((error.code, error.hint.clone()), (ENGINE, Some(format!("write -{name}"))));
        }
    }

    #[test]
    fn an_unknown_option_is_named_with_its_nearest() {
        let error = read(&PROGRAM, &["--detatch"]).err().unwrap();
        assert_eq!(error.message, "unknown option --detatch");
        assert_eq!((error.code, error.hint.as_deref()), (ENGINE, Some("did you mean --detach?")));
        assert_eq!(read(&PROGRAM, &["-z"]).err().unwrap().message, "unknown option -z");
    }

    #[test]
    fn an_option_without_its_value_is_wrong_use() {
        let error = read(&PROGRAM, &["--name"]).err().unwrap();
        assert_eq!((error.code, &*error.message), (ENGINE, "option --name needs a value"));
    }

    #[test]
    fn the_number_of_words_is_checked() {
        let error = read(&USUAL, &[]).err().unwrap();
        assert_eq!((error.code, &*error.message), (FAILURE, "requires at least 1 argument"));
        let error = read(&USUAL, &["a", "b", "c"]).err().unwrap();
        assert_eq!((error.code, &*error.message), (FAILURE, "requires at most 2 arguments"));
    }

    #[test]
    fn h_is_the_help_unless_the_table_has_another_use_for_it() {
        assert_eq!(read(&PROGRAM, &["--help"]).unwrap().1, Parsed::Help);
        let (options, parsed) = read(&PROGRAM, &["-h", "box"]).unwrap();
        assert_eq!((options.hostname.as_deref(), parsed), (Some("box"), Parsed::Act));
    }
}
