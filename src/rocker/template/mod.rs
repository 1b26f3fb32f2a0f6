//! The templates of `--format`: as much of Go's as scripts use, over JSON values.
//!
//! Fields, variables, pipes, `if`, `with`, `range`, and the functions of `functions.rs`.

mod eval;
mod functions;
mod parse;

use crate::error::{ENGINE, Error, Result};
use miniserde::json::Value;

/// A template that has been read.
pub struct Template(Vec<Node>);

/// A part of a template.
enum Node {
    Text(String),
    /// Shows the value, where it is not put into a variable.
    Action(Action),
    /// Pairs of condition and body, and what is shown when none holds.
    If(Vec<(Action, Vec<Node>)>, Vec<Node>),
    With(Action, Vec<Node>, Vec<Node>),
    Range(Range),
}

/// `pipe`, `$name := pipe` or `$name = pipe`.
struct Action {
    into: Option<Target>,
    pipe: Pipe,
}

/// The name of a variable.
enum Target {
    /// Seen until the end of the block.
    New(String),
    /// Of this block or of one around it.
    Known(String),
}

/// `{{range $key, $item := pipe}}body{{else}}otherwise{{end}}`.
struct Range {
    key: Option<String>,
    item: Option<String>,
    over: Pipe,
    body: Vec<Node>,
    otherwise: Vec<Node>,
}

/// Calls, each of which gets the result of the one before as its last argument.
type Pipe = Vec<Vec<Term>>;

/// A word of a call.
enum Term {
    /// `.A.B` of the current value; nothing is the value itself.
    Field(Vec<String>),
    /// `$name.A.B`; the empty name is the whole value.
    Variable(String, Vec<String>),
    /// `(pipe).A.B`
    Group(Pipe, Vec<String>),
    Literal(Value),
    Function(String),
}

/// Reads a template. `\t` and `\n` in it stand for a tab and a new line.
pub fn parse(text: &str) -> Result<Template> {
    let text = text.replace("\\t", "\t").replace("\\n", "\n");
    match parse::parse(&text) {
        Ok(nodes) => Ok(Template(nodes)),
        Err(why) => Err(Error::new(format!("--format: {why}")).code(ENGINE)),
    }
}

impl Template {
    /// The text of the template for one value.
    pub fn apply(&self, value: &Value) -> Result<String> {
        eval::apply(&self.0, value)
    }

    /// Whether it may show one of these fields of its value. The whole value, `.` or `$`, has them all.
    pub fn uses(&self, fields: &[&str]) -> bool {
        nodes_use(&self.0, fields)
    }
}

fn nodes_use(nodes: &[Node], fields: &[&str]) -> bool {
    nodes.iter().any(|node| match node {
        Node::Text(_) => false,
        Node::Action(action) => pipe_uses(&action.pipe, fields),
        Node::If(branches, otherwise) => {
            let uses = |(condition, body): &(Action, Vec<Node>)| {
                pipe_uses(&condition.pipe, fields) || nodes_use(body, fields)
            };
            branches.iter().any(uses) || nodes_use(otherwise, fields)
        }
        Node::With(Action { pipe, .. }, body, otherwise)
        | Node::Range(Range { over: pipe, body, otherwise, .. }) => {
            pipe_uses(pipe, fields) || nodes_use(body, fields) || nodes_use(otherwise, fields)
        }
    })
}

