use std::path::Path;
use std::{env, fs};

use clap::CommandFactory as _;

use super::*;

fn typed(line: &str) -> anyhow::Result<Cli> {
    parse(line.split_whitespace().map(OsString::from))
}

fn refused(line: &str) -> String {
    one_line(typed(line).unwrap_err().downcast_ref().unwrap())
}

/// The help texts are the golden ones; `OFFHEAP_BLESS=1` accepts new ones.
#[test]
fn help_is_golden() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/help");
    let mut top = Cli::command();
    top.build();
    let commands: Vec<String> = top
        .get_subcommands()
        .map(|command| command.get_name().to_owned())
        .collect();
    let mut texts = vec![("offheap".to_owned(), top.render_help().to_string())];
    for name in commands {
        let command = top.find_subcommand_mut(&name).unwrap();
        texts.push((name, command.render_help().to_string()));
    }
    for (name, text) in texts {
        let file = golden.join(format!("{name}.txt"));
        if env::var_os("OFFHEAP_BLESS").is_some_and(|bless| bless == "1") {
            fs::write(&file, &text).unwrap();
        }
        let accepted = fs::read_to_string(&file).unwrap_or_default();
        assert_eq!(
            text,
            accepted,
            "{} differs; OFFHEAP_BLESS=1 accepts it",
            file.display()
        );
    }
}

/// clap finds no contradiction in the definitions.
#[test]
fn definitions_are_sound() {
    Cli::command().debug_assert();
}

/// The pid can be an argument or a flag of every command that takes one, but not both.
#[test]
fn pid_both_ways() {
    for command in ["attach", "capture", "watch", "triage", "doctor"] {
        for line in [
            format!("offheap {command} 42"),
            format!("offheap {command} -p 42"),
            format!("offheap {command} --pid=42"),
        ] {
            let target = match typed(&line).unwrap().command {
                Command::Attach(args) => args.target,
                Command::Capture(args) => args.target,
                Command::Watch(args) => args.target,
                Command::Triage(args) => args.target,
                Command::Doctor(args) => args.target,
                other => panic!("{other:?}"),
            };
            assert_eq!(target.given(), Some(Pid(42)), "{line}");
        }
        assert!(refused(&format!("offheap {command} 42 -p 43")).contains("cannot be used with"));
    }
}

/// The short forms that memleak's users have in their fingers mean the same here.
#[test]
fn short_forms_of_memleak() {
    let Command::Attach(args) = typed("offheap attach -p 42 -T 3 -z 16 -Z 4096 --sort size")
        .unwrap()
        .command
    else {
        panic!("not attach")
    };
    assert_eq!((args.view.top, args.view.sort), (3, Sort::Bytes));
    assert_eq!(
        (args.trace.min_size, args.trace.max_size),
        (Some(16), Some(4096))
    );
}

/// Bad values give one line that names the value, the flag and the reason, without a usage text below it.
#[test]
fn bad_values_in_one_line() {
    for (line, expected) in [
        ("offheap capture 42 -d -5", "'-5'"),
        ("offheap capture 42 -d=-5", "negative"),
        ("offheap capture 42 -d 0", "longer than zero"),
        ("offheap capture 42 -d 5y", "unknown unit `y`"),
        ("offheap capture 42 -d 99999999999999999999s", "too large"),
        ("offheap attach 42 --sample-bytes=-1k", "negative"),
        ("offheap attach 42 --sample-bytes 1kb", "unknown unit `kb`"),
        ("offheap attach 42 --min-size 99999999999g", "too large"),
        (
            "offheap attach 42 --hooks zlib,calloc",
            "[possible values: zlib, mmap, malloc, pairs, growth]",
        ),
        ("offheap attach 42 --max-overhead 0", "above 0"),
        ("offheap attach 42 --max-overhead inf", "above 0"),
        ("offheap attach 42 --max-overhead 5pct", "`none`"),
        ("offheap attach 42 --top 0", "'0'"),
        ("offheap triage 42 -d 0", "longer than zero"),
        ("offheap triage 42 -f svg", "[possible values: text, json]"),
        ("offheap attach java", "offheap list"),
        ("offheap attach 0", "not a process id"),
        ("offheap watch 42 --keep 0", "'0'"),
        ("offheap 42", "offheap attach 42"),
        ("offheap report", "<CAPTURE>"),
        (
            "offheap report x.json -f png",
            "[possible values: text, folded, svg, json, html, pprof, speedscope]",
        ),
        ("offheap atach 42", "attach"),
        ("offheap", "offheap list"),
    ] {
        let message = refused(line);
        assert!(message.contains(expected), "{line}: {message}");
        assert!(
            !message.contains('\n') && !message.contains("Usage"),
            "{line}: {message}"
        );
        assert!(!message.starts_with("error"), "{line}: {message}");
    }
}

/// Each shell gets a script that knows the commands and their flags, and no other shell is promised.
#[test]
fn completions_of_three_shells() {
    for (shell, expected) in [
        ("bash", ["complete -F _offheap", "--max-overhead", "watch"]),
        ("zsh", ["#compdef offheap", "--max-overhead", "watch"]),
        ("fish", ["complete -c offheap", "max-overhead", "watch"]),
    ] {
        let Command::Completions(args) = typed(&format!("offheap completions {shell}"))
            .unwrap()
            .command
        else {
            panic!("not completions")
        };
        let script = String::from_utf8(paper::completions(args.shell)).unwrap();
        for words in expected {
            assert!(script.contains(words), "{shell}: {words}");
        }
    }
    assert!(refused("offheap completions tcsh").contains("bash, zsh and fish"));
}

/// There is a manual page for the tool and one for each command that is no tool for packagers, with their flags.
#[test]
fn manual_pages() {
    let folder = tempfile::tempdir().unwrap();
    paper::write_man(folder.path()).unwrap();
    let page = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    assert!(page("offheap.1").contains("offheap\\-capture(1)"));
    assert!(page("offheap-watch.1").contains("\\-\\-listen"));
    assert!(!folder.path().join("offheap-man.1").exists());
    assert_eq!(paper::man().unwrap(), page("offheap.1").into_bytes());
}

/// Levels are percentages from 1 to 100 or sizes, and nothing else.
#[test]
fn levels() {
    use crate::threshold::Level;
    assert_eq!(units::level("95%"), Ok(Level::Percent(95)));
    assert_eq!(units::level("512m"), Ok(Level::Bytes(512 << 20)));
    for wrong in ["0%", "101%", "80.5%", "%", "0", "many", "-1%", "", "8 %"] {
        assert!(units::level(wrong).is_err(), "{wrong}");
    }
}
