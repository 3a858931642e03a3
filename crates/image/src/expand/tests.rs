use proptest::prelude::*;

use super::*;

fn lookup(name: &str) -> Option<String> {
    let value = match name {
        "x" => "X",
        "two" => "a b",
        "empty" => "",
        "str" => "foobarbaz",
        "path" => "/usr/local/bin",
        "star" => "a*b*c",
        "1" => "first",
        _ => return None,
    };
    Some(value.to_owned())
}

fn expanded(text: &str) -> Result<String, String> {
    word(text, '\\', &lookup).map_err(|error| error.reason.to_string())
}

#[test]
fn words_mean_what_a_shell_says() {
    let cases = [
        ("plain", "plain"),
        ("$x", "X"),
        ("${x}", "X"),
        ("a${x}b$x.c", "aXbX.c"),
        ("$none", ""),
        ("$1", "first"),
        ("$", "$"),
        ("a$ b", "a$ b"),
        ("$%", "$%"),
        ("'$x'", "$x"),
        ("\"$x\"", "X"),
        ("\\$x", "$x"),
        ("\\${x}", "${x}"),
        ("\"\\$x\\n\\\"\"", "$x\\n\""),
        ("a\\ b", "a b"),
        ("end\\", "end"),
        ("'it'\"s\"", "its"),
        ("${x:-w}", "X"),
        ("${empty:-w}", "w"),
        ("${empty-w}", ""),
        ("${none:-w}", "w"),
        ("${none-w}", "w"),
        ("${x:+w}", "w"),
        ("${empty:+w}", ""),
        ("${empty+w}", "w"),
        ("${none:+w}", ""),
        ("${none+w}", ""),
        ("${x:?no}", "X"),
        ("${empty?no}", ""),
        ("${none:-${x}y}", "Xy"),
        ("${none:-'}'}", "}"),
        ("${none:-a b}", "a b"),
        ("${none:-}", ""),
        ("${str#f*b}", "arbaz"),
        ("${str##f*b}", "az"),
        ("${str%b*}", "foobar"),
        ("${str%%b*}", "foo"),
        ("${str/ba/fo}", "fooforbaz"),
        ("${str//ba/fo}", "fooforfoz"),
        ("${str/ba}", "foorbaz"),
        ("${str//?a/}", "foorz"),
        ("${path##*/}", "bin"),
        ("${path%/*}", "/usr/local"),
        ("${path//\\//-}", "-usr-local-bin"),
        ("${star#a\\*}", "b*c"),
        ("${star//\\*/+}", "a+b+c"),
        ("${str#$x}", "foobarbaz"),
        ("${str#nope}", "foobarbaz"),
        ("ä$x♥", "äX♥"),
    ];
    for (text, want) in cases {
        assert_eq!(expanded(text).as_deref(), Ok(want), "{text}");
    }
    assert_eq!(word("`$x c:\\d", '`', &lookup).as_deref(), Ok("$x c:\\d"));
}

#[test]
fn what_means_nothing_is_refused() {
    let cases = [
        ("'a", "unexpected end of statement while looking for matching single-quote"),
        ("\"a", "unexpected end of statement while looking for matching double-quote"),
        ("${", "syntax error: missing '}'"),
        ("${x", "syntax error: missing '}'"),
        ("${x:-", "syntax error: missing '}'"),
        ("${}", "syntax error: bad substitution"),
        ("${ x}", "syntax error: bad substitution"),
        ("${x:=w}", "unsupported modifier (:=) in substitution"),
        ("${x!}", "unsupported modifier (!) in substitution"),
        ("${none:?}", "none: is not allowed to be unset"),
        ("${empty:?}", "empty: is not allowed to be empty"),
        ("${none?say $x}", "none: say X"),
    ];
    for (text, want) in cases {
        assert_eq!(expanded(text), Err(want.to_owned()), "{text}");
    }
    assert_eq!(expanded(&"${none:-".repeat(100_000)), Err(Reason::TooDeep.to_string()));
    let huge = |_: &str| Some("x".repeat(1 << 20));
    assert_eq!(
        word(&"$x".repeat(17), '\\', &huge).map_err(|error| error.reason),
        Err(Reason::TooLong)
    );
    let slow = word("${x//a*a*a*a*a*b/c}", '\\', &|_: &str| Some("a".repeat(100_000)));
    assert_eq!(slow.map_err(|error| error.reason), Err(Reason::TooSlow));
}

#[test]
fn values_split_words_unless_quoted() {
    let cases: [(&str, &[&str]); 6] = [
        ("80 $two", &["80", "a", "b"]),
        ("\"$two\"", &["a b"]),
        ("a\\ b '' c", &["a b", "", "c"]),
        ("$empty", &[]),
        ("x${two}y", &["xa", "by"]),
        ("${none:-c d}", &["c", "d"]),
    ];
    for (text, want) in cases {
        assert_eq!(words(text, '\\', &lookup).expect(text), want, "{text}");
    }
}

#[test]
fn heredocs_keep_quotes_and_escapes() {
    let text = "echo \"$x\" it's \\$x \\n \\\\ ${none:-'w'}\n";
    let want = "echo \"X\" it's $x \\n \\ 'w'\n";
    assert_eq!(heredoc(text, '\\', &lookup).as_deref(), Ok(want));
}

#[test]
fn names_and_unset_ones_are_found() {
    assert_eq!(names("$a ${b:-$c} '$d' \"$e\" $a ${f", '\\'), ["a", "b", "c", "e", "f"]);
    let unset = unset("$x $none ${other:-$third} ${x:+$fourth}", '\\', &lookup);
    assert_eq!(unset.expect("a word"), ["none", "third", "fourth"]);
}

proptest! {
    #[test]
    fn no_text_is_too_much(text in "[$a-c{}:#%/?*+'\"\\\\ -]{0,60}|\\PC{0,40}", value in "[a-c*]{0,12}") {
        let lookup = |name: &str| (name != "c").then(|| value.clone());
        for escape in ['\\', '`'] {
            let whole = word(&text, escape, &lookup);
            let parts = words(&text, escape, &lookup);
            prop_assert_eq!(whole.is_ok(), parts.is_ok());
            let _ = heredoc(&text, escape, &lookup);
            names(&text, escape);
        }
    }

    #[test]
    fn single_quotes_keep_all(text in "[^']{0,40}") {
        let quoted = format!("'{text}'");
        prop_assert_eq!(word(&quoted, '\\', &lookup), Ok(text));
    }
}
