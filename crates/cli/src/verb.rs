//! Verbs: what each does, and the tables that they stand in.

use crate::client::Client;
use crate::error::Error;

/// A command and its options.
pub(crate) trait Verb {
    /// Does it; gives the exit status.
    async fn run(self, client: &Client) -> Result<u8, Error>;
}

/// A table of verbs: their words, what help says of them, and their options. Lines behind `=>` are
/// tables whose verbs belong here too.
macro_rules! verbs {
    (
        $(#[$about:meta])* $table:ident {
            $($(#[$more:meta])* $name:ident: $verb:ty,)*
            $(=> { $($from:ident: $other:ty,)* })?
        }
    ) => {
        $(#[$about])*
        #[derive(Debug, clap::Subcommand)]
        #[allow(clippy::large_enum_variant)] // there is one, and it is read once
        pub(crate) enum $table {
            $($(#[$more])* $name($verb),)*
            $($(#[command(flatten)] $from($other),)*)?
        }

        impl $crate::verb::Verb for $table {
            async fn run(self, client: &$crate::client::Client) -> Result<u8, $crate::error::Error> {
                match self {
                    $(Self::$name(verb) => Box::pin(verb.run(client)).await,)*
                    $($(Self::$from(verb) => Box::pin(verb.run(client)).await,)*)?
                }
            }
        }
    };
}

/// A group of verbs: `hull container VERB`.
macro_rules! group {
    ($(#[$about:meta])* $group:ident of $table:ident) => {
        $(#[$about])*
        #[derive(Debug, clap::Args)]
        pub(crate) struct $group {
            #[command(subcommand)]
            verb: $table,
        }

        impl $crate::verb::Verb for $group {
            async fn run(self, client: &$crate::client::Client) -> Result<u8, $crate::error::Error> {
                self.verb.run(client).await
            }
        }
    };
}

pub(crate) use {group, verbs};

/// Does the same for each name and prints what it gives; a failure does not keep the others from it.
pub(crate) async fn each<'a, F, W>(names: &'a [String], work: F) -> Result<u8, Error>
where
    F: Fn(&'a str) -> W,
    W: Future<Output = Result<String, Error>>,
{
    let mut failures = Vec::new();
    for name in names {
        match work(name).await {
            Ok(line) => crate::output::line(line),
            Err(error) => failures.push(error),
        }
    }
    let Some(last) = failures.pop() else { return Ok(0) };
    failures.iter().for_each(Error::print);
    Err(last)
}
