//! Registries: what is sent to them, passwords, certificates, and connections that break.

use tests::Host;
use tests::host::IMAGE;

/// The user `me` with the password `secret`, as `htpasswd -B` writes them.
pub(crate) const HTPASSWD: &str =
    "me:$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n";
/// The engine's end of its bridge: an address of this host that is not a loopback's.
const BRIDGE: &str = "172.30.0.1";

fn digests(host: &Host, name: &str) -> String {
    host.docker(&["inspect", "-f", "{{join .RepoDigests \" \"}}", name]).ok()
}

pub(crate) fn a_pushed_image_keeps_its_digest(host: &mut Host) {
    let target = "127.0.0.1:5000/pushed:1";
    host.docker(&["tag", IMAGE, target]).ok();
    let pushed = host.docker(&["push", target]).ok();
    assert!(pushed.contains("The push refers to repository [127.0.0.1:5000/pushed]"), "{pushed}");
    assert!(pushed.contains("1: digest: sha256:"), "{pushed}");
    let again = host.docker(&["push", target]).ok();
    assert!(again.contains("Layer already exists"), "{again}");
    let all = digests(host, target);
    let of = |repository: &str| {
        let name = format!("127.0.0.1:5000/{repository}@");
        all.split(' ').find_map(|digest| digest.strip_prefix(&name)).map(str::to_owned)
    };
    let digest = of("pushed").expect("the registry's name for it is kept");
    assert_eq!(of("busybox"), Some(digest.clone()), "the very bytes that were pulled");

    host.docker(&["tag", IMAGE, "127.0.0.1:5000/pushed:2"]).ok();
    host.docker(&["push", "-a", "127.0.0.1:5000/pushed"]).ok();
    let inspect = ["inspect", "--tls-verify=false", "docker://127.0.0.1:5000/pushed:2"];
    let seen = host.engine.on_host("skopeo", &inspect).ok();
    assert!(seen.contains(&digest), "{seen}");

    host.docker(&["rmi", target, "127.0.0.1:5000/pushed:2"]).ok();
    let pulled = host.docker(&["pull", "-a", "127.0.0.1:5000/pushed"]).ok();
    assert!(pulled.contains("1: Pulling from pushed"), "{pulled}");
    let by_digest = format!("127.0.0.1:5000/pushed@{digest}");
    host.docker(&["rmi", target, "127.0.0.1:5000/pushed:2"]).ok();
    host.docker(&["pull", &by_digest]).ok();
    host.docker(&["rmi", &by_digest]).ok();

    let found = |term: &str| host.docker(&["search", "--format", "{{.Name}}", term]).ok();
    assert_eq!(found("127.0.0.1:5000/push"), "127.0.0.1:5000/pushed");
    assert_eq!(found("busy"), "busybox", "by the mirror of Docker Hub");
    let said = host.docker(&["push", "127.0.0.1:5000/absent:1"]).fails(1);
    assert!(said.contains("An image does not exist locally with the tag"), "{said}");
}

pub(crate) fn a_registry_with_passwords_wants_a_login(host: &mut Host) {
    let passwords = host.dir().join("htpasswd");
    std::fs::write(&passwords, HTPASSWD).expect("a file");
    let auth = format!("auth: {{htpasswd: {{realm: hull, path: {}}}}}", passwords.display());
    let _registry = host.another_registry("127.0.0.1:5001", "", &auth);
    let image = "127.0.0.1:5001/private:1";
    host.docker(&["tag", IMAGE, image]).ok();
    let said = host.docker(&["push", image]).fails(1);
    assert!(said.contains("denied"), "{said}");
    let login = ["login", "-u", "me", "--password-stdin", "127.0.0.1:5001"];
    let said = host.engine.docker_with(&login, b"wrong").fails(1);
    assert!(said.contains("401 Unauthorized"), "{said}");
    let said = host.engine.docker_with(&login, b"secret").ok();
    assert!(said.contains("Login Succeeded"), "{said}");
    host.docker(&["push", image]).ok();
    host.docker(&["rmi", image]).ok();
    host.docker(&["pull", "-q", image]).ok();
    host.docker(&["rmi", image]).ok();
    host.docker(&["logout", "127.0.0.1:5001"]).ok();
    let said = host.docker(&["pull", image]).fails(1);
    assert!(said.contains("pull access denied for 127.0.0.1:5001/private"), "{said}");
}

