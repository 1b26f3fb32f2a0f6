//! `completion`: small scripts for shells, which ask `__complete` what a word may become.
//!
//! The answer comes from the tables of the commands, and from the names that there are.

use super::command::{Command, Entry, Rules, find_flag, flags, names, value_name};
use super::{Globals, ROCKER, commands, print};
use crate::container;
use crate::error::{ENGINE, Error, Result};

#[derive(Default)]
pub struct Options {
    words: Vec<String>,
}

pub static COMMAND: Command<Options> = Command {
    name: "completion",
    aliases: "",
    words: "SHELL",
    about: "Print the completion script for bash, zsh or fish.",
    more: "\
Examples:
  rocker completion bash > /etc/bash_completion.d/rocker
  rocker completion zsh > /usr/local/share/zsh/site-functions/_rocker
  rocker completion fish > /etc/fish/completions/rocker.fish
",
    rules: Rules::Harmless,
    flags: &[],
    word,
    run: |_, options| {
        let script = match options.words.first().map(String::as_str) {
            Some("bash") => BASH,
            Some("zsh") => ZSH,
            Some("fish") => FISH,
            other => {
                let shown = other.unwrap_or_default();
                let error = Error::new(format!("no completion for {shown}")).code(ENGINE);
                return Err(error.hint("there is one for bash, zsh and fish"));
            }
        };
        print::out(script)?;
        Ok(0)
    },
};

/// Answers the scripts: `__complete containers`, `__complete images`, or `__complete words`
/// and the words of the line, the last of which is being typed.
pub static COMPLETE: Command<Options> = Command {
    name: "__complete",
    aliases: "",
    words: "KIND [WORD...]",
    about: "Print what a word may become.",
    more: "",
    rules: Rules::Verbatim,
    flags: &[],
    word,
    run: |globals, options| {
        let (kind, words) = options
            .words
            .split_first()
            .map_or(("", &[][..]), |(kind, words)| (kind.as_str(), words));
        let mut found = match kind {
            "words" => candidates(globals, words),
            _ => things(globals, kind),
        };
        found.dedup();
        let mut text = found.join("\n");
        if !text.is_empty() {
            text.push('\n');
        }
        print::out(&text)?;
        Ok(0)
    },
};

fn word(options: &mut Options, word: String) -> Result<()> {
    options.words.push(word);
    Ok(())
}

/// What the script takes for "complete the name of a file".
const FILES: &str = ":files";

const BASH: &str = r#"# Completion of rocker for bash.
_rocker() {
    local line=${COMP_LINE:0:COMP_POINT} IFS=$' \t\n' words current prefix
    read -ra words <<<"$line"
    [[ $line == *[[:space:]] ]] && words+=('')
    current=${words[-1]}
    IFS=$'\n'
    COMPREPLY=($(rocker __complete words "${words[@]:1}" 2>/dev/null))
    if [[ ${COMPREPLY[0]} == :files ]]; then
        COMPREPLY=()
        compopt -o default
        return
    fi
    # The shell divides words at colons and equals signs and completes the last part.
    prefix=${current%"${current##*[:=]}"}
    COMPREPLY=("${COMPREPLY[@]#"$prefix"}")
}
complete -F _rocker rocker
"#;

const ZSH: &str = r#"#compdef rocker
# Completion of rocker for zsh.
_rocker() {
    local -a found
    found=("${(@f)$(rocker __complete words "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    if [[ $found[1] == :files ]]; then
        _files
    elif [[ -n $found[1] ]]; then
        compadd -a found
    fi
}
if [[ $funcstack[1] == _rocker ]]; then
    _rocker "$@"
else
    compdef _rocker rocker
fi
"#;

const FISH: &str = r#"# Completion of rocker for fish.
function __rocker_complete
    set -l found (rocker __complete words (commandline -opc)[2..] (commandline -ct) 2>/dev/null)
    if test "$found[1]" = :files
        __fish_complete_path (commandline -ct)
    else
        printf '%s\n' $found
    end
end
complete -c rocker -f -a '(__rocker_complete)'
"#;

/// Names of containers or images, or both; none where they cannot be read.
fn things(globals: &Globals, kind: &str) -> Vec<String> {
    let Ok(engine) = globals.engine() else { return Vec::new() };
    let mut names = Vec::new();
    if matches!(kind, "containers" | "objects") {
        let states = container::list(&engine).unwrap_or_default();
        names.extend(states.into_iter().map(|state| state.name));
    }
    if matches!(kind, "images" | "objects") {
        for image in engine.images.list().unwrap_or_default() {
            if image.tag == "latest" {
                names.push(image.name.clone());
            }
            names.push(format!("{}:{}", image.name, image.tag));
        }
    }
    names
}

/// What a word of the usage line stands for.
fn kind(word: &str) -> &'static str {
    match word.trim_matches(['[', ']', '.']) {
        "CONTAINER" => "containers",
        "IMAGE" | "NAME[:TAG" | "NAME[:TAG]" => "images",
        "NAME" => "objects",
        "FILE" | "DIR" => FILES,
        "SHELL" => "shells",
        "KIND" => "kinds",
        "SIGNAL" => "signals",
        _ => "",
    }
}

