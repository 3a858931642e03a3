//! The wall of containers that ask for none: the suite can be run with either.

use std::env;

use spec::Isolation;

/// The wall of containers that ask for none: `HULL_DEFAULT_ISOLATION`, or `process`.
pub fn usual() -> Isolation {
    let said = env::var("HULL_DEFAULT_ISOLATION").ok();
    said.map_or(Isolation::Process, |text| text.parse().expect("HULL_DEFAULT_ISOLATION"))
}

/// What decides the wall of containers that ask for none, unless `given` do: the suite's word, never what
/// kind of host the suite is on.
pub(crate) fn arguments(given: &[String]) -> Vec<String> {
    let says = ["--host-kind", "--isolation", "--allowed-isolation", "--exec-opt", "--config"];
    if given.iter().any(|argument| says.iter().any(|flag| argument.starts_with(flag))) {
        return Vec::new();
    }
    vec!["--host-kind=server".to_owned(), format!("--isolation={}", usual())]
}
