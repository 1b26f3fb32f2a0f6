//! The command line: help, versions, refusals, formats, completion, and what images show.

use crate::harness::{
    Output, PATIENCE, Rocker, base_image, finish, has_controller, has_program, one_line, package,
    skip,
};
use std::process::{Command, Stdio};

/// A refusal by wrong use: the reason first, then usage and pointer after an empty line each.
#[track_caller]
fn misused(rocker: &Rocker, args: &[&str], code: i32, reason: &str) -> String {
    let output = rocker.run(args);
    assert_eq!((output.code, &*output.stdout), (code, ""), "{args:?}: {output:?}");
    let parts: Vec<&str> = output.stderr.split("\n\n").collect();
    assert_eq!(parts.len(), 3, "{args:?}: {output:?}");
    assert_eq!(one_line(parts[0]), format!("rocker: {reason}"));
    assert!(parts[1].starts_with(&format!("Usage:  rocker {} ", args[0])), "{output:?}");
    assert_eq!(parts[2], format!("Run 'rocker {} --help' for more information\n", args[0]));
    parts[0].to_string()
}

/// A shell command line in which `$ROCKER` is the binary.
fn shell(rocker: &Rocker, line: &str) -> Output {
    let mut command = Command::new("sh");
    command.args(["-c", line]).env("ROCKER", rocker.binary());
    rocker.prepare(&mut command);
    finish(command, b"", PATIENCE)
}

#[test]
fn the_version_is_one_line_and_version_tells_more() {
    let Some(rocker) = Rocker::as_root() else { return };
    assert_eq!(rocker.ok(&["--version"]), "rocker 0.1.0\n");
    assert_eq!(rocker.ok(&["-v"]), "rocker 0.1.0\n");
    let detail = rocker.ok(&["version"]);
    assert!(detail.starts_with("Version:   0.1.0\nTarget:    x86_64-linux-"), "{detail}");
    assert_eq!(rocker.ok(&["version", "-f", "{{.Version}}"]), "0.1.0\n");
}

#[test]
fn without_arguments_the_help_is_shown_on_stdout() {
    let Some(rocker) = Rocker::as_root() else { return };
    let help = rocker.ok(&[]);
    assert!(help.starts_with("Usage:  rocker [OPTIONS] COMMAND [ARG...]\n"), "{help}");
    assert_eq!(rocker.ok(&["--help"]), help);
    assert_eq!(rocker.ok(&["-h"]), help);
    assert!(!help.contains("__complete"));
}

#[test]
fn every_command_of_the_help_has_a_help_of_its_own() {
    let Some(rocker) = Rocker::as_root() else { return };
    let overview = rocker.ok(&[]);
    let commands = overview.lines().filter(|line| line.starts_with("  ") && !line.contains("  --"));
    let mut seen = 0;
    for line in commands.filter(|line| !line.trim_start().starts_with('-')) {
        // A name of two words has one blank, and at least two stand behind it.
        let name = line.trim_start().split("  ").next().unwrap();
        let help = rocker.ok(&[&name.split(' ').collect::<Vec<_>>(), &["--help"][..]].concat());
        assert!(help.starts_with(&format!("Usage:  rocker {name} [OPTIONS]")), "{help}");
        seen += 1;
    }
    assert_eq!(seen, 37, "{overview}");
}

#[test]
fn wrong_use_is_told_with_usage_and_pointer() {
    let Some(rocker) = Rocker::as_root() else { return };
    let told = misused(&rocker, &["run", "--nmae", "x"], 125, "run: unknown option --nmae");
    assert!(told.ends_with("\nhint: did you mean --name?"), "{told}");
    let told = misused(&rocker, &["run", "-name", "x", "y"], 125, "run: unknown option -name");
    assert!(told.ends_with("\nhint: write --name"), "{told}");
    misused(&rocker, &["stop"], 1, "stop: requires at least 1 argument");
    misused(&rocker, &["tag", "a"], 1, "tag: requires exactly 2 arguments");
    misused(&rocker, &["ps", "x"], 1, "ps: takes no arguments");
    misused(&rocker, &["logs", "--tail"], 125, "logs: option --tail needs a value");
}

