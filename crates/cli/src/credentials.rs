//! Who we are to registries: docker's `config.json`, and the helpers that it names.
//!
//! The file is shared with docker, so that a login there is one here. What it holds beside passwords is
//! kept as it is.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde_json::{Map, Value, json};

use crate::error::Error;

/// What docker.io is called in the file.
pub(crate) const HUB: &str = "https://index.docker.io/v1/";

/// The file, as it was read.
#[derive(Debug)]
pub(crate) struct Credentials {
    path: PathBuf,
    file: Map<String, Value>,
}

impl Credentials {
    /// Reads `$DOCKER_CONFIG/config.json`, else `~/.docker/config.json`; it need not exist.
    pub(crate) fn read() -> Result<Self, Error> {
        let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".docker");
        let dir = std::env::var_os("DOCKER_CONFIG").filter(|dir| !dir.is_empty());
        let path = dir.map_or_else(home, PathBuf::from).join("config.json");
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => b"{}".to_vec(),
            Err(error) => return Err(Error::file(path.display().to_string())(error)),
        };
        let file = serde_json::from_slice(&text)
            .map_err(|error| Error::file(path.display().to_string())(error.into()))?;
        Ok(Self { path, file })
    }

    /// `X-Registry-Auth` for the registry that holds an image; `None` where there is no login.
    pub(crate) fn for_image(image: &str) -> Result<Option<String>, Error> {
        Self::read()?.header(registry(image))
    }

    /// All logins by registry, as `X-Registry-Config` has them. What a helper keeps for all registries is
    /// found by the entries that docker leaves in the file.
    pub(crate) fn all(&self) -> Result<Value, Error> {
        let sections =
            ["auths", "credHelpers"].iter().filter_map(|key| self.file.get(*key)?.as_object());
        let mut all = Map::new();
        for registry in sections.flat_map(Map::keys) {
            if let Some((username, password)) = self.login(registry)? {
                let login = json!({ "username": username, "password": password, "serveraddress": registry });
                all.insert(registry.clone(), login);
            }
        }
        Ok(Value::Object(all))
    }

    /// `X-Registry-Auth` for a registry.
    fn header(&self, registry: &str) -> Result<Option<String>, Error> {
        let Some((username, secret)) = self.login(registry)? else { return Ok(None) };
        let auth = json!({ "username": username, "password": secret, "serveraddress": registry });
        Ok(Some(URL_SAFE.encode(auth.to_string())))
    }

    fn login(&self, registry: &str) -> Result<Option<(String, String)>, Error> {
        if let Some(helper) = self.helper(registry) {
            let answer = match run(&helper, "get", registry) {
                Err(Error::Helper { said, .. }) if said.contains("not found") => return Ok(None),
                answer => answer?,
            };
            let answer: Value = serde_json::from_str(&answer).unwrap_or(Value::Null);
            let text = |key: &str| answer[key].as_str().unwrap_or_default().to_owned();
            return Ok(Some((text("Username"), text("Secret"))));
        }
        let encoded = self.file.get("auths").and_then(|auths| auths[registry]["auth"].as_str());
        let decoded = encoded.and_then(|text| String::from_utf8(STANDARD.decode(text).ok()?).ok());
        Ok(decoded.and_then(|pair| {
            pair.split_once(':').map(|(user, secret)| (user.to_owned(), secret.to_owned()))
        }))
    }

    /// The program that keeps this registry's password.
    fn helper(&self, registry: &str) -> Option<String> {
        let own = self.file.get("credHelpers").and_then(|helpers| helpers[registry].as_str());
        let own = own.or_else(|| self.file.get("credsStore")?.as_str());
        own.filter(|name| !name.is_empty()).map(|name| format!("docker-credential-{name}"))
    }

    /// Keeps a login that was good; gives true when the password now lies in the file.
    pub(crate) fn store(mut self, registry: &str, user: &str, secret: &str) -> Result<bool, Error> {
        if let Some(helper) = self.helper(registry) {
            let login = json!({ "ServerURL": registry, "Username": user, "Secret": secret });
            run(&helper, "store", &login.to_string())?;
            return Ok(false);
        }
        let auths = self.file.entry("auths").or_insert_with(|| json!({}));
        auths[registry] = json!({ "auth": STANDARD.encode(format!("{user}:{secret}")) });
        self.write().map(|()| true)
    }

    /// Forgets a login; gives false when there was none.
    pub(crate) fn erase(mut self, registry: &str) -> Result<bool, Error> {
        if let Some(helper) = self.helper(registry) {
            return run(&helper, "erase", registry).map(|_| true);
        }
        let auths = self.file.get_mut("auths").and_then(Value::as_object_mut);
        if auths.and_then(|auths| auths.remove(registry)).is_none() {
            return Ok(false);
        }
        self.write().map(|()| true)
    }

    /// Where passwords lie when no program keeps them.
    pub(crate) fn path(&self) -> String {
        self.path.display().to_string()
    }

    /// Written beside its place and renamed: a crash leaves the old file or the new one.
    fn write(&self) -> Result<(), Error> {
        let failed = |source| Error::File { what: self.path(), source };
        fs::create_dir_all(self.path.parent().unwrap_or(&self.path)).map_err(failed)?;
        let new = self.path.with_extension(format!("json.{}", std::process::id()));
        let text = format!("{:#}\n", Value::Object(self.file.clone()));
        let mut options = fs::OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(&new);
        file.and_then(|mut file| file.write_all(text.as_bytes()))
            .and_then(|()| fs::rename(&new, &self.path))
            .map_err(failed)
    }
}

