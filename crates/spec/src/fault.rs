//! Faults that have a page: a code, what it means, why it happens, what to do.
//!
//! Every error that reaches a person has one: its own where the remedy is known, else its kind's. The
//! engine names the code beside the message, `hull` shows both and `hull explain CODE` the page;
//! `docs/errors.md` is made from this table.

use std::error::Error;
use std::io;

use crate::Kind;

/// A page.
#[derive(Debug, PartialEq, Eq)]
pub struct Fault {
    /// By which it is asked for: `H` and four digits. A code never changes its meaning.
    pub code: &'static str,
    /// What failed.
    pub title: &'static str,
    /// Why, one line.
    pub why: &'static str,
    /// What to do, one line.
    pub remedy: &'static str,
    /// More, for the page alone.
    pub more: &'static str,
}

macro_rules! faults {
    ($($name:ident $code:literal $title:literal $why:literal $remedy:literal $more:literal;)*) => {
        $(
            #[doc = $title]
            pub const $name: Fault = Fault {
                code: $code, title: $title, why: $why, remedy: $remedy, more: $more,
            };
        )*

        /// Every page, in the order of the codes.
        pub const ALL: &[&Fault] = &[$(&$name),*];
    };
}

faults! {
    INVALID "H0001" "The request is wrong"
        "a value is none of those that are understood"
        "correct the value that the message names; hull help VERB lists what is legal"
        "It fails in the same way every time, and nothing was changed.";
    UNSUPPORTED "H0002" "Hull, or this host, cannot do it"
        "the request is right, but nothing here can honour it"
        "leave the option out, or take the other wall: --isolation=process or --isolation=hyperv"
        "An option is never ignored in silence. README.md lists what a VM is refused; hull doctor shows \
         what this host lacks.";
    NOT_FOUND "H0003" "It does not exist"
        "nothing has this name or id"
        "look for its name: hull ps -a, hull images, hull volume ls, hull network ls"
        "Ids may be shortened as long as only one begins so. A container made with --rm goes when it ends.";
    EXISTS "H0004" "It exists already"
        "what was to be made has the name of something that is there"
        "choose another name, or remove the old one"
        "Names of networks, volumes and containers are each unique.";
    CONFLICT "H0005" "Its state does not allow this"
        "it exists, but is not in the state that this needs, or is in use"
        "hull inspect NAME shows its state; start, stop, unpause or remove what is in the way"
        "A volume or network is in use as long as a container names it, also one that is stopped.";
    COMMAND_NOT_FOUND "H0006" "The program is not in the image"
        "neither the path nor PATH of the image leads to it"
        "hull run --rm -it IMAGE sh, and look for it; small images may have no shell either"
        "Exit status 127. The container was not started. A script is not found either when the program in \
         its first line is missing, nor a program whose loader is.";
    COMMAND_NOT_EXECUTABLE "H0007" "The program cannot be executed"
        "it is a directory, is for another architecture, or lacks the permission"
        "chmod +x in the image's build, or name the program itself"
        "Exit status 126. The container was not started.";
    DENIED "H0008" "It is not allowed"
        "a policy or a permission forbids it"
        "hull info shows the policy; log in where a registry refuses: hull login REGISTRY"
        "A registry answers in the same way for what does not exist and what is not to be seen.";
    EXHAUSTED "H0009" "Something is used up"
        "memory, disk, processes or addresses of this host are all in use"
        "hull system df and hull stats show by whom; hull system prune frees what nobody uses"
        "What was begun is taken back.";
    UNAVAILABLE "H0010" "The other side does not answer"
        "a registry, a virtual machine or a supervisor is not reached"
        "try again; if it stays so, look at the network, and at the engine's log"
        "The engine's log: journalctl -u hulld, or /run/hull/hulld.log where hull started it.";
    INTERNAL "H0011" "Something failed that should work"
        "the kernel, or Hull, did not do what it does elsewhere"
        "hull doctor looks for what is wrong here; else report it with the engine's log"
        "The engine's log: journalctl -u hulld, or /run/hull/hulld.log where hull started it.";
    NO_IMAGE "H0101" "The image is not found"
        "neither this host nor the registry has an image of that name and tag"
        "check the spelling; hull images lists what is here, hull search TERM what there is"
        "A name without a registry is Docker Hub's, and one without a tag has the tag latest. A registry \
         may answer so, too, for an image that only its owners see: hull login REGISTRY.";
    NAME_IN_USE "H0102" "The name is another container's"
        "names are unique, and a stopped container keeps its own"
        "hull rm NAME, hull rename NAME OTHER, or choose another --name"
        "With --rm a container gives its name back when it ends.";
    PORT_TAKEN "H0103" "The port of the host is taken"
        "a container or a program of the host listens there already"
        "choose another port, -p 8081:80, or stop its owner: ss -ltnp shows programs, hull ps containers"
        "-p 80 lets Hull choose a free one; hull port NAME tells which.";
    DISK_FULL "H0104" "The disk is full"
        "the file system that holds Hull's files has no room left"
        "hull system df, hull system prune; or a larger disk by hulld --data-root DIR"
        "What was begun is taken back: a pull leaves no half of a layer. Programs in containers see the \
         same disk as full.";
    NO_HYPERVISOR "H0105" "There is no hypervisor"
        "a virtual machine needs QEMU, which is not installed"
        "sudo apt install qemu-system-x86, or --isolation=process"
        "KVM is not needed: without it machines are emulated, slowly. hulld --vm-qemu names another QEMU.";
    NO_KERNEL "H0106" "There is no kernel for virtual machines"
        "each virtual machine boots a kernel of its own, and none is where Hull looks"
        "sudo make vm-kernel in Hull's source, sudo /usr/lib/hull/vm-kernel of its package, or \
         hulld --vm-kernel FILE --vm-modules DIR"
        "Debian's cloud kernel is downloaded and unpacked, not installed. --isolation=process needs none.";
    NO_ENGINE "H0107" "The engine does not run"
        "nobody listens at its socket"
        "sudo hull system start; with systemd: sudo systemctl start hulld"
        "hull starts the engine by itself only at the usual socket, /run/hull/hull.sock. HULL_HOST and \
         DOCKER_HOST name another.";
    SOCKET_DENIED "H0108" "The engine's socket is not for you"
        "it is root's and the group hull's: who may use it can be root"
        "sudo usermod -aG hull $USER and log in again, or sudo hull"
        "A container can mount any directory of the host. So nobody is in that group unless you put them in.";
    WRONG_OPTION "H0109" "The command line is not understood"
        "an option or a verb is misspelt, or stands behind the image's name"
        "hull --help lists verbs, hull help VERB all of its options"
        "Options of hull come before the image's name; what comes behind it is the container's command.";
    STATE "H0110" "The container does not run"
        "only a running container can be asked this"
        "hull start NAME; hull logs NAME shows why it ended"
        "It may be paused, too: hull unpause NAME.";
    ISOLATION "H0111" "This wall is not allowed here"
        "the host's policy names the walls that containers may have"
        "--isolation= with one that is allowed, or change --allowed-isolation of hulld"
        "hull info names them, and the wall of containers that ask for none.";
    SILENT "H0112" "The engine was started and does not answer"
        "it ended, or is not ready within 30 s"
        "read its last message and log, both named; run hull doctor"
        "hulld in a terminal shows what it says. As another user than root it cannot run.";
    NO_REGISTRY "H0113" "The registry is not reached"
        "its name is misspelt or unknown here, or nothing answers there, or not as TLS wants it"
        "check what stands before the first / of the image's name, then getent hosts NAME, and the network"
        "A first word with a dot or a colon is a registry's name, any other is Docker Hub's. A mirror of \
         Docker Hub, or a registry without TLS: hulld --registry-mirror URL, --insecure-registry HOST.";
}