#[test]
fn a_wrong_value_is_one_line() {
    let Some(rocker) = Rocker::as_root() else { return };
    let line = rocker.refused(&["run", "-m", "banana", "x"], 125);
    assert_eq!(
        line,
        "rocker: run: invalid value 'banana' for -m, --memory: not a size like 100m or 1g"
    );
    rocker.refused(&["stop", "-t", "soon", "x"], 125);
    rocker.refused(&["kill", "-s", "NOPE", "x"], 125);
    rocker.refused(&["ps", "-f", "colour=red"], 125);
    rocker.refused(&["ps", "--format", "{{"], 125);
    rocker.refused(&["run", "--memory-swap", "1g", "x"], 125);
    rocker.refused(&["import", "-c", "RUN ls", "x", "y"], 125);
    rocker.refused(&["completion", "csh"], 125);
}

#[test]
fn an_unknown_command_names_the_nearest() {
    let Some(rocker) = Rocker::as_root() else { return };
    let output = rocker.run(&["comit"]);
    assert_eq!(output.code, 1);
    assert_eq!(
        output.stderr,
        "rocker: unknown command: comit\nhint: did you mean 'rocker commit'?\n"
    );
    let output = rocker.run(&["image", "rmm"]);
    assert_eq!(output.stderr.lines().nth(1), Some("hint: did you mean 'rocker image rm'?"));
}

#[test]
fn what_is_not_utf_8_or_would_move_the_cursor_is_refused_in_plain_characters() {
    let Some(rocker) = Rocker::as_root() else { return };
    let output = shell(&rocker, "\"$ROCKER\" run \"$(printf '\\377')\"");
    assert_eq!(output.code, 125, "{output:?}");
    assert!(one_line(&output.stderr).contains("not UTF-8"));
    let output = rocker.run(&["stop", "\x1b[2J\n"]);
    assert_eq!(output.code, 1);
    let line = one_line(&output.stderr);
    assert!(line.contains("[2J\\n"), "{line:?}");
}

#[test]
fn nouns_and_verbs_lead_to_the_same_commands() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    assert_eq!(rocker.ok(&["container", "ls"]), rocker.ok(&["ps"]));
    assert_eq!(rocker.ok(&["ls"]), rocker.ok(&["ps"]));
    assert_eq!(rocker.ok(&["image", "ls"]), rocker.ok(&["images"]));
    assert_eq!(
        rocker.ok(&["image", "rm", "busybox"]).lines().next(),
        Some("Untagged: busybox:latest")
    );
    assert!(rocker.ok(&["container"]).contains("\n  ls "));
}

#[test]
fn empty_lists_are_a_header() {
    let Some(rocker) = Rocker::as_root() else { return };
    assert_eq!(rocker.ok(&["ps"]), "ID  NAME  PID  STATUS  COMMAND  CREATED\n");
    assert_eq!(rocker.ok(&["images"]), "REPOSITORY  TAG  IMAGE ID  SIZE  CREATED\n");
    assert_eq!(rocker.ok(&["ps", "--format", "json"]), "");
}

#[test]
fn import_tells_the_image_and_images_lists_it() {
    let Some(rocker) = Rocker::as_root() else { return };
    let told = rocker.ok(&["import", base_image().to_str().unwrap(), "busybox"]);
    let id = told.split("(ID: ").nth(1).and_then(|rest| rest.get(..8)).unwrap().to_string();
    let size = told.split("Size: ").nth(1).and_then(|rest| rest.strip_suffix(")\n")).unwrap();
    assert!(told.starts_with("Imported busybox:latest (ID: "), "{told}");
    let listed = rocker.ok(&["images"]);
    let row: Vec<&str> = listed.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row[..3], ["busybox", "latest", &id], "{listed}");
    assert!(listed.contains(size), "{listed}");
    assert_eq!(rocker.ok(&["images", "-q"]), format!("{id}\n"));
    let line = rocker.ok(&["images", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}"]);
    assert_eq!(line, format!("busybox:latest {id}\n"));
    let json = rocker.ok(&["images", "--format", "json"]);
    assert!(json.starts_with("{\"Containers\":\"N/A\",\"CreatedAt\":\""), "{json}");
}

