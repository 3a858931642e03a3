//! Templates as `--format` takes them: the part of Go's text/template that docker's users type.
//!
//! ```text
//!   text {{ pipeline }} text      ->  Node, Node, …  ->  eval, once a row
//!   if, else if, else, with, range, end, $name :=, {{- and -}}, comments
//! ```
//!
//! What is not known is refused when the template is read, before anything is asked of the engine.
//! There is no crate for it that is kept: gtmpl has had no release in years, and wants its own values.
//!
//! Spec: Go's text/template; docker's `formatting` page for the functions.

mod eval;
mod scan;

use serde_json::Value;

use scan::{Piece, Token, pieces};

/// A template that was read and holds no unknown function.
#[derive(Debug, Clone)]
pub(crate) struct Template(Vec<Node>);

/// Why a template is none, or does not fit what it is applied to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// It is no template.
    #[error("template {0:?}: {1}")]
    Syntax(String, String),
    /// There is no such field.
    #[error("there is no field {0:?}: {1}")]
    Field(String, String),
    /// A function was given what it does not take.
    #[error("{0}: {1}")]
    Call(String, String),
}

/// A piece of a template.
#[derive(Debug, Clone, PartialEq)]
enum Node {
    Text(String),
    Put(Pipeline),
    Set(String, Pipeline),
    If(Pipeline, Vec<Node>, Vec<Node>),
    With(Pipeline, Vec<Node>, Vec<Node>),
    Range { names: Vec<String>, over: Pipeline, body: Vec<Node>, empty: Vec<Node> },
}

/// Commands, each given the result of the one before as its last argument.
type Pipeline = Vec<Command>;
/// An operand, or a function or field and its arguments.
type Command = Vec<Operand>;

#[derive(Debug, Clone, PartialEq)]
enum Operand {
    Dot,
    Variable(String),
    Literal(Value),
    Function(String),
    Group(Pipeline),
    /// A field of something.
    Field(Box<Operand>, String),
}

impl Template {
    /// Reads a template. `\t` and `\n` may be written as in docker's.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let syntax = |problem: String| Error::Syntax(text.to_owned(), problem);
        let unescaped = text.replace("\\t", "\t").replace("\\n", "\n");
        let mut parser = Parser { pieces: pieces(&unescaped).map_err(syntax)?.into_iter() };
        let (nodes, end) = parser.block().map_err(syntax)?;
        if end == End::OfText { Ok(Self(nodes)) } else { Err(syntax("end without a begin".into())) }
    }

    /// The text for one value.
    pub(crate) fn apply(&self, data: &Value) -> Result<String, Error> {
        eval::apply(&self.0, data)
    }
}

/// What a list of nodes ended with.
#[derive(Debug, PartialEq)]
enum End {
    OfText,
    Closed,
    Else,
    OtherwiseIf(Vec<Token>),
}

struct Parser {
    pieces: std::vec::IntoIter<Piece>,
}