/// The page of a code, however it is spelled.
#[must_use]
pub fn by_code(code: &str) -> Option<&'static Fault> {
    ALL.iter().find(|fault| fault.code.eq_ignore_ascii_case(code)).copied()
}

/// The page of what has none of its own.
#[must_use]
pub const fn of_kind(kind: Kind) -> &'static Fault {
    match kind {
        Kind::Invalid => &INVALID,
        Kind::Unsupported => &UNSUPPORTED,
        Kind::NotFound => &NOT_FOUND,
        Kind::Exists => &EXISTS,
        Kind::Conflict => &CONFLICT,
        Kind::CommandNotFound => &COMMAND_NOT_FOUND,
        Kind::CommandNotExecutable => &COMMAND_NOT_EXECUTABLE,
        Kind::Denied => &DENIED,
        Kind::Exhausted => &EXHAUSTED,
        Kind::Unavailable => &UNAVAILABLE,
        Kind::Internal => &INTERNAL,
    }
}

/// The page of an error that has none of its own: by what it was caused, else by its kind.
#[must_use]
pub fn of(kind: Kind, error: &(dyn Error + 'static)) -> &'static Fault {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    let mut files = causes.filter_map(|cause| cause.downcast_ref::<io::Error>());
    let full = files.any(|error| error.kind() == io::ErrorKind::StorageFull);
    if full { &DISK_FULL } else { of_text(kind, &error.to_string()) }
}

/// The page of what a shim reports, which is words and a kind: those of `vmm::config`, and the kernel's.
#[must_use]
pub fn of_text(kind: Kind, text: &str) -> &'static Fault {
    let words = [
        ("no hypervisor ", &NO_HYPERVISOR),
        ("set --vm-kernel", &NO_KERNEL),
        ("(os error 28)", &DISK_FULL),
    ];
    let found = words.into_iter().find(|(words, _)| text.contains(words));
    found.map_or_else(|| of_kind(kind), |(_, fault)| fault)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_in_order_and_each_page_is_whole() {
        assert!(ALL.is_sorted_by(|one, next| one.code < next.code));
        for fault in ALL {
            let digits = fault.code.strip_prefix('H').unwrap_or_default();
            assert!(digits.len() == 4 && digits.bytes().all(|b| b.is_ascii_digit()), "{fault:?}");
            for text in [fault.title, fault.why, fault.remedy, fault.more] {
                assert!(!text.is_empty() && !text.contains('\n'), "{fault:?}");
            }
        }
        assert_eq!(by_code("h0104"), Some(&DISK_FULL));
        assert_eq!(by_code("H9999"), None);
    }

    #[test]
    fn a_full_disk_is_found_among_the_causes() {
        #[derive(Debug, thiserror::Error)]
        #[error("write a layer")]
        struct Outer(#[source] io::Error);
        let full = Outer(io::Error::from_raw_os_error(28));
        assert_eq!(of(Kind::Internal, &full), &DISK_FULL);
        let other = Outer(io::Error::from_raw_os_error(5));
        assert_eq!(of(Kind::Internal, &other), &INTERNAL);
        let text = "create: no guest kernel in /x: run `make vm-kernel` or set --vm-kernel";
        assert_eq!(of_text(Kind::Unsupported, text), &NO_KERNEL);
    }
}
