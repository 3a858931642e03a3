use serde_json::json;

use super::*;

fn shown(template: &str) -> Result<String, Error> {
    let data = json!({
        "ID": "abc", "State": { "Status": "running", "Pid": 7, "Health": null },
        "Labels": { "a": "1", "b.c": "2" }, "Names": ["/x", "/y"], "Empty": [],
        "Ports": { "80/tcp": [{ "HostPort": "8080" }], "81/tcp": null },
    });
    Template::parse(template)?.apply(&data)
}

#[test]
fn what_dockers_users_type_is_understood() {
    let cases = [
        ("{{.ID}}", "abc"),
        ("{{ .State.Status }} {{.State.Pid}}", "running 7"),
        ("{{json .State}}", r#"{"Health":null,"Pid":7,"Status":"running"}"#),
        ("{{json .State.Health}}", "null"),
        (r#"{{index .Labels "b.c"}}"#, "2"),
        (r#"{{.Labels "a"}}"#, "1"),
        (r"{{range .Names}}{{.}};{{end}}", "/x;/y;"),
        (r"{{range $i, $n := .Names}}{{$i}}={{$n}} {{end}}", "0=/x 1=/y "),
        (r"{{range .Empty}}x{{else}}none{{end}}", "none"),
        (
            r"{{range $p, $c := .Ports}}{{$p}}{{if $c}}->{{(index $c 0).HostPort}}{{end}} {{end}}",
            "80/tcp->8080 81/tcp ",
        ),
        (r#"{{if eq .State.Status "exited"}}a{{else if .ID}}b{{else}}c{{end}}"#, "b"),
        (r"{{with .State}}{{.Pid}} {{$.ID}}{{end}}", "7 abc"),
        (r#"{{join .Names ", "}}"#, "/x, /y"),
        (r#"{{.State.Status | upper | printf "%10s|%-4s|" "z"}}"#, "         z|RUNNING|"),
        (r"{{$x := .ID}}{{$x}}{{/* told */}}", "abc"),
        ("a\\tb {{- .ID -}}  c", "a\tbabcc"),
        (r#"{{len .Names}} {{truncate .ID 2}} {{title "x y"}} {{slice .ID 1}}"#, "2 ab X Y bc"),
        ("{{.Labels}} {{.Names}} {{.State.Health}}", "map[a:1 b.c:2] [/x /y] <no value>"),
        (r#"{{and .ID (not .Empty)}} {{or "" "d"}} {{gt .State.Pid 6}}"#, "true d true"),
        (r#"{{"}}"}}"#, "}}"),
    ];
    for (template, want) in cases {
        assert_eq!(shown(template).as_deref(), Ok(want), "{template}");
    }
}

#[test]
fn what_is_wrong_is_named() {
    for (template, want) in [
        ("{{.ID", "a }} is missing"),
        ("{{nope .ID}}", "there is no function \"nope\""),
        ("{{if .ID}}", "an end is missing"),
        ("{{end}}", "end without a begin"),
        ("{{}}", "a command is missing"),
        ("{{.Absent}}", "there is no field \"Absent\": want one of Empty, ID"),
        ("{{.State.Health.Status}}", "there is no field \"Status\""),
        ("{{index .Names 9}}", "9 is out of range"),
        ("{{$x}}", "it was not set"),
        ("{{(.ID}}", "a ) is missing"),
        ("{{\"x}}", "}} is missing"),
    ] {
        let error = shown(template).expect_err(template).to_string();
        assert!(error.contains(want), "{template}: {error}");
    }
}
