//! Shows a value through a template.

use super::functions::{self, error, plain, truth};
use super::{Action, Node, Pipe, Range, Target, Term};
use crate::error::{Error, Result, escape};
use crate::rocker::json;
use crate::rocker::nearest::nearest;
use miniserde::json::{Object, Value};

/// The text of the nodes for one value.
pub fn apply(nodes: &[Node], value: &Value) -> Result<String> {
    let mut scope = Scope { variables: vec![(String::new(), value.clone())], out: String::new() };
    scope.nodes(nodes, value)?;
    Ok(scope.out)
}

/// What a part of a template can see, and what has been written so far.
struct Scope {
    /// The newest last; the first, without a name, is the whole value.
    variables: Vec<(String, Value)>,
    out: String,
}

impl Scope {
    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Result<()> {
        let visible = self.variables.len();
        for node in nodes {
            self.node(node, dot)?;
        }
        self.variables.truncate(visible);
        Ok(())
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Result<()> {
        match node {
            Node::Text(text) => self.out.push_str(text),
            Node::Action(action) => {
                let value = self.action(action, dot)?;
                if action.into.is_none() {
                    self.print(&value);
                }
            }
            Node::If(branches, otherwise) => {
                let visible = self.variables.len();
                self.branches(branches, otherwise, dot)?;
                self.variables.truncate(visible);
            }
            Node::With(action, body, otherwise) => {
                let visible = self.variables.len();
                let value = self.action(action, dot)?;
                match truth(&value) {
                    true => self.nodes(body, &value)?,
                    false => self.nodes(otherwise, dot)?,
                }
                self.variables.truncate(visible);
            }
            Node::Range(range) => self.range(range, dot)?,
        }
        Ok(())
    }

    fn print(&mut self, value: &Value) {
        let mut text = String::new();
        plain(value, &mut text);
        for part in text.split_inclusive(['\n', '\t']) {
            let visible = part.trim_end_matches(['\n', '\t']);
            self.out.push_str(&escape(visible));
            self.out.push_str(&part[visible.len()..]);
        }
    }

    fn branches(
        &mut self,
        branches: &[(Action, Vec<Node>)],
        otherwise: &[Node],
        dot: &Value,
    ) -> Result<()> {
        for (condition, body) in branches {
            if truth(&self.action(condition, dot)?) {
                return self.nodes(body, dot);
            }
        }
        self.nodes(otherwise, dot)
    }

    fn range(&mut self, range: &Range, dot: &Value) -> Result<()> {
        let pairs: Vec<(Value, Value)> = match self.pipe(&range.over, dot)? {
            Value::Array(array) => (0..).map(json::number).zip(array.iter().cloned()).collect(),
            Value::Object(object) => {
                object.into_iter().map(|(key, value)| (json::text(key), value)).collect()
            }
            Value::Null => Vec::new(),
            _ => return Err(error("range over what is neither list nor object")),
        };
        if pairs.is_empty() {
            return self.nodes(&range.otherwise, dot);
        }
        for (key, value) in pairs {
            let visible = self.variables.len();
            if let Some(name) = &range.key {
                self.variables.push((name.clone(), key));
            }
            if let Some(name) = &range.item {
                self.variables.push((name.clone(), value.clone()));
            }
            self.nodes(&range.body, &value)?;
            self.variables.truncate(visible);
        }
        Ok(())
    }

    /// The value of an action, which is put where the action says.
    fn action(&mut self, action: &Action, dot: &Value) -> Result<Value> {
        let value = self.pipe(&action.pipe, dot)?;
        match &action.into {
            None => {}
            Some(Target::New(name)) => self.variables.push((name.clone(), value.clone())),
            Some(Target::Known(name)) => *self.variable(name)? = value.clone(),
        }
        Ok(value)
    }

    /// The newest variable of a name.
    fn variable(&mut self, name: &str) -> Result<&mut Value> {
        match self.variables.iter_mut().rev().find(|(known, _)| known == name) {
            Some((_, value)) => Ok(value),
            None => Err(error(format!("no variable ${name}"))),
        }
    }

    fn pipe(&mut self, pipe: &Pipe, dot: &Value) -> Result<Value> {
        let mut last = None;
        for call in pipe {
            last = Some(self.call(call, last, dot)?);
        }
        Ok(last.unwrap_or_default())
    }

    fn call(&mut self, call: &[Term], last: Option<Value>, dot: &Value) -> Result<Value> {
        let Some((head, rest)) = call.split_first() else { return Ok(Value::Null) };
        let mut arguments = Vec::with_capacity(rest.len() + 1);
        for term in rest {
            arguments.push(self.term(term, dot)?);
        }
        arguments.extend(last);
        match head {
            Term::Function(name) => functions::call(name, &arguments),
            // A method of docker's rows.
            Term::Field(fields) if fields.as_slice() == ["Label"] && arguments.len() == 1 => {
                functions::label(dot, &arguments[0])
            }
            _ if !arguments.is_empty() => Err(error("arguments for what is no function")),
            _ => self.term(head, dot),
        }
    }

    fn term(&mut self, term: &Term, dot: &Value) -> Result<Value> {
        match term {
            Term::Field(fields) => field(dot, fields),
            Term::Variable(name, fields) => field(self.variable(name)?, fields),
            Term::Group(pipe, fields) => field(&self.pipe(pipe, dot)?, fields),
            Term::Literal(value) => Ok(value.clone()),
            Term::Function(name) => functions::call(name, &[]),
        }
    }
}

/// The fields whose keys are not ours: what is not there is nothing.
const MAPS: [&str; 7] =
    ["Labels", "Networks", "Ports", "Volumes", "ExposedPorts", "Tmpfs", "Containers"];

fn field(value: &Value, fields: &[String]) -> Result<Value> {
    let mut value = value;
    for (index, name) in fields.iter().enumerate() {
        value = match value {
            Value::Object(object) => match object.get(name) {
                Some(value) => value,
                None if index > 0 && MAPS.contains(&&*fields[index - 1]) => &Value::Null,
                None => return Err(missing(object, &fields[..index], name)),
            },
            _ => return Err(error(format!("no field .{}", fields[..=index].join(".")))),
        };
    }
    Ok(value.clone())
}

fn missing(object: &Object, above: &[String], name: &str) -> Error {
    let path = |name: &str| {
        let mut path = String::new();
        for part in above.iter().map(String::as_str).chain([name]) {
            path.push('.');
            path.push_str(part);
        }
        path
    };
    let error = error(format!("no field {}", path(name)));
    match nearest(name, object.keys().map(String::as_str)) {
        Some(near) => error.hint(format!("did you mean {}?", path(near))),
        None if object.is_empty() => error,
        None => {
            let known: Vec<String> = object.keys().take(40).map(|name| path(name)).collect();
            error.hint(format!("it has {}", known.join(", ")))
        }
    }
}