#[test]
fn changes_at_import_are_seen_by_inspect() {
    let Some(rocker) = Rocker::as_root() else { return };
    let archive = base_image();
    let archive = archive.to_str().unwrap();
    let changes = ["-c", "CMD [\"sh\"]", "-c", "ENV A=1 B='x y'", "-c", "WORKDIR /tmp"];
    rocker.ok(&[&["import", archive, "busybox:2", "-m", "why"][..], &changes].concat());
    let shown =
        rocker.inspect("busybox:2", "{{json .Config.Cmd}} {{join .Config.Env \",\"}} {{.Comment}}");
    assert_eq!(shown, "[\"sh\"] A=1,B=x y why");
    assert_eq!(rocker.inspect("busybox:2", "{{index .RepoTags 0}}"), "busybox:2");
}

#[test]
fn an_image_has_several_names_until_the_last_is_removed() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    rocker.ok(&["tag", "busybox", "box:1"]);
    let id = rocker.inspect("box:1", "{{.Id}}");
    assert_eq!(rocker.inspect("busybox", "{{.Id}}"), id);
    assert_eq!(rocker.ok(&["images", "-q"]).lines().count(), 1);
    assert_eq!(rocker.ok(&["images", "-q", "box"]).lines().count(), 1);
    assert_eq!(rocker.ok(&["rmi", "busybox"]), "Untagged: busybox:latest\n");
    let last = rocker.ok(&["rmi", "box:1"]);
    assert!(last.starts_with(&format!("Untagged: box:1\nDeleted: {id}\n")), "{last}");
    rocker.refused(&["rmi", "box:1"], 1);
}

#[test]
fn inspect_of_what_is_not_there_shows_the_rest_and_fails() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let output = rocker.run(&["inspect", "ghost"]);
    assert_eq!((output.code, &*output.stdout), (1, "[]\n"));
    assert_eq!(output.stderr, "rocker: No such object: ghost\n");
    let output = rocker.run(&["inspect", "ghost", "busybox"]);
    assert_eq!(output.code, 1);
    assert!(output.stdout.contains("\"busybox:latest\""), "{output:?}");
    let output = rocker.run(&["inspect", "-f", "{{.Sise}}", "busybox"]);
    assert_eq!(output.code, 1);
    assert_eq!(output.stderr, "rocker: --format: no field .Sise\nhint: did you mean .Size?\n");
}

#[test]
fn a_closed_pipe_is_no_failure_and_a_full_disk_is() {
    let Some(rocker) = Rocker::as_root() else { return };
    let output = shell(&rocker, "(sleep 0.1; \"$ROCKER\" man; echo $? >&2) | true");
    assert_eq!(output.stderr, "0\n");
    let output = shell(&rocker, "\"$ROCKER\" man >/dev/full");
    assert_eq!(output.code, 1);
    assert_eq!(output.stderr, "rocker: write to stdout: No space left on device (ENOSPC)\n");
}

