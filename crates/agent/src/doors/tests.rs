use super::*;

fn doors() -> Arc<Doors> {
    let device = File::options().write(true).open("/dev/null").expect("a device");
    let (visitors, _) = crate::visitors::queue();
    Doors::new(device, "/nowhere".into(), 1, visitors)
}

fn request(opcode: u32, unique: u64, node: u64, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(fuse::IN_HEADER + body.len()).expect("short");
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(opcode.to_ne_bytes());
    bytes.extend(unique.to_ne_bytes());
    bytes.extend(node.to_ne_bytes());
    bytes.extend([0; 16]);
    bytes.extend(body);
    bytes
}

/// An answer with an entry.
fn entry(unique: u64, node: u64, mode: u32) -> Vec<u8> {
    let mut bytes = fuse::entry_of_directory(unique, node);
    bytes[fuse::ENTRY_MODE..fuse::ENTRY_MODE + 4].copy_from_slice(&mode.to_ne_bytes());
    bytes
}

#[test]
fn only_the_agent_knows_the_directory_of_doors() {
    let doors = doors();
    let found = doors.request(&request(fuse::LOOKUP, 5, fuse::ROOT, b".doors\0"));
    let Passed::Answer(answer) = found else { panic!("answered here: {found:?}") };
    assert_eq!((fuse::long(&answer, 8), fuse::long(&answer, 16)), (5, DIRECTORY));
    assert_eq!(kind(fuse::word(&answer, fuse::ENTRY_MODE)), FileType::Directory);
    let below = doors.request(&request(fuse::LOOKUP, 6, 2, b".doors\0"));
    assert_eq!(below, Passed::On, "elsewhere it is a name like any other");
    for opcode in [9, 10, 12, 14, 27, 35] {
        let passed = doors.request(&request(opcode, 7, DIRECTORY, b"x\0"));
        assert_eq!(passed, Passed::Answer(fuse::error(7, Errno::PERM)), "{opcode}");
    }
}

#[test]
fn a_door_is_made_by_looking_the_socket_up_again() {
    let doors = doors();
    doors.state().wanted.insert(3, (40, b"sock".to_vec()));
    let make = |name: &[u8]| [&0o140_755_u32.to_ne_bytes()[..], &[0; 12], name, b"\0"].concat();
    let passed = doors.request(&request(fuse::MKNOD, 9, DIRECTORY, &make(b"3")));
    assert_eq!(passed, Passed::Instead(request(fuse::LOOKUP, 9, 40, b"sock\0")));
    for name in [&b"3"[..], b"4", b"x", b""] {
        let passed = doors.request(&request(fuse::MKNOD, 10, DIRECTORY, &make(name)));
        assert_eq!(passed, Passed::Answer(fuse::error(10, Errno::PERM)));
    }
    assert!(doors.answer(&entry(9, 7, 0o140_755)));
    assert!(doors.state().bound.contains(&3));
}

#[test]
fn an_answer_is_held_back_for_a_socket_of_the_hosts_only() {
    let doors = doors();
    let bound = [&0o140_755_u32.to_ne_bytes()[..], &[0; 12], b"own\0"].concat();
    doors.request(&request(fuse::MKNOD, 1, 2, &bound));
    assert!(doors.answer(&entry(1, 20, 0o140_755)));
    for (unique, node, mode, passes) in
        [(2, 20, 0o140_755, true), (3, 21, 0o100_644, true), (4, 22, 0o140_755, false)]
    {
        doors.request(&request(fuse::LOOKUP, unique, 2, b"name\0"));
        assert_eq!(doors.answer(&entry(unique, node, mode)), passes, "{node}");
    }
    doors.request(&request(fuse::FORGET, 0, 20, &1_u64.to_ne_bytes()));
    doors.request(&request(fuse::LOOKUP, 5, 2, b"own\0"));
    assert!(!doors.answer(&entry(5, 20, 0o140_755)), "who had bound it is gone");
}
