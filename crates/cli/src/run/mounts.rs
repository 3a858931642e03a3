//! `--volume` and `--mount`.

use serde_json::{Map, Value, json};

use crate::error::Error;
use crate::units::parse_bytes;

/// What `--volume` asks for: binds with their sources made absolute, and volumes without a name.
pub(super) fn volumes(given: &[String]) -> Result<(Vec<String>, Map<String, Value>), Error> {
    let (mut binds, mut anonymous) = (Vec::new(), Map::new());
    for text in given {
        match text.split_once(':') {
            None => drop(anonymous.insert(text.clone(), json!({}))),
            Some((source, rest)) if source.starts_with('.') => {
                let path = std::path::absolute(source).map_err(Error::file(source))?;
                binds.push(format!("{}:{rest}", path.display()));
            }
            Some(_) => binds.push(text.clone()),
        }
    }
    Ok((binds, anonymous))
}

/// `--mount`, each as the API has it.
pub(super) fn mounts(given: &[String]) -> Result<Vec<Value>, Error> {
    given.iter().map(|text| mount(text)).collect()
}

/// Keys and the place of their values: in which options, by which name.
const PLACES: [(&str, &str, &str); 17] = [
    ("type", "", "Type"),
    ("source", "", "Source"),
    ("src", "", "Source"),
    ("target", "", "Target"),
    ("destination", "", "Target"),
    ("dst", "", "Target"),
    ("readonly", "", "ReadOnly"),
    ("ro", "", "ReadOnly"),
    ("consistency", "", "Consistency"),
    ("bind-propagation", "BindOptions", "Propagation"),
    ("bind-nonrecursive", "BindOptions", "NonRecursive"),
    ("bind-create-src", "BindOptions", "CreateMountpoint"),
    ("image-subpath", "ImageOptions", "Subpath"),
    ("volume-nocopy", "VolumeOptions", "NoCopy"),
    ("volume-subpath", "VolumeOptions", "Subpath"),
    ("tmpfs-size", "TmpfsOptions", "SizeBytes"),
    ("tmpfs-mode", "TmpfsOptions", "Mode"),
];

/// What `bind-recursive` says of the mounts beneath a bind, and the option that says so.
const RECURSIVE: [(&str, &str); 4] = [
    ("enabled", ""),
    ("disabled", "NonRecursive"),
    ("writable", "ReadOnlyNonRecursive"),
    ("readonly", "ReadOnlyForceRecursive"),
];

fn mount(text: &str) -> Result<Value, Error> {
    let invalid =
        |want: String| Error::Argument { option: "--mount", value: text.to_owned(), want };
    let mut mount = json!({ "Type": "volume" });
    for field in fields(text) {
        let (key, value) = field.split_once('=').unwrap_or((&field, "true"));
        match key {
            "bind-recursive" => {
                let option = RECURSIVE.iter().find(|(name, _)| *name == value);
                let names = || RECURSIVE.map(|(name, _)| name).join(", ");
                let (_, option) = option.ok_or_else(|| invalid(format!("{key}: {}", names())))?;
                if !option.is_empty() {
                    mount["BindOptions"][option] = true.into();
                }
            }
            "volume-label" | "volume-opt" | "volume-driver" => {
                volume_option(&mut mount, key, value);
            }
            _ => {
                let place = PLACES.iter().find(|(name, ..)| *name == key);
                let known = || PLACES.map(|(name, ..)| name).join(", ");
                let (_, options, name) = place.ok_or_else(|| {
                    invalid(format!(
                        "keys: {}, bind-recursive, volume-label, volume-opt, volume-driver",
                        known()
                    ))
                })?;
                let value = typed(name, value)
                    .ok_or_else(|| invalid(format!("another value of {key}")))??;
                let at = if options.is_empty() { &mut mount } else { &mut mount[*options] };
                at[*name] = value;
            }
        }
    }
    if mount["Target"].as_str().is_none_or(str::is_empty) {
        return Err(invalid("a target".into()));
    }
    if let Some(source) = mount["Source"].as_str().filter(|source| source.starts_with('.')) {
        let path = std::path::absolute(source).map_err(Error::file(source))?;
        mount["Source"] = path.to_string_lossy().into();
    }
    Ok(mount)
}

/// The value of a field in its type.
fn typed(name: &str, value: &str) -> Option<Result<Value, Error>> {
    match name {
        "ReadOnly" | "NonRecursive" | "NoCopy" | "CreateMountpoint" => match value {
            "true" | "1" => Some(Ok(true.into())),
            "false" | "0" => Some(Ok(false.into())),
            _ => None,
        },
        "SizeBytes" => Some(parse_bytes("tmpfs-size", value).map(Value::from)),
        "Mode" => u32::from_str_radix(value, 8).ok().map(|mode| Ok(mode.into())),
        _ => Some(Ok(value.into())),
    }
}

fn volume_option(mount: &mut Value, key: &str, value: &str) {
    let options = &mut mount["VolumeOptions"];
    let (name, text) = value.split_once('=').unwrap_or((value, ""));
    match key {
        "volume-label" => options["Labels"][name] = text.into(),
        "volume-opt" => options["DriverConfig"]["Options"][name] = text.into(),
        _ => options["DriverConfig"]["Name"] = value.into(),
    }
}

/// Fields between commas; one in double quotes may hold a comma.
fn fields(text: &str) -> Vec<String> {
    let mut all = vec![String::new()];
    let mut quoted = false;
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => all.push(String::new()),
            c => all.last_mut().expect("it begins with one").push(c),
        }
    }
    all.retain(|field| !field.is_empty());
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_said_by_keys() {
        let parsed = mount("type=bind,src=/a,dst=/b,ro,bind-propagation=rslave").expect("valid");
        let want = json!({
            "Type": "bind", "Source": "/a", "Target": "/b", "ReadOnly": true,
            "BindOptions": { "Propagation": "rslave" },
        });
        assert_eq!(parsed, want);
        let parsed = mount("type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=1770").expect("valid");
        assert_eq!(parsed["TmpfsOptions"], json!({ "SizeBytes": 1 << 20, "Mode": 0o1770 }));
        let parsed =
            mount(r#"source=v,target=/v,"volume-opt=o=a,b",volume-label=k=v"#).expect("valid");
        assert_eq!(parsed["VolumeOptions"]["DriverConfig"]["Options"]["o"], "a,b");
        for text in ["type=bind", "target=/a,no-such-key=1", "target=/a,ro=perhaps"] {
            assert!(mount(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_volume_is_a_bind_or_has_no_name() {
        let given = ["/a:/b:ro", "name:/c", "./x:/d", "/e"].map(str::to_owned);
        let (binds, anonymous) = volumes(&given).expect("valid");
        assert_eq!(binds[..2], ["/a:/b:ro", "name:/c"]);
        assert!(binds[2].starts_with('/') && binds[2].ends_with("/x:/d"), "{binds:?}");
        assert_eq!(anonymous.keys().collect::<Vec<_>>(), ["/e"]);
    }
}
