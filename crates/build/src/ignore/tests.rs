use proptest::prelude::*;

use super::*;

#[test]
fn patterns_match_as_in_go() {
    let cases = [
        ("abc", "abc", true),
        ("*", "abc", true),
        ("*c", "abc", true),
        ("a*", "a", true),
        ("a*", "ab/c", false),
        ("a*/b", "abc/b", true),
        ("a*/b", "a/c/b", false),
        ("a*b*c*d*e*/f", "axbxcxdxe/f", true),
        ("a*b*c*d*e*/f", "axbxcxdxexxx/fff", false),
        ("a*b?c*x", "abxbbxdbxebxczzx", true),
        ("ab[c]", "abc", true),
        ("ab[b-d]", "abc", true),
        ("ab[e-g]", "abc", false),
        ("ab[^c]", "abc", false),
        ("ab[^e-g]", "abc", true),
        ("a\\*b", "a*b", true),
        ("a\\*b", "ab", false),
        ("a?b", "a☺b", true),
        ("a[^a]b", "a☺b", true),
        ("a???b", "a☺b", false),
        ("[a-ζ]*", "α", true),
        ("*[a-ζ]", "A", false),
        ("a?b", "a/b", false),
        ("a*b", "a/b", false),
        ("[\\]a]", "]", true),
        ("[\\-]", "-", true),
        ("[x\\-]", "z", false),
        ("[\\-x]", "a", false),
        ("*x", "xxx", true),
        ("arr[[]0].txt", "arr[0].txt", true),
        ("", "", true),
        ("", "a", false),
        ("**", "a/b", false),
    ];
    for (pattern, path, want) in cases {
        assert_eq!(matches(pattern, path), Ok(want), "{pattern} {path}");
    }
    for bad in
        ["[]a]", "[-]", "[x-]", "[-x]", "\\", "[a-b-c]", "[", "[^", "[^bc", "a[", "a[^x", "[a-"]
    {
        assert_eq!(matches(bad, "a"), Err(BadPattern { pattern: bad.to_owned() }));
    }
    assert_eq!(matches_deep("a/**/*.txt", "a/b/c/d.txt"), Ok(true));
    assert_eq!(matches_deep("a/**/*.txt", "a/d.txt"), Ok(true));
    assert_eq!(matches_deep("a/**/*.txt", "b/d.txt"), Ok(false));
}

#[test]
fn what_is_ignored_is_what_docker_ignores() {
    let cases: [(&str, &[&str], &[&str]); 20] = [
        ("", &[], &["a"]),
        ("# a\n\n  \n", &[], &["a", "# a"]),
        ("a", &["a", "a/b", "a/b/c"], &["b", "b/a", "ab"]),
        ("/a/", &["a", "a/b"], &["b/a"]),
        ("./a//b/../c", &["a/c"], &["a/b"]),
        ("  a  ", &["a"], &["b"]),
        ("*.md\n!README.md", &["A.md"], &["README.md", "a/A.md"]),
        ("*.md\n!README*.md\nREADME-secret.md", &["A.md", "README-secret.md"], &["README-x.md"]),
        ("*.md\nREADME-secret.md\n!README*.md", &["A.md"], &["README-secret.md", "README-x.md"]),
        ("*/temp*", &["a/temp", "a/temp/b", "b/temporary.txt"], &["temp", "a/b/temp"]),
        ("*/*/temp*", &["a/b/temp.txt"], &["a/temp"]),
        ("temp?", &["tempa", "tempb/c"], &["temp", "tempab"]),
        ("**/*.go", &["a.go", "a/b/c.go"], &["a.goo"]),
        ("**/foo/bar", &["foo/bar", "a/foo/bar/b"], &["foo", "a/bar"]),
        ("a/**", &["a/b", "a/b/c"], &["a", "b"]),
        ("a/**/b", &["a/b", "a/x/y/b", "a/b/c"], &["a/bc", "a/x"]),
        ("**", &["a", "a/b"], &[]),
        ("a**b", &["ab", "ax/b"], &["axb", "b"]),
        ("a\n!a/b", &["a", "a/c"], &["a/b", "a/b/c"]),
        ("..\n../a\n/..", &[], &["a", "b"]),
    ];
    for (text, excluded, seen) in cases {
        let ignore = Ignore::parse(text).expect(text);
        for path in excluded {
            assert!(ignore.excludes(path), "{text:?} leaves out {path}");
        }
        for path in seen {
            assert!(!ignore.excludes(path), "{text:?} keeps {path}");
        }
    }
    let wrong = Ignore::parse("a\n!").expect_err("nothing to bring back");
    assert_eq!(wrong.to_string(), "line 2 of .dockerignore: illegal exclusion pattern: \"!\"");
    assert!(matches!(
        Ignore::parse("a\nb[").expect_err("no pattern"),
        Error::Pattern { line: 2, .. }
    ));
}

#[test]
fn a_walk_looks_into_a_directory_only_if_something_comes_back() {
    let cases = [
        ("a", "a", false),
        ("a\n!a/b", "a", true),
        ("*\n!src/**/*.rs", "src", true),
        ("*\n!src/**/*.rs", "src/deep", true),
        ("*\n!src/**/*.rs", "target", false),
        ("*\n!**/keep", "target", true),
        ("*\n!a", "a", true),
    ];
    for (text, path, want) in cases {
        let ignore = Ignore::parse(text).expect(text);
        assert_eq!(ignore.may_include_beneath(path), want, "{text:?} {path}");
    }
    let ignore = Ignore::parse("*").expect("a pattern").but("Docker*file").but("./.dockerignore");
    assert!(!ignore.excludes("Docker*file") && !ignore.excludes(".dockerignore"));
    assert!(ignore.excludes("Dockerfile"));
}

proptest! {
    #[test]
    fn any_text_is_judged(text in "[a\\[\\]^*?!/.#\\\\ \n-]{0,40}", path in "[a./]{1,20}") {
        if let Ok(ignore) = Ignore::parse(&text) {
            let _ = ignore.excludes(&path);
            ignore.may_include_beneath(&path);
        }
        let _ = matches(&text, &path);
    }

    #[test]
    fn a_name_matches_itself(path in "[a-z./]{0,20}") {
        prop_assert_eq!(matches(&path, &path), Ok(true));
    }

    #[test]
    fn what_an_exception_brings_back_is_walked_to(path in "[ab]/[ab]/[ab]", pattern in "[ab*]{1,3}/[ab*]{1,3}(/[ab*]{1,3})?") {
        let ignore = Ignore::parse(&format!("*\n!{pattern}")).expect("patterns");
        if !ignore.excludes(&path) {
            let top = path.get(..1).expect("a component");
            prop_assert!(ignore.may_include_beneath(top));
        }
    }
}