#[test]
fn the_completion_of_bash_offers_commands_options_and_names() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    if !has_program("bash") {
        return skip("this machine has no bash");
    }
    rocker.ok(&["tag", "busybox", "busybox:old"]);
    let offers = |line: &str| {
        let script = format!(
            "rocker() {{ \"$ROCKER\" \"$@\"; }}; eval \"$(\"$ROCKER\" completion bash)\"; \
             COMP_LINE='{line}'; COMP_POINT=${{#COMP_LINE}}; _rocker; echo \"${{COMPREPLY[*]}}\""
        );
        let mut command = Command::new("bash");
        command.args(["-c", &script]).env("ROCKER", rocker.binary());
        rocker.prepare(&mut command);
        command.stdin(Stdio::null());
        finish(command, b"", PATIENCE)
    };
    for (line, expected) in [
        ("rocker comm", "commit"),
        ("rocker run --cpu", "--cpushare --cpu-shares --cpuset --cpuset-cpus --cpus"),
        ("rocker rmi ", "busybox busybox:latest busybox:old"),
        ("rocker run --image busybox:l", "latest"),
        ("rocker image ins", "inspect"),
    ] {
        let output = offers(line);
        let mut found: Vec<&str> = output.stdout.split_whitespace().collect();
        let mut wanted: Vec<&str> = expected.split_whitespace().collect();
        found.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(found, wanted, "{line}: {output:?}");
    }
}

#[test]
fn the_scripts_of_completion_and_the_manual_are_well_formed() {
    let Some(rocker) = Rocker::as_root() else { return };
    for name in ["bash", "zsh", "fish"] {
        let script = rocker.files().join(name);
        std::fs::write(&script, rocker.ok(&["completion", name])).unwrap();
        // A shell that is not installed cannot tell.
        if let Ok(output) = Command::new(name).arg("-n").arg(&script).output() {
            assert!(output.status.success(), "{name}: {output:?}");
        }
    }
    let manual = rocker.files().join("rocker.8");
    std::fs::write(&manual, rocker.ok(&["man"])).unwrap();
    if let Ok(output) =
        Command::new("groff").args(["-man", "-Tutf8", "-ww", "-z"]).arg(&manual).output()
    {
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    }
}

#[test]
fn every_word_after_the_image_reaches_the_program() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let words = ["-la", "--name", "x", "--", "-name", "a  b", "", "--help", "$HOME"];
    let print = ["run", "--rm", "--image", "busybox", "printf", "<%s>"];
    let expected: String = words.iter().map(|word| format!("<{word}>")).collect();
    assert_eq!(rocker.ok(&[&print[..], &words].concat()), expected);
    let print = ["container", "run", "--rm", "--", "busybox", "printf", "<%s>"];
    assert_eq!(rocker.ok(&[&print[..], &words].concat()), expected);
    rocker.sleeper("web", &[]);
    let print = ["exec", "web", "printf", "<%s>"];
    assert_eq!(rocker.ok(&[&print[..], &words].concat()), expected);
}

#[test]
fn ps_is_the_table_of_the_seed_and_can_be_filtered() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    rocker.sleeper("web", &["-l", "tier=front", "-l", "x"]);
    let data = ["-v", "data:/data", "--name", "done"];
    let done = [&["run", "--net", "none"][..], &data, &["busybox", "sh", "-c", "exit 3"]].concat();
    assert_eq!(rocker.run(&done).code, 3);
    let table = rocker.ok(&["ps"]);
    let header: Vec<&str> = table.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(header, ["ID", "NAME", "PID", "STATUS", "COMMAND", "CREATED"]);
    let row = |name: &str| -> Vec<String> {
        let line = table.lines().find(|line| line.contains(name)).unwrap();
        line.split("  ").filter(|cell| !cell.is_empty()).map(|cell| cell.trim().into()).collect()
    };
    let id = rocker.inspect("web", "{{.Id}}");
    let pid = rocker.pid("web").to_string();
    assert_eq!(row("web")[..5], [&*id, "web", &*pid, "running", "/bin/sleep 1000"]);
    assert_eq!(row("done")[1..5], ["done", "-", "exited", "sh -c exit 3"]);
    let created = &row("web")[5];
    assert_eq!((created.len(), created.matches(['-', ' ', ':']).count()), (19, 5), "{created}");
    for (filter, expected) in [
        ("status=running", "web\n"),
        ("status=exited", "done\n"),
        ("exited=3", "done\n"),
        ("label=tier=front", "web\n"),
        ("label=none", ""),
        ("name=^d", "done\n"),
        ("ancestor=busybox", "done\nweb\n"),
        ("ancestor=other", ""),
        ("before=done", "web\n"),
        ("since=web", "done\n"),
        ("before=web", ""),
        ("network=none", "done\n"),
        ("volume=data", "done\n"),
        ("volume=/data", "done\n"),
        ("volume=/", ""),
        ("publish=80", ""),
    ] {
        let shown = rocker.ok(&["ps", "-f", filter, "--format", "{{.Names}}"]);
        let mut shown: Vec<&str> = shown.lines().collect();
        shown.sort_unstable();
        assert_eq!(shown, expected.lines().collect::<Vec<_>>(), "{filter}");
    }
    assert_eq!(rocker.ok(&["ps", "-q", "-f", "name=web"]), format!("{id}\n"));
    assert_eq!(rocker.ok(&["ps", "-q", "-n", "1"]).lines().count(), 1);
    let refused = rocker.refused(&["ps", "-f", "since=nobody"], 1);
    assert!(refused.contains("No such container: nobody"), "{refused}");
}

