//! The process that becomes the user's program: the second life of the caller's executable.

/// Runs the container's side when this program was started as `hull-init`, and then never returns.
/// Call it first thing in `main`, before threads, logging and argument parsing.
pub fn dispatch() {
    if std::env::args_os().next().is_some_and(|name| name == NAME) {
        todo!()
    }
}

/// `argv[0]` of the second life.
pub const NAME: &str = "hull-init";