/// What the last of the words may become.
fn candidates(globals: &Globals, words: &[String]) -> Vec<String> {
    let Some((current, before)) = words.split_last() else { return Vec::new() };
    let found = match place(before, current) {
        Place::Option(entry) => option_names(entry),
        Place::Command(noun) => command_names(&noun),
        Place::Value("") => Vec::new(),
        Place::Value(FILES) => return vec![FILES.to_string()],
        Place::Value("shells") => ["bash", "zsh", "fish"].map(str::to_string).to_vec(),
        Place::Value("kinds") => ["container", "image"].map(str::to_string).to_vec(),
        Place::Value("signals") => {
            ["HUP", "INT", "KILL", "QUIT", "TERM", "USR1", "USR2"].map(str::to_string).to_vec()
        }
        Place::Value(kind) => things(globals, kind),
    };
    found.into_iter().filter(|word| word.starts_with(current.as_str())).collect()
}

/// What the word that is being typed is.
enum Place {
    /// An option of this command.
    Option(&'static dyn Entry),
    /// A command, or the verb after a noun.
    Command(String),
    /// A word or a value of this kind.
    Value(&'static str),
}

fn place(before: &[String], current: &str) -> Place {
    let mut entry: &'static dyn Entry = &ROCKER;
    let mut noun = String::new();
    let (mut count, mut options) = (0, true);
    let mut words = before.iter();
    while let Some(word) = words.next() {
        if options && word.starts_with('-') && word.len() > 1 {
            options = word != "--";
            // A cluster of letters takes a value if its last one does.
            let last = word.chars().next_back().map(|letter| format!("-{letter}"));
            let name = if word.starts_with("--") { Some(word.clone()) } else { last };
            let flag = name.and_then(|name| find_flag(entry, &name));
            if let Some(value) = flag.and_then(|(_, spec)| value_name(spec))
                && words.next().is_none()
            {
                return Place::Value(kind(value));
            }
        } else if entry.facts().name.is_empty() {
            let spelling = if noun.is_empty() { word.clone() } else { format!("{noun} {word}") };
            match commands::find(&spelling) {
                Some(found) => entry = found,
                None if commands::is_noun(word) && noun.is_empty() => noun = word.clone(),
                None => return Place::Value(""),
            }
        } else {
            count += 1;
            options &= !entry.facts().rules.stops_at_word();
        }
    }
    let facts = entry.facts();
    match () {
        () if options && current.starts_with('-') => Place::Option(entry),
        () if facts.name.is_empty() => Place::Command(noun),
        () => {
            let mut kinds = facts.words.split_ascii_whitespace();
            let last = facts.words.split_ascii_whitespace().next_back().unwrap_or_default();
            let repeated = Some(last).filter(|last| last.contains("..."));
            // --image takes the place of the first word of run.
            let given = before.iter().any(|word| word.starts_with("--image"));
            let count = count + usize::from(given && facts.words.starts_with("[IMAGE]"));
            Place::Value(kind(kinds.nth(count).or(repeated).unwrap_or_default()))
        }
    }
}

fn option_names(entry: &'static dyn Entry) -> Vec<String> {
    let all = flags(entry).flat_map(|(spec, _)| names(spec)).chain(["--help"]);
    all.map(str::to_string).collect()
}

fn command_names(noun: &str) -> Vec<String> {
    let verbs = commands::spellings().filter_map(|spelling| match noun {
        "" => (!spelling.contains(' ')).then_some(spelling),
        _ => spelling.strip_prefix(noun)?.strip_prefix(' '),
    });
    let nouns = commands::NOUNS.iter().copied().filter(|_| noun.is_empty());
    verbs.chain(nouns).map(str::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: &str) -> String {
        let words: Vec<String> = line.split(' ').map(str::to_string).collect();
        let (current, before) = words.split_last().expect("there is a word");
        match place(before, current) {
            Place::Option(entry) => format!("options of {}", entry.facts().name),
            Place::Command(noun) => format!("command {noun}"),
            Place::Value(kind) => kind.to_string(),
        }
    }

    #[test]
    fn the_word_that_is_typed_is_known_by_what_stands_before_it() {
        let pairs = [
            ("", "command "),
            ("--root ", ":files"),
            ("--root /x --de", "options of "),
            ("container ", "command container"),
            ("container st", "command container"),
            ("image rm bu", "images"),
            ("stop a b ", "containers"),
            ("logs a ", ""),
            ("run --im", "options of run"),
            ("run --image ", "images"),
            ("run --env-file ", ":files"),
            ("run -it bu", "images"),
            ("run -itm ", ""),
            ("run busybox ", ""),
            ("run busybox -", ""),
            ("exec -it we", "containers"),
            ("import ", ":files"),
            ("import x ", "images"),
            ("commit ", "containers"),
            ("commit web ", "images"),
            ("inspect x ", "objects"),
            ("kill -s ", "signals"),
            ("completion ", "shells"),
            ("nothing ", ""),
        ];
        for (line, expected) in pairs {
            assert_eq!(at(line), expected, "{line}");
        }
    }

    #[test]
    fn commands_and_options_are_offered_by_their_beginning() {
        let globals = Globals::default();
        let offered = |line: &[&str]| {
            let words: Vec<String> = line.iter().map(|word| word.to_string()).collect();
            candidates(&globals, &words)
        };
        assert_eq!(offered(&["ima"]), ["images", "image"]);
        assert_eq!(
            offered(&["run", "--cpus"]),
            ["--cpushare", "--cpuset", "--cpuset-cpus", "--cpus"]
        );
        assert_eq!(offered(&["image", "l"]), ["ls", "list"]);
        assert!(offered(&["__"]).is_empty());
    }
}