#[test]
fn lists_take_templates_and_json() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    rocker.sleeper("web", &["-l", "tier=front"]);
    let id = rocker.inspect("web", "{{.Id}}");
    let line = rocker.ok(&["ps", "--format", "{{.ID}} {{.State}} {{.Label \"tier\"}}"]);
    assert_eq!(line, format!("{id} running front\n"));
    let table = rocker.ok(&["ps", "--format", "table {{.Names}}\\t{{.Image}}\\t{{.Command}}"]);
    assert_eq!(
        table,
        "NAMES  IMAGE           COMMAND\nweb    busybox:latest  \"/bin/sleep 1000\"\n"
    );
    let json = rocker.ok(&["ps", "--format", "json"]);
    assert_eq!(json.lines().count(), 1);
    for key in ["ID", "Names", "Image", "Command", "CreatedAt", "State", "Status", "Ports"] {
        assert!(json.contains(&format!("\"{key}\":\"")), "{key}: {json}");
    }
    let output = rocker.run(&["ps", "--format", "{{.Nmaes}}"]);
    assert_eq!((output.code, &*output.stdout), (1, ""));
    assert!(output.stderr.contains("hint: did you mean .Names?"), "{output:?}");
}

#[test]
fn a_table_that_is_asked_for_has_its_header_without_rows_too() {
    let Some(rocker) = Rocker::as_root() else { return };
    for (list, columns, header) in [
        (&["ps"][..], "{{.ID}}\\t{{.Names}}\\t{{.RunningFor}}", "CONTAINER ID  NAMES  CREATED\n"),
        (&["images"], "{{.Repository}}\\t{{.ID}}\\t{{.Size}}", "REPOSITORY  IMAGE ID  SIZE\n"),
        (&["network", "ls", "-f", "name=none"], "{{.ID}}\\t{{.Name}}", "NETWORK ID  NAME\n"),
        (&["volume", "ls"], "{{.Name}}\\t{{.Driver}}", "VOLUME NAME  DRIVER\n"),
    ] {
        let table = format!("table {columns}");
        assert_eq!(rocker.ok(&[list, &["--format", &table]].concat()), header, "{list:?}");
        assert_eq!(rocker.ok(&[list, &["--format", columns]].concat()), "", "{list:?}");
        let refused = rocker.refused(&[list, &["--format", "table {{.Nobody}}"]].concat(), 1);
        assert!(refused.contains("no field .Nobody"), "{refused}");
    }
}

#[test]
fn a_template_that_shows_a_whole_container_shows_its_labels_and_mounts() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    rocker.sleeper("web", &["-l", "tier=front", "--tmpfs", "/here"]);
    for template in [
        "{{.}}",
        "{{ . }}",
        "{{println .}}",
        "{{printf \"%v\" .}}",
        "{{json .}}",
        "{{with $}}{{.}}{{end}}",
    ] {
        let line = rocker.ok(&["ps", "--format", template]);
        assert!(line.contains("tier=front") && line.contains("/here"), "{template}: {line}");
    }
}

