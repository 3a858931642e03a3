//! Applying a template to a value.

use std::cmp::Ordering;

use serde_json::Value;

use super::{Command, Error, Node, Operand, Pipeline};

/// What can be called, by its name in templates.
pub(super) const FUNCTIONS: [&str; 24] = [
    "json", "join", "lower", "upper", "title", "split", "pad", "truncate", "print", "println",
    "printf", "len", "index", "eq", "ne", "lt", "le", "gt", "ge", "and", "or", "not", "slice",
    "contains",
];

/// Names of variables and their values, the newest last.
type Scope = Vec<(String, Value)>;

pub(super) fn apply(nodes: &[Node], data: &Value) -> Result<String, Error> {
    let mut out = String::new();
    let mut scope = vec![(String::new(), data.clone())];
    block(nodes, data, &mut scope, &mut out)?;
    Ok(out)
}

fn block(nodes: &[Node], dot: &Value, scope: &mut Scope, out: &mut String) -> Result<(), Error> {
    let depth = scope.len();
    for node in nodes {
        match node {
            Node::Text(text) => out.push_str(text),
            Node::Put(value) => out.push_str(&text(&pipeline(value, dot, scope)?)),
            Node::Set(name, value) => {
                let value = pipeline(value, dot, scope)?;
                scope.push((name.clone(), value));
            }
            Node::If(condition, then, otherwise) => {
                let holds = truth(&pipeline(condition, dot, scope)?);
                block(if holds { then } else { otherwise }, dot, scope, out)?;
            }
            Node::With(value, then, otherwise) => {
                let value = pipeline(value, dot, scope)?;
                if truth(&value) {
                    block(then, &value, scope, out)?;
                } else {
                    block(otherwise, dot, scope, out)?;
                }
            }
            Node::Range { names, over, body, empty } => {
                let items = items(pipeline(over, dot, scope)?)?;
                if items.is_empty() {
                    block(empty, dot, scope, out)?;
                }
                for (key, item) in items {
                    let depth = scope.len();
                    match names.as_slice() {
                        [] => {}
                        [value] => scope.push((value.clone(), item.clone())),
                        [index, value, ..] => {
                            scope.push((index.clone(), key));
                            scope.push((value.clone(), item.clone()));
                        }
                    }
                    block(body, &item, scope, out)?;
                    scope.truncate(depth);
                }
            }
        }
    }
    scope.truncate(depth);
    Ok(())
}

/// What `range` goes through: keys and values.
fn items(value: Value) -> Result<Vec<(Value, Value)>, Error> {
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Array(list) => {
            Ok(list.into_iter().enumerate().map(|(at, item)| (at.into(), item)).collect())
        }
        Value::Object(map) => Ok(map.into_iter().map(|(key, item)| (key.into(), item)).collect()),
        other => Err(Error::Call("range".into(), format!("{} is no list", text(&other)))),
    }
}

fn pipeline(commands: &Pipeline, dot: &Value, scope: &Scope) -> Result<Value, Error> {
    let mut result = None;
    for command in commands {
        result = Some(evaluate(command, dot, scope, result.as_ref())?);
    }
    Ok(result.unwrap_or(Value::Null))
}

fn evaluate(
    command: &Command,
    dot: &Value,
    scope: &Scope,
    last: Option<&Value>,
) -> Result<Value, Error> {
    let Some((first, rest)) = command.split_first() else { return Ok(Value::Null) };
    let arguments = || {
        let given = rest.iter().map(|operand| value(operand, dot, scope));
        given.chain(last.cloned().map(Ok)).collect::<Result<Vec<_>, _>>()
    };
    if let Operand::Function(name) = first {
        return call(name, &arguments()?);
    }
    let value = value(first, dot, scope)?;
    match arguments()?.as_slice() {
        [] => Ok(value),
        // `.Label "name"`, a method of docker's.
        [Value::String(key)] if value.is_object() => {
            Ok(value.get(key).cloned().unwrap_or_else(|| "".into()))
        }
        _ => Err(Error::Call(text(&value), "is no function".into())),
    }
}

fn value(operand: &Operand, dot: &Value, scope: &Scope) -> Result<Value, Error> {
    match operand {
        Operand::Dot => Ok(dot.clone()),
        Operand::Literal(value) => Ok(value.clone()),
        Operand::Group(commands) => pipeline(commands, dot, scope),
        Operand::Function(name) => call(name, &[]),
        Operand::Variable(name) => {
            let found = scope.iter().rev().find(|(known, _)| known == name);
            let none = || Error::Field(format!("${name}"), "it was not set".into());
            found.map(|(_, value)| value.clone()).ok_or_else(none)
        }
        Operand::Field(of, name) => match value(of, dot, scope)? {
            Value::Object(mut map) => map.remove(name).ok_or_else(|| {
                let known: Vec<&str> = map.keys().map(String::as_str).collect();
                Error::Field(name.clone(), format!("want one of {}", known.join(", ")))
            }),
            other => Err(Error::Field(name.clone(), format!("{} has none", text(&other)))),
        },
    }
}