pub(crate) fn only_an_authority_that_is_trusted_vouches_for_a_registry(host: &mut Host) {
    let at = |name: &str| host.dir().join(name).display().to_string();
    let (key, certificate) = (at("server.key"), at("server.crt"));
    let names = format!("subjectAltName=IP:{BRIDGE},IP:127.0.0.1");
    let flags = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=hull";
    let flags: Vec<&str> = flags.split(' ').collect();
    let files = ["-keyout", &key, "-out", &certificate, "-addext", &names];
    // As most people make one: it calls itself an authority.
    host.engine.on_host("openssl", &[&flags[..], &files[..]].concat()).ok();
    let tls = format!(", tls: {{certificate: {certificate}, key: {key}}}");
    let address = format!("{BRIDGE}:5443");
    // A loopback address needs no authority, but it is spoken to by TLS where it speaks it.
    let _registries = [
        host.another_registry(&address, &tls, ""),
        host.another_registry("127.0.0.1:5443", &tls, ""),
    ];
    let image = format!("{address}/safe:1");
    host.docker(&["tag", IMAGE, &image]).ok();
    host.docker(&["tag", IMAGE, "127.0.0.1:5443/safe:1"]).ok();
    host.docker(&["push", "127.0.0.1:5443/safe:1"]).ok();
    let said = host.docker(&["push", &image]).fails(1);
    assert!(said.contains("certificate"), "{said}");

    let trusted = host.engine.data_root().join("certs").join(&address);
    std::fs::create_dir_all(&trusted).expect("a directory");
    std::fs::copy(&certificate, trusted.join("ca.crt")).expect("a copy");
    host.docker(&["push", &image]).ok();
    host.docker(&["rmi", &image]).ok();
    host.docker(&["pull", "-q", &image]).ok();
    host.docker(&["rmi", &image, "127.0.0.1:5443/safe:1"]).ok();

    // One that is none of its own, by an authority that is not known.
    let other = trusted.join("ca.crt").display().to_string();
    let files = ["-keyout", &at("other.key"), "-out", &other, "-addext", &names];
    host.engine.on_host("openssl", &[&flags[..], &files[..]].concat()).ok();
    let said = host.docker(&["pull", &image]).fails(1);
    assert!(said.contains("certificate"), "{said}");
}

pub(crate) fn a_registry_may_want_a_certificate_of_the_client(host: &mut Host) {
    let at = |name: &str| host.dir().join(name).display().to_string();
    let address = format!("{BRIDGE}:5444");
    let trusted = host.engine.data_root().join("certs").join(&address);
    std::fs::create_dir_all(&trusted).expect("a directory");
    let own = |name: &str| trusted.join(name).display().to_string();
    let request = |key: &str, certificate: &str, names: &str| {
        let words = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=hull -addext";
        let words: Vec<&str> = words.split(' ').collect();
        let files = [names, "-keyout", key, "-out", certificate];
        host.engine.on_host("openssl", &[&words[..], &files[..]].concat()).ok();
    };
    let (key, certificate) = (at("mutual.key"), at("mutual.crt"));
    request(&key, &certificate, &format!("subjectAltName=IP:{BRIDGE}"));
    request(&own("client.key"), &own("client.cert"), "subjectAltName=DNS:client");
    std::fs::copy(&certificate, own("ca.crt")).expect("a copy");
    let tls = format!(
        ", tls: {{certificate: {certificate}, key: {key}, clientcas: [{}]}}",
        own("client.cert")
    );
    let _registry = host.another_registry(&address, &tls, "");
    let image = format!("{address}/mutual:1");
    host.docker(&["tag", IMAGE, &image]).ok();
    host.docker(&["push", &image]).ok();
    host.docker(&["rmi", &image]).ok();
    host.docker(&["pull", "-q", &image]).ok();
    std::fs::rename(own("client.cert"), own("client.away")).expect("renamed");
    let said = host.docker(&["pull", &image]).fails(1);
    assert!(said.contains(&address) && said.contains("ertificate"), "{said}");
    host.docker(&["rmi", &image]).ok();
}