fn pipe_uses(pipe: &Pipe, fields: &[&str]) -> bool {
    pipe.iter().flatten().any(|term| match term {
        Term::Field(path) => path.first().is_none_or(|name| fields.contains(&&**name)),
        Term::Variable(variable, path) if variable.is_empty() => {
            path.first().is_none_or(|name| fields.contains(&&**name))
        }
        Term::Group(pipe, _) => pipe_uses(pipe, fields),
        // What is in another variable was counted when it was put there.
        Term::Variable(..) | Term::Literal(_) | Term::Function(_) => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = r#"{"Name": "/web", "Id": "0123456789", "Up": true, "Off": false,
        "State": {"Pid": 7, "Status": "running", "Health": null},
        "Args": ["-c", "a b"], "None": [],
        "Config": {"Labels": {"a.b": "1", "c": "2"}}, "Labels": "a.b=1,c=2"}"#;

    fn apply(template: &str) -> Result<String> {
        let value: Value = miniserde::json::from_str(SAMPLE).expect("it is JSON");
        parse(template)?.apply(&value)
    }

    #[track_caller]
    fn shows(template: &str, text: &str) {
        assert_eq!(apply(template).as_deref(), Ok(text), "{template}");
    }

    #[test]
    fn fields_are_found_at_any_depth() {
        shows("{{.Name}} {{ .State.Pid }}", "/web 7");
        shows("{{$.State.Status}}{{(.State).Pid}}", "running7");
        shows("{{.Up}} {{.State.Health}} {{.Args}}", "true <no value> [-c a b]");
        shows("{{.Config.Labels}}", "map[a.b:1 c:2]");
    }

    #[test]
    fn tabs_new_lines_comments_and_trimming_are_as_in_go() {
        shows(r"{{.Up}}\t{{.Off}}\n", "true\tfalse\n");
        shows("a {{- /* nothing */ -}} b {{- .Up -}} c", "abtruec");
        shows("a {{/* nothing */}} b", "a  b");
    }

    #[test]
    fn conditions_take_the_first_branch_that_holds() {
        shows("{{if .Up}}a{{else}}b{{end}}", "a");
        shows("{{if .Off}}a{{else if .State.Pid}}b{{else}}c{{end}}", "b");
        shows("{{if .None}}a{{end}}{{with .State}}{{.Pid}}{{end}}", "7");
        shows("{{with .None}}a{{else}}b{{end}}", "b");
        shows(r#"{{if and .Up (eq .State.Status "running" "x")}}a{{end}}"#, "a");
        shows(r#"{{if or .Off (ne .State.Pid 7)}}a{{end}}{{not .Up}}"#, "false");
    }

    #[test]
    fn ranges_go_over_lists_and_objects() {
        shows("{{range .Args}}<{{.}}>{{end}}", "<-c><a b>");
        shows("{{range $i, $v := .Args}}{{$i}}={{$v}} {{end}}", "0=-c 1=a b ");
        shows("{{range $k, $v := .Config.Labels}}{{$k}}={{$v}};{{end}}", "a.b=1;c=2;");
        shows("{{range .None}}a{{else}}none{{end}}", "none");
    }

    #[test]
    fn variables_are_seen_and_changed_in_the_blocks_within_theirs() {
        shows("{{$x := .State.Pid}}{{range .Args}}{{$x}}{{end}}", "77");
        shows("{{$x := 0}}{{range .Args}}{{$x = .}}{{end}}{{$x}}", "a b");
        shows("{{$x := 1}}{{if .Up}}{{$x := 2}}{{$x}}{{end}}{{$x}}", "21");
        shows("{{with $x := .State}}{{$x.Pid}}{{.Status}}{{end}}", "7running");
        shows("{{if $x := .Off}}a{{else if $y := .Name}}{{$x}}{{$y}}{{end}}", "false/web");
        shows("{{$x := 1}}{{with $x = .Name}}{{.}}{{end}}{{$x}}", "/web/web");
        assert!(apply("{{with $x := .Up}}{{end}}{{$x}}").is_err());
        assert!(apply("{{$x = 1}}").is_err());
    }

    #[test]
    fn functions_are_called_and_piped() {
        shows("{{json .Args}} {{.Name | json}}", r#"["-c","a b"] "/web""#);
        shows(r#"{{index .Config.Labels "a.b"}} {{index .Args 1}}"#, "1 a b");
        shows(r#"{{index .Config.Labels "missing"}}"#, "");
        shows(r#"{{len .Args}}{{len .Id}} {{join .Args ","}}"#, "210 -c,a b");
        shows(r#"{{upper .State.Status}}{{"ABC" | lower}}"#, "RUNNINGabc");
        shows(r#"{{range split "a,b" ","}}{{.}};{{end}}"#, "a;b;");
        shows("{{println .Up 1}}{{print .Name .Id}}", "true 1\n/web0123456789");
        shows(
            r#"{{printf "%.4s|%-4s|%3d|%q" .Id "ab" .State.Pid .Name}}"#,
            r#"0123|ab  |  7|"/web""#,
        );
        shows("{{lt 1 2}} {{le 2 2}} {{ge 1 2}} {{gt 2 1}}", "true true false true");
        shows(r#"[{{pad "a" 1 2}}] [{{pad "" 1 1}}] {{truncate .Id 3}}"#, "[ a  ] [] 012");
        shows(r#"{{"a\"\\b"}}"#, "a\"\\b");
        shows(r#"{{slice .Id 0 4}}{{.Label "a.b"}}{{.Label "x"}}"#, "01231");
    }

    #[test]
    fn an_unknown_key_of_a_map_is_nothing() {
        shows("{{if .Config.Labels.none}}y{{else}}n{{end}}", "n");
        shows("{{.Config.Labels.none}} {{$.Config.Labels.c}}", "<no value> 2");
        assert!(apply("{{.Config.Labels.none.x}}").is_err() && apply("{{.Config.x}}").is_err());
    }

    #[test]
    fn an_unknown_field_is_an_error_that_names_the_nearest() {
        let error = apply("{{.State.Staus}}").unwrap_err();
        assert_eq!(error.message, "--format: no field .State.Staus");
        assert_eq!((error.code, error.hint.as_deref()), (1, Some("did you mean .State.Status?")));
        let error = apply("{{.Qwerty}}").unwrap_err();
        assert!(error.hint.clone().unwrap_or_default().starts_with("it has .Args, .Config, "));
    }

    #[test]
    fn a_template_uses_what_it_names_and_all_where_it_shows_the_whole() {
        let uses = |template: &str| parse(template).unwrap().uses(&["Labels", "Label"]);
        for template in [
            "{{.}}",
            "{{ . }}",
            "{{println .}}",
            "{{$}}",
            "{{(.).Up}}",
            "{{$x := .}}{{$x.Up}}",
            "{{.Labels}}",
            r#"{{.Label "a"}}"#,
            "{{json .Labels}}",
            "{{$.Labels}}",
            "{{if .Up}}a{{else if .Labels}}b{{end}}",
            "{{if .Up}}a{{else}}{{.Labels}}{{end}}",
            "{{with .Up}}a{{else}}{{.}}{{end}}",
            "{{range .Args}}{{$.Labels}}{{end}}",
        ] {
            assert!(uses(template), "{template}");
        }
        for template in ["Labels", "{{.Name}}", "{{$.Up}}", "{{.Config.Labels}}", "{{json .Args}}"]
        {
            assert!(!uses(template), "{template}");
        }
    }

    #[test]
    fn wrong_templates_are_wrong_use() {
        let wrong = [
            "{{",
            "{{.A",
            "{{if .Up}}",
            "{{end}}",
            "{{else}}",
            "{{foo}}",
            "{{.A ! .B}}",
            "{{(.A}}",
            r#"{{"open}}"#,
            "{{}}",
            "{{| json}}",
            "{{range}}{{end}}",
            "{{$x :=}}",
            "{{.Up |}}",
            r#"{{"\x41"}}"#,
            r#"{{"\u0041"}}"#,
        ];
        for template in wrong {
            assert_eq!(apply(template).map_err(|error| error.code), Err(ENGINE), "{template}");
        }
    }

    #[test]
    fn wrong_arguments_are_errors_and_never_panics() {
        let wrong = [
            "{{len 1}}",
            "{{index .Args 9}}",
            "{{index .Args .Name}}",
            "{{slice .Id 5 2}}",
            "{{join .Name}}",
            "{{range .Up}}{{end}}",
            "{{$nope}}",
            "{{eq}}",
            "{{.Name.X}}",
            r#"{{printf "%z" 1}}"#,
            "{{.Name 1}}",
            r#"{{slice "é" 1}}"#,
            "{{index .Args 0 0 0}}",
        ];
        for template in wrong {
            assert!(apply(template).is_err(), "{template}");
        }
        assert!(apply(&"{{if .Up}}".repeat(10_000)).is_err());
        assert!(apply(&format!("{{{{{}", "(".repeat(10_000))).is_err());
    }
}