fn call(name: &str, arguments: &[Value]) -> Result<Value, Error> {
    let wrong = |want: &str| Error::Call(name.to_owned(), format!("want {want}"));
    let string = |at: usize| arguments.get(at).map(text).ok_or_else(|| wrong("more arguments"));
    let number = |at: usize| {
        let number = arguments.get(at).and_then(Value::as_u64);
        number.and_then(|n| usize::try_from(n).ok()).ok_or_else(|| wrong("a number"))
    };
    let compare = |test: fn(Ordering) -> bool| match arguments {
        [a, b] => order(a, b).map(|order| test(order).into()).ok_or_else(|| wrong("two of a kind")),
        _ => Err(wrong("two arguments")),
    };
    Ok(match (name, arguments) {
        ("json", [value]) => value.to_string().into(),
        ("join", [Value::Array(list), Value::String(between)]) => {
            list.iter().map(text).collect::<Vec<_>>().join(between).into()
        }
        ("join", [Value::Null, _]) => "".into(),
        ("lower", [_]) => string(0)?.to_lowercase().into(),
        ("upper", [_]) => string(0)?.to_uppercase().into(),
        ("title", [_]) => capitals(&string(0)?).into(),
        ("split", [_, Value::String(at)]) => {
            string(0)?.split(at.as_str()).map(Value::from).collect::<Vec<_>>().into()
        }
        ("pad", [_, _, _]) => {
            format!("{}{}{}", " ".repeat(number(1)?), string(0)?, " ".repeat(number(2)?)).into()
        }
        ("truncate", [_, _]) => string(0)?.chars().take(number(1)?).collect::<String>().into(),
        ("contains", [_, _]) => string(0)?.contains(&string(1)?).into(),
        ("print", all) => all.iter().map(text).collect::<String>().into(),
        ("println", all) => {
            format!("{}\n", all.iter().map(text).collect::<Vec<_>>().join(" ")).into()
        }
        ("printf", [Value::String(format), rest @ ..]) => printf(format, rest)?.into(),
        ("len", [Value::Array(list)]) => list.len().into(),
        ("len", [Value::Object(map)]) => map.len().into(),
        ("len", [Value::String(text)]) => text.len().into(),
        ("len", [Value::Null]) => 0.into(),
        ("index", [of, keys @ ..]) => index(of, keys)?,
        ("slice", [Value::String(text), _, ..]) => {
            let end = if arguments.len() > 2 { number(2)? } else { text.len() };
            text.get(number(1)?..end).ok_or_else(|| wrong("bounds within the text"))?.into()
        }
        ("eq", [first, rest @ ..]) if !rest.is_empty() => rest.contains(first).into(),
        ("ne", [a, b]) => (a != b).into(),
        ("lt", _) => compare(Ordering::is_lt)?,
        ("le", _) => compare(Ordering::is_le)?,
        ("gt", _) => compare(Ordering::is_gt)?,
        ("ge", _) => compare(Ordering::is_ge)?,
        ("and", [.., last]) => arguments.iter().find(|v| !truth(v)).unwrap_or(last).clone(),
        ("or", [.., last]) => arguments.iter().find(|v| truth(v)).unwrap_or(last).clone(),
        ("not", [value]) => (!truth(value)).into(),
        _ => return Err(wrong("other arguments")),
    })
}

fn index(of: &Value, keys: &[Value]) -> Result<Value, Error> {
    keys.iter().try_fold(of.clone(), |of, key| match (&of, key) {
        // As Go's maps: the zero value.
        (Value::Object(map), Value::String(key)) => {
            Ok(map.get(key).cloned().unwrap_or_else(|| "".into()))
        }
        (Value::Array(list), Value::Number(at)) => {
            let at = at.as_u64().and_then(|at| usize::try_from(at).ok());
            let found = at.and_then(|at| list.get(at)).cloned();
            found.ok_or_else(|| Error::Call("index".into(), format!("{key} is out of range")))
        }
        _ => Err(Error::Call("index".into(), format!("{} has no {}", text(&of), text(key)))),
    })
}

/// `%s`, `%v`, `%d`, `%q`, `%t`, `%%`, with a width: `%-10s`.
fn printf(format: &str, arguments: &[Value]) -> Result<String, Error> {
    let wrong = |problem: &str| Error::Call("printf".into(), problem.to_owned());
    let (mut out, mut arguments) = (String::new(), arguments.iter());
    let mut rest = format;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        let end = after.find(|c: char| c.is_alphabetic() || c == '%');
        let end = end.ok_or_else(|| wrong("a verb is missing behind %"))?;
        let (width, verb) = (&after[..end], &after[end..=end]);
        rest = &after[end + 1..];
        if verb == "%" {
            out.push('%');
            continue;
        }
        let value = arguments.next().ok_or_else(|| wrong("more arguments are wanted"))?;
        let shown = match verb {
            "s" | "v" | "d" | "t" => text(value),
            "q" => Value::from(text(value)).to_string(),
            other => return Err(wrong(&format!("%{other} is not supported"))),
        };
        let columns: usize = width.trim_start_matches('-').parse().unwrap_or(0);
        let room = " ".repeat(columns.saturating_sub(shown.chars().count()));
        let (left, right) = if width.starts_with('-') { ("", &*room) } else { (&*room, "") };
        out.push_str(left);
        out.push_str(&shown);
        out.push_str(right);
    }
    out.push_str(rest);
    Ok(out)
}

fn capitals(text: &str) -> String {
    let mut start = true;
    let each = text.chars().map(|c| {
        let capital = if start { c.to_ascii_uppercase() } else { c };
        start = c.is_whitespace();
        capital
    });
    each.collect()
}

fn order(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        (Value::Number(a), Value::Number(b)) => a.as_f64()?.partial_cmp(&b.as_f64()?),
        _ => None,
    }
}

/// As Go has it: empty is false.
fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(holds) => *holds,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// As Go prints it by `%v`.
fn text(value: &Value) -> String {
    match value {
        Value::Null => "<no value>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(list) => {
            format!("[{}]", list.iter().map(text).collect::<Vec<_>>().join(" "))
        }
        Value::Object(map) => {
            let pairs = map.iter().map(|(key, value)| format!("{key}:{}", text(value)));
            format!("map[{}]", pairs.collect::<Vec<_>>().join(" "))
        }
        other => other.to_string(),
    }
}
