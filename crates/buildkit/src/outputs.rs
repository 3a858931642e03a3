//! What is to become of a build's image, as its beginning says; and what of a beginning cannot be carried out.

use std::collections::HashMap;

use image::Reference;
use tonic::Status;

use crate::error::unsupported;
use crate::messages::control::{Exporter, SolveRequest};
use crate::out::Form;
use crate::wanted::wrong;

/// What becomes an image of the engine's: BuildKit's in dockerd calls it so, and others.
const IMAGES: [&str; 2] = ["moby", "image"];

/// What is to become of a build's image.
#[derive(Debug, Default)]
pub(crate) struct Outputs {
    /// What it is to be called.
    pub(crate) names: Vec<Reference>,
    /// Files of the client's, each with the number by which it knows them.
    pub(crate) files: Vec<(usize, Form)>,
}

impl Outputs {
    /// Reads what the build has said at its beginning; refuses what is to become of it that cannot.
    pub(crate) fn of(request: &SolveRequest) -> Result<Self, Status> {
        if request.definition.is_some() || !request.frontend_inputs.is_empty() {
            return Err(llb());
        }
        if request.source_policy.is_some() {
            return Err(policy());
        }
        let old =
            [Exporter { r#type: request.exporter.clone(), attrs: request.exporter_attrs.clone() }];
        let exporters = if request.exporters.is_empty() { &old[..] } else { &request.exporters };
        let mut outputs = Self::default();
        for (number, exporter) in exporters.iter().enumerate() {
            match exporter.r#type.as_str() {
                "" => {}
                kind if IMAGES.contains(&kind) => outputs.image(&exporter.attrs)?,
                "tar" => outputs.files(number, Form::Tar, &exporter.attrs)?,
                "local" => outputs.files(number, Form::Local, &exporter.attrs)?,
                other => {
                    let want = "image, tar or local; docker save and hull build --output write archives and layouts";
                    return Err(wrong("--output type", other, want));
                }
            }
        }
        Ok(outputs)
    }

    fn image(&mut self, attrs: &HashMap<String, String>) -> Result<(), Status> {
        for (key, value) in attrs {
            match key.as_str() {
                "name" => {
                    for name in value.split(',').filter(|name| !name.is_empty()) {
                        let name: Result<Reference, _> = name.parse();
                        self.names.push(name.map_err(|error: image::InvalidReference| {
                            Status::invalid_argument(spec::chain(&error))
                        })?);
                    }
                }
                // Clients push by themselves what was built by an engine.
                "push" | "unpack" | "buildinfo-attrs" => {}
                _ => return Err(wrong("--output", &format!("{key}={value}"), "name and push")),
            }
        }
        Ok(())
    }

    fn files(
        &mut self,
        number: usize,
        form: Form,
        attrs: &HashMap<String, String>,
    ) -> Result<(), Status> {
        // Where they go is the client's business.
        if let Some((key, value)) = attrs.iter().find(|(key, _)| *key != "dest") {
            return Err(wrong("--output", &format!("{key}={value}"), "dest alone"));
        }
        self.files.push((number, form));
        Ok(())
    }
}

/// Why a definition is not carried out.
pub(crate) fn llb() -> Status {
    unsupported(
        "LLB: Hull's builder builds Dockerfiles; additional contexts, buildctl and other frontends want a builder \
         of BuildKit's own: docker buildx create --use",
    )
}

/// Why a policy is not followed that does not ask the client.
pub(crate) fn policy() -> Status {
    unsupported(
        "a source policy as a file: Hull's builder follows only those that buildx has beside the Dockerfile; unset \
         EXPERIMENTAL_BUILDKIT_SOURCE_POLICY",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_and_files_come_out() {
        let of = |kind: &str, key: &str, value: &str| SolveRequest {
            exporters: vec![Exporter {
                r#type: kind.to_owned(),
                attrs: HashMap::from([(key.to_owned(), value.to_owned())]),
            }],
            ..SolveRequest::default()
        };
        let named = Outputs::of(&of("moby", "name", "docker.io/library/a:1,b")).expect("names");
        assert_eq!((named.names.len(), named.files.len()), (2, 0));
        let local = Outputs::of(&of("local", "dest", "out")).expect("a directory");
        assert_eq!(local.files, [(0, Form::Local)]);
        let none = Outputs::of(&SolveRequest::default()).expect("none is needed");
        assert!(none.names.is_empty() && none.files.is_empty());
        for (kind, key) in [("oci", "dest"), ("moby", "annotation.a"), ("tar", "platform-split")] {
            assert!(Outputs::of(&of(kind, key, "x")).is_err(), "{kind}");
        }
        let llb = SolveRequest { definition: Some(Vec::new()), ..SolveRequest::default() };
        assert!(Outputs::of(&llb).expect_err("a definition").message().contains("LLB"));
    }
}
