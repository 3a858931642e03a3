use super::*;

fn file(text: &str) -> Dockerfile {
    Dockerfile::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// What is told of a file, as `line rule`.
fn told(text: &str) -> Vec<String> {
    let policy = Policy::parse("experimental=all").expect("a policy");
    let ignore = Ignore::parse("*/tmp/*\nsecret\nback\n!back/again").expect("patterns");
    let environment = |image: &str| (image == "known").then(|| vec!["HOME".to_owned()]);
    let facts = Facts { ignore: Some(&ignore), environment: Some(&environment) };
    let warnings = check(&file(text), &policy, &facts);
    warnings.iter().map(|warning| format!("{} {}", warning.line, warning.rule)).collect()
}

#[test]
fn every_rule_tells_of_what_its_page_shows() {
    let cases: [(&str, &[&str]); 44] = [
        (
            "From alpine\nRun echo\nEntRYpOiNT [\"cat\"]",
            &[
                "1 ConsistentInstructionCasing",
                "2 ConsistentInstructionCasing",
                "3 ConsistentInstructionCasing",
            ],
        ),
        ("from alpine\nrun a\nRUN b", &["3 ConsistentInstructionCasing"]),
        ("FROM scratch\nCOPY ./x/tmp/a /a", &["2 CopyIgnoredFile"]),
        ("FROM scratch\nCOPY secret forever /a", &["2 CopyIgnoredFile"]),
        ("FROM scratch\nCOPY back /a\nCOPY . /b", &[]),
        ("FROM scratch AS a\nFROM scratch\nCOPY --from=a secret /b", &[]),
        ("FROM a:1 AS b\nFROM c:1 AS b", &["2 DuplicateStageName"]),
        ("FROM a\nEXPOSE 127.0.0.1:80:80 80", &["2 ExposeInvalidFormat"]),
        ("FROM a\nEXPOSE 80:80", &["2 ExposeInvalidFormat"]),
        ("FROM a\nEXPOSE 80/TcP 81/udp", &["2 ExposeProtoCasing"]),
        ("FROM a as b", &["1 FromAsCasing"]),
        ("from a AS b", &["1 FromAsCasing"]),
        ("from a as b", &[]),
        ("FROM --platform=linux/amd64 a AS b", &["1 FromPlatformFlagConstDisallowed"]),
        ("FROM --platform=${BUILDPLATFORM} a AS b", &[]),
        ("FROM --platform=linux/amd64 a AS build_amd64", &[]),
        ("FROM --platform=$TARGETPLATFORM a", &["1 RedundantTargetPlatform"]),
        ("ARG TAG\nFROM busybox:${TAG}", &["2 InvalidDefaultArgInFrom"]),
        ("ARG TAG=latest\nFROM busybox:${TAG}", &[]),
        ("ARG VARIANT\nFROM busybox:stable${VARIANT}", &[]),
        ("ARG TAG\nFROM alpine:${TAG:-3.14}", &[]),
        ("ARG A=1 B=x${A}\nFROM host:5000/a/b:$B", &[]),
        ("ARG A\nFROM $A", &["2 InvalidDefaultArgInFrom"]),
        ("# a comment\nFROM scratch AS base", &["2 InvalidDefinitionDescription"]),
        ("# a comment\nARG VERSION=1\nFROM scratch", &["2 InvalidDefinitionDescription"]),
        ("# a comment\n\nFROM scratch AS base", &[]),
        ("# base is a stage\nFROM scratch AS base\n# VERSION is\nARG VERSION=1", &[]),
        ("FROM a\nENTRYPOINT my-program start", &["2 JSONArgsRecommended"]),
        ("FROM a\nSHELL [\"/bin/bash\", \"-c\"]\nENTRYPOINT x", &[]),
        ("FROM a AS b\nSHELL [\"/bin/bash\", \"-c\"]\nFROM b\nCMD x", &[]),
        ("FROM a\nCMD ['x']", &["2 InvalidJSONForm", "2 JSONArgsRecommended"]),
        (
            "FROM a\nENV foo bar\nLABEL foo bar\nENV a=b",
            &["2 LegacyKeyValueFormat", "3 LegacyKeyValueFormat"],
        ),
        ("FROM a\nMAINTAINER moby@example.com", &["2 MaintainerDeprecated"]),
        ("FROM a\nENTRYPOINT [\"a\"]\nENTRYPOINT [\"b\"]", &["2 MultipleInstructionsDisallowed"]),
        ("FROM a\nHEALTHCHECK CMD x\nCMD [\"a\"]\nFROM b\nCMD [\"c\"]", &[]),
        ("FROM a\nEXPOSE \\\n\n80", &["2 NoEmptyContinuation"]),
        ("FROM a\nEXPOSE \\\n# Port\n80", &[]),
        (
            "FROM alpine AS scratch\nFROM alpine AS context",
            &["1 ReservedStageName", "2 ReservedStageName"],
        ),
        (
            "FROM a\nARG AWS_SECRET_ACCESS_KEY\nENV API_TOKEN=x PUBLIC_KEY=y MONKEY=z",
            &["2 SecretsUsedInArgOrEnv", "3 SecretsUsedInArgOrEnv"],
        ),
        ("FROM a AS BuilderBase", &["1 StageNameCasing"]),
        ("FROM node:22${VARIANT} AS b", &["1 UndefinedArgInFrom"]),
        ("FROM scratch AS base\nCOPY $foo .\nARG foo\nCOPY $foo .", &["2 UndefinedVar"]),
        (
            "FROM unknown\nENV PATH=$PAHT:/bin A=$any\nFROM known\nENV A=$any B=$HOME",
            &["2 UndefinedVar", "4 UndefinedVar"],
        ),
        (
            "FROM a AS b\nWORKDIR x\nWORKDIR /x\nWORKDIR y\nFROM b\nWORKDIR z",
            &["2 WorkdirRelativePath"],
        ),
    ];
    for (text, want) in cases {
        assert_eq!(told(text), want, "{text}");
    }
}

#[test]
fn a_warning_is_told_as_docker_tells_it() {
    let warnings =
        check(&file("FROM scratch\nENV PATH=$PAHT\nCMD x"), &Policy::default(), &Facts::default());
    let texts: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "UndefinedVar: Usage of undefined variable '$PAHT' (did you mean $PATH?) (line 2)",
            "JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended behavior related to \
         OS signals (line 3)",
        ]
    );
    let urls: Vec<String> = warnings.iter().filter_map(Warning::url).collect();
    assert_eq!(
        urls,
        [
            "https://docs.docker.com/go/dockerfile/rule/undefined-var/",
            "https://docs.docker.com/go/dockerfile/rule/json-args-recommended/",
        ]
    );
}

#[test]
fn the_check_directive_decides_which_rules_hold() {
    let file = file("# check=skip=JSONArgsRecommended;error=true\nFROM a as b\nCMD x");
    let policy =
        Policy::parse(file.directives.check.as_deref().unwrap_or_default()).expect("a policy");
    let warnings = check(&file, &policy, &Facts::default());
    let error = policy.judge(&warnings).expect_err("a warning is an error");
    assert_eq!(error.to_string(), "lint violation found for rules: FromAsCasing");
    assert_eq!(Policy::default().judge(&warnings), Ok(()));

    let all = Policy::parse("skip=all").expect("a policy");
    assert_eq!(check(&file, &all, &Facts::default()), []);
    for wrong in ["skip", "error=maybe", "loud=true"] {
        assert_eq!(Policy::parse(wrong), Err(Error::Option { option: wrong.to_owned() }));
    }
}