#[test]
fn the_networks_of_a_container_without_addresses_have_dockers_keys() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    rocker.sleeper("none", &["--net", "none"]);
    rocker.sleeper("host", &["--net", "host"]);
    rocker.ok(&["create", "--name", "idle", "busybox", "true"]);
    let template = "{{range $name, $net := .NetworkSettings.Networks}}{{$name}}<{{$net.IPAddress}}\
        {{.MacAddress}}>{{.IPPrefixLen}}{{end}}";
    assert_eq!(rocker.inspect("none", template), "none<>0");
    assert_eq!(rocker.inspect("host", template), "host<>0");
    assert_eq!(rocker.inspect("idle", template), "rocker0<>0");
}

#[test]
fn options_of_docker_that_change_nothing_are_taken() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    rocker.ok(&["tag", "busybox", "other"]);
    assert_eq!(rocker.ok(&["rmi", "--no-prune", "other"]), "Untagged: other:latest\n");
    assert_eq!(rocker.ok(&["volume", "create", "-d", "local", "data"]), "data\n");
    let refused = rocker.refused(&["volume", "create", "--driver", "nfs", "more"], 125);
    assert!(refused.contains("the only driver is local"), "{refused}");
    assert_eq!(rocker.ok(&["volume", "prune", "-a", "-f"]), "data\n");
}

#[test]
fn inspect_has_dockers_shape() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    if !has_controller("--memory") {
        return skip("this machine has no cgroup controller for --memory");
    }
    let file = package().join("Cargo.toml");
    let volume = format!("{}:/hn:ro", file.display());
    rocker.sleeper("web", &["-m", "64m", "-e", "A=1", "-l", "k=v", "-v", &volume]);
    let mount = format!("{}>/hn false", file.display());
    for (template, expected) in [
        ("{{.Name}} {{.Path}} {{json .Args}}", "/web /bin/sleep [\"1000\"]"),
        ("{{.State.Status}} {{.State.Running}} {{.State.OOMKilled}}", "running true false"),
        ("{{.State.FinishedAt}}", "0001-01-01T00:00:00Z"),
        ("{{.HostConfig.Memory}}", "67108864"),
        ("{{index .Config.Labels \"k\"}} {{.Config.Image}}", "v busybox:latest"),
        ("{{range .Mounts}}{{.Source}}>{{.Destination}} {{.RW}}{{end}}", &mount),
        ("{{if .State.Health}}{{.State.Health.Status}}{{else}}none{{end}}", "none"),
        ("{{json .Config.ExposedPorts}} {{json .Config.Volumes}}", "{} {}"),
        ("{{.HostConfig.LogConfig.Type}} {{json .HostConfig.PortBindings}}", "local {}"),
        ("{{range .Config.Env}}{{if eq . \"A=1\"}}found{{end}}{{end}}", "found"),
    ] {
        assert_eq!(rocker.inspect("web", template), expected, "{template}");
    }
    for path in ["ResolvConfPath", "HostnamePath", "HostsPath", "LogPath"] {
        let path = rocker.inspect("web", &format!("{{{{.{path}}}}}"));
        assert!(std::path::Path::new(&path).is_file(), "{path}");
    }
    let whole = rocker.ok(&["inspect", "web"]);
    assert!(whole.starts_with("[\n    {\n        \"Args\": [\n"), "{whole}");
    assert!(whole.ends_with("\n    }\n]\n"), "{whole}");
    rocker.ok(&["stop", "-t", "0", "web"]);
    let ended = rocker.inspect("web", "{{.State.Status}} {{.State.ExitCode}} {{.State.Pid}}");
    assert_eq!(ended, "stopped 137 0");
}