impl Parser {
    fn block(&mut self) -> Result<(Vec<Node>, End), String> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let tokens = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                Piece::Action(tokens) => tokens,
            };
            let Some((Token::Word(word), rest)) = tokens.split_first() else {
                nodes.push(action(&tokens)?);
                continue;
            };
            match (word.as_str(), rest) {
                ("end", []) => return Ok((nodes, End::Closed)),
                ("else", []) => return Ok((nodes, End::Else)),
                ("else", [Token::Word(word), rest @ ..]) if word == "if" => {
                    return Ok((nodes, End::OtherwiseIf(rest.to_vec())));
                }
                ("if", rest) => nodes.push(self.condition(rest)?),
                ("with", rest) => {
                    let value = pipeline(rest)?;
                    let (then, otherwise) = self.branches()?;
                    nodes.push(Node::With(value, then, otherwise));
                }
                ("range", rest) => nodes.push(self.range(rest)?),
                _ => nodes.push(action(&tokens)?),
            }
        }
        Ok((nodes, End::OfText))
    }

    fn condition(&mut self, tokens: &[Token]) -> Result<Node, String> {
        let value = pipeline(tokens)?;
        let (then, otherwise) = self.branches()?;
        Ok(Node::If(value, then, otherwise))
    }

    fn range(&mut self, tokens: &[Token]) -> Result<Node, String> {
        let at = tokens.iter().position(|token| *token == Token::Assign);
        let (names, rest) = at.map_or((&[][..], tokens), |at| (&tokens[..at], &tokens[at + 1..]));
        let name = |token: &Token| match token {
            Token::Variable(name) => Some(Ok(name.clone())),
            Token::Comma => None,
            other => Some(Err(format!("{other:?} is no variable"))),
        };
        let names = names.iter().filter_map(name).collect::<Result<_, _>>()?;
        let over = pipeline(rest)?;
        let (body, empty) = self.branches()?;
        Ok(Node::Range { names, over, body, empty })
    }

    /// What is done, and what is done otherwise.
    fn branches(&mut self) -> Result<(Vec<Node>, Vec<Node>), String> {
        let (then, end) = self.block()?;
        let otherwise = match end {
            End::Closed => Vec::new(),
            End::OtherwiseIf(tokens) => vec![self.condition(&tokens)?],
            End::Else => {
                let (otherwise, end) = self.block()?;
                if end != End::Closed {
                    return Err("else without an end".into());
                }
                otherwise
            }
            End::OfText => return Err("an end is missing".into()),
        };
        Ok((then, otherwise))
    }
}

fn action(tokens: &[Token]) -> Result<Node, String> {
    match tokens {
        [Token::Variable(name), Token::Assign, rest @ ..] => {
            Ok(Node::Set(name.clone(), pipeline(rest)?))
        }
        tokens => Ok(Node::Put(pipeline(tokens)?)),
    }
}

fn pipeline(tokens: &[Token]) -> Result<Pipeline, String> {
    let mut tokens = Vec::from(tokens).into_iter().peekable();
    let parsed = commands(&mut tokens)?;
    match tokens.next() {
        None => Ok(parsed),
        Some(token) => Err(format!("unexpected {token:?}")),
    }
}

type Tokens = std::iter::Peekable<std::vec::IntoIter<Token>>;

/// Reads up to a closing parenthesis or the end.
fn commands(tokens: &mut Tokens) -> Result<Pipeline, String> {
    let mut all = Vec::new();
    let mut command: Command = Vec::new();
    loop {
        match tokens.peek() {
            None | Some(Token::Close) => break,
            Some(Token::Pipe) => {
                tokens.next();
                if command.is_empty() {
                    return Err("a command is missing before |".into());
                }
                all.push(std::mem::take(&mut command));
            }
            Some(_) => command.push(operand(tokens)?),
        }
    }
    if command.is_empty() {
        return Err("a command is missing".into());
    }
    all.push(command);
    Ok(all)
}

fn operand(tokens: &mut Tokens) -> Result<Operand, String> {
    let first = match tokens.next() {
        Some(Token::Dot) => Operand::Dot,
        Some(Token::Field(name)) => Operand::Field(Box::new(Operand::Dot), name),
        Some(Token::Variable(name)) => Operand::Variable(name),
        Some(Token::Literal(value)) => Operand::Literal(value),
        Some(Token::Word(name)) if eval::FUNCTIONS.contains(&name.as_str()) => {
            return Ok(Operand::Function(name));
        }
        Some(Token::Word(name)) => return Err(format!("there is no function {name:?}")),
        Some(Token::Open) => {
            let group = commands(tokens)?;
            if tokens.next() != Some(Token::Close) {
                return Err("a ) is missing".into());
            }
            Operand::Group(group)
        }
        other => return Err(format!("unexpected {other:?}")),
    };
    let mut operand = first;
    // A field that follows without a space is of what stands before.
    while let Some(Token::Of(name)) = tokens.peek() {
        operand = Operand::Field(Box::new(operand), name.clone());
        tokens.next();
    }
    Ok(operand)
}

#[cfg(test)]
mod tests;