/// The registry of an image's name, as the file calls it.
pub(crate) fn registry(image: &str) -> &str {
    match image.split_once('/') {
        Some(("docker.io" | "index.docker.io", _)) | None => HUB,
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        Some(_) => HUB,
    }
}

/// Runs a helper with `input`; gives what it prints.
fn run(program: &str, verb: &str, input: &str) -> Result<String, Error> {
    let failed = |source| Error::File { what: program.to_owned(), source };
    let mut child = Command::new(program)
        .arg(verb)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).map_err(failed)?;
    }
    let output = child.wait_with_output().map_err(failed)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    // Helpers tell why on standard output.
    let said = [text(&output.stdout), text(&output.stderr)].join(" ").trim().to_owned();
    Err(Error::Helper { program: program.to_owned(), said })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_names_registry_is_dockers() {
        for (image, want) in [
            ("alpine", HUB),
            ("me/app:1", HUB),
            ("docker.io/library/alpine", HUB),
            ("localhost/app", "localhost"),
            ("127.0.0.1:5000/me/app@sha256:0", "127.0.0.1:5000"),
            ("ghcr.io/a/b", "ghcr.io"),
        ] {
            assert_eq!(registry(image), want, "{image}");
        }
    }

    #[test]
    fn a_login_is_kept_and_forgotten_and_the_rest_of_the_file_stays() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("config.json");
        let open = || {
            let text = fs::read(&path).unwrap_or_else(|_| br#"{"psFormat":"x"}"#.to_vec());
            let file = serde_json::from_slice(&text).expect("JSON");
            Credentials { path: path.clone(), file }
        };
        assert!(open().store("r:1", "ann", "a:b").expect("written"));
        assert_eq!(open().login("r:1").expect("read"), Some(("ann".into(), "a:b".into())));
        assert_eq!(open().login("r:2").expect("read"), None);
        assert_eq!(open().all().expect("read")["r:1"]["username"], "ann");
        assert_eq!(open().file["psFormat"], "x");
        assert!(open().erase("r:1").expect("written") && !open().erase("r:1").expect("written"));
        assert_eq!(open().login("r:1").expect("read"), None);
    }
}
