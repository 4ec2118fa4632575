//! Declarations, right and wrong, and the presets.

use std::path::PathBuf;
use std::{env, fs};

use proptest::prelude::*;

use super::*;

fn object(place: Place) -> Object {
    Object {
        place,
        width: Width::Whole,
    }
}

fn roles(pair: &Pair) -> Vec<(&str, Part, Object)> {
    let role = |role: &Role| (role.symbol.clone(), role.part, role.object);
    let roles = pair.roles.iter().map(role);
    roles
        .map(|(symbol, part, object)| (&*String::leak(symbol), part, object))
        .collect()
}

/// Every form that the manual shows means what it says.
#[test]
fn declarations_are_read() {
    let pair = parse("conn = open|open2(ret) | open3(*arg1, ret=0) / close(arg0)|drop(*arg2)/up(arg0)/reopen @lib(conn|x/y)@z$")
        .unwrap();
    assert_eq!(pair.name, "conn");
    assert_eq!(
        roles(&pair),
        [
            ("open", Part::Open(Success::Always), object(Place::Result)),
            ("open2", Part::Open(Success::Always), object(Place::Result)),
            ("open3", Part::Open(Success::Zero), object(Place::Behind(1))),
            ("close", Part::Close, object(Place::Argument(0))),
            ("drop", Part::Close, object(Place::Behind(2))),
            ("up", Part::Refer, object(Place::Argument(0))),
        ]
    );
    assert_eq!(pair.reopening, Reopening::Reference);
    assert_eq!(
        pair.library.map(|l| l.as_str().to_owned()).as_deref(),
        Some("lib(conn|x/y)@z$")
    );
    let number = parse("descriptor=open(ret:32)/close(arg0:32)").unwrap();
    assert!(
        number
            .roles
            .iter()
            .all(|role| role.object.width == Width::Number)
    );
}

/// Wrong declarations, each with the sentence that the user gets: golden, `OFFHEAP_BLESS=1` accepts new ones.
#[test]
fn wrong_declarations_are_explained() {
    let long = format!("x={}(ret)/c(arg0)", "f|".repeat(9_000));
    let many: Vec<String> = (0..200).map(|n| format!("f{n}")).collect();
    let many = format!("x={}(ret)/c(arg0)", many.join("|"));
    let wrong = [
        "",
        "open(ret)/close(arg0)",
        "=open(ret)/close(arg0)",
        "9x=open(ret)/close(arg0)",
        "a;b=open(ret)/close(arg0)",
        "x=open(ret)",
        "x=/close(arg0)",
        "x=open(ret)/",
        "x=open/close(arg0)",
        "x=open(ret/close(arg0)",
        "x=open(ret))/close(arg0)",
        "x=open(ret)|/close(arg0)",
        "x=|open(ret)/close(arg0)",
        "x=open()/close(arg0)",
        "x=open(result)/close(arg0)",
        "x=open(*ret)/close(arg0)",
        "x=open(arg)/close(arg0)",
        "x=open(arg-1)/close(arg0)",
        "x=open(ret)/close(arg6)",
        "x=open(ret)/close(arg99999999999)",
        "x=open(ret)/close(ret)",
        "x=open(ret)/close(arg0, ret=0)",
        "x=open(ret, ret=0)/close(arg0)",
        "x=open(arg0, ret>0)/close(arg0)",
        "x=open(ret:32)/close(arg0)",
        "x=open(ret:64)/close(arg0)",
        "x=open|open(ret)/close(arg0)",
        "x=std::open(ret)/close(arg0)",
        "x=o\u{1b}[31mpen(ret)/close(arg0)",
        "x=open(ret)/close(arg0)/up(arg0)/down(arg0)",
        "x=open(ret)/close(arg0)/up(ret)",
        "x=open(ret)/close(arg0)@",
        "x=open(ret)/close(arg0)@lib(",
        "x=open(ret)/close(arg0)@(a{1000}){1000}",
        &long,
        &many,
    ];
    let shorten = |text: &str| {
        text.chars()
            .take(60)
            .collect::<String>()
            .escape_debug()
            .to_string()
    };
    let mut told = String::new();
    for text in wrong {
        let error = parse(text).expect_err(text);
        assert!(!error.chars().any(char::is_control), "{error:?}");
        told += &format!("{}\n    {error}\n", shorten(text));
    }
    golden("wrong.txt", &told);
}

/// Wrong files name the line or the pair; a right one gives all its pairs.
#[test]
fn files_are_read() {
    let right = "# ours\n[[pair]]\nname = \"conn\"\nopen = \"open|open2(ret)\"\nclose = \"close(arg0)\"\nref = \"up(arg0)\"\n\
                 library = 'libconn\\.so'\n\n[[pair]]\nname = \"lib\"\nopen = \"load(ret)\"\nclose = \"unload(arg0)\"\nreopen = true\n";
    let pairs = file::parse(right).unwrap();
    assert_eq!(pairs.len(), 2);
    assert_eq!((pairs[0].roles.len(), pairs[1].roles.len()), (4, 2));
    assert_eq!(pairs[1].reopening, Reopening::Reference);
    let wrong = [
        "",
        "[[pair]]\nname = \"x\"\n",
        "[[pair]]\nname = \"x\"\nopen = \"o(ret)\"\nclose = \"c(ret)\"\n",
        "[[pair]]\nname = \"x\"\nopen = \"o(ret)\"\nclose = \"c(arg0)\"\nlibary = \"x\"\n",
        "[[pair]]\nname = x\n",
        "[[pairs]]\nname = \"x\"\n",
        "\u{0}",
    ];
    let mut told = String::new();
    for text in wrong {
        let error = file::parse(text).expect_err(text);
        assert!(!error.contains('\n'), "{error:?}");
        told += &format!("{}\n    {error}\n", text.escape_debug());
    }
    golden("files.txt", &told);
}

/// A word of `--pairs` that is nothing, a file that is not there, and two pairs of one name are refused with what to do.
#[test]
fn wrong_selections_are_explained() {
    let select = |words: &[&str], declared: &[&str]| {
        let owned = |texts: &[&str]| texts.iter().map(|&t| t.to_owned()).collect::<Vec<_>>();
        Pairs::select(&owned(words), &owned(declared), &DEFAULT)
    };
    assert!(
        select(&["openssl"], &[])
            .unwrap_err()
            .contains("presets are rocksdb, zstd")
    );
    assert!(
        select(&["/nowhere/pairs.toml"], &[])
            .unwrap_err()
            .contains("can't read /nowhere/pairs.toml")
    );
    let one = "x=open(ret)/close(arg0)";
    assert!(select(&[], &[one, one]).unwrap_err().contains("`x`"));
    assert!(
        select(&["zstd"], &["BIO object=a(ret)/b(arg0)"]).is_ok(),
        "that preset is not chosen"
    );
    assert!(select(&["bio"], &["BIO object=a(ret)/b(arg0)"]).is_err());
    let too_many: Vec<String> = (0..300).map(|n| format!("p{n}=o(ret)/c(arg0)")).collect();
    let too_many = Pairs::select(&[], &too_many, &[]).unwrap_err();
    assert!(too_many.contains("at most 255"), "{too_many}");
    assert_eq!(select(&["none"], &[one]).unwrap().iter().count(), 1);
    assert!(select(&["none"], &[]).unwrap().is_empty());
    let defaults = select(&[], &[]).unwrap();
    assert!(
        defaults
            .iter()
            .all(|(_, pair)| matches!(pair.origin, Origin::Preset(_)))
    );
}

/// Every preset can be read, all together have names of their own, and what is on by default is among them.
#[test]
fn presets_are_sound() {
    for preset in PRESETS {
        for text in (preset.declarations)() {
            parse(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
        }
        assert!(!preset.pairs().is_empty(), "{}", preset.name);
    }
    assert!(DEFAULT.iter().all(|name| presets::named(name).is_some()));
    let all = Pairs::select(&["all".to_owned()], &[], &[]).unwrap();
    assert!(all.iter().count() > 12);
    let names: Vec<&str> = all.iter().map(|(_, pair)| pair.name.as_str()).collect();
    assert!(
        COMMON.iter().all(|common| names.contains(common)),
        "{names:?}"
    );
    let (first, rocksdb) = all.iter().next().unwrap();
    assert_eq!(rocksdb.title(), "preset `rocksdb`");
    assert_eq!(all.of_preset(first).len(), 5, "they are given up together");
}

/// The functions of the RocksDB preset are those that RocksDB's JNI libraries of the two spellings export, and no handle
/// that one of its classes gives out lacks a function that disposes of it.
#[test]
fn rocksdb_exports_what_the_preset_names() {
    let lists = [
        include_str!("tests/rocksdbjni-8.3.2.txt"),
        include_str!("tests/rocksdbjni-9.8.4.txt"),
    ];
    let pairs = Pairs::select(&["rocksdb".to_owned()], &[], &[]).unwrap();
    let wanted = pairs.in_file("/tmp/librocksdbjni123.so");
    for list in lists {
        let mut found = HashMap::<(u8, Shape), usize>::new();
        for symbol in list.lines() {
            for function in wanted.of(symbol) {
                let pair = function.pair.unwrap().pair.0;
                *found.entry((pair, function.shape)).or_default() += 1;
            }
        }
        for (id, pair) in pairs.iter() {
            for shape in [Shape::ObjectOpenReturn, Shape::ObjectClose] {
                let count = found.get(&(id.0, shape)).copied().unwrap_or(0);
                assert!(count > 0, "{} has no {shape:?}", pair.name);
            }
            for role in &pair.roles {
                let exported = lists.iter().flat_map(|list| list.lines());
                // A disposing function has one of two spellings.
                let name = role.symbol.trim_end_matches("Jni");
                let is_it = |symbol: &str| {
                    let base = symbol.split("__").next().unwrap_or_default();
                    base.trim_end_matches("Jni") == name
                };
                assert!(exported.clone().any(is_it), "{name} is exported by neither");
            }
        }
    }
}

/// JNI's overloads are the function; other names that begin alike are not.
#[test]
fn overloads_are_found() {
    let pairs = ["x=Java_a_B_open(ret)/Java_a_B_close(arg2)".to_owned()];
    let pairs = Pairs::select(&[], &pairs, &[]).unwrap();
    let wanted = pairs.in_file("lib.so");
    for symbol in ["Java_a_B_open", "Java_a_B_open__J", "Java_a_B_open__"] {
        assert_eq!(wanted.of(symbol).len(), 1, "{symbol}");
    }
    for symbol in [
        "Java_a_B_open2",
        "Java_a_B_open2__J",
        "open",
        "Java_a_B_openx",
    ] {
        assert!(wanted.of(symbol).is_empty(), "{symbol}");
    }
}

/// A library's pattern decides in which files a pair is looked for.
#[test]
fn libraries_select_files() {
    let pairs = ["x=open(ret)/close(arg0)@/libx[^/]*$".to_owned()];
    let pairs = Pairs::select(&[], &pairs, &[]).unwrap();
    assert_eq!(pairs.in_file("/usr/lib/libx.so.1").of("open").len(), 1);
    assert!(pairs.in_file("/usr/libx/lib.so").of("open").is_empty());
}

proptest! {
    /// No text makes the parser panic, and what it accepts is within its bounds.
    #[test]
    fn any_text_is_survived(text in "[a-z0-9=/|()@*,: !.\u{0}-\u{ff}]{0,80}", form in "[a-z]=[a-z|]{1,6}\\([a-z0-9*:]{1,5}\\)/[a-z]\\(arg[0-9]\\)") {
        for text in [text, form] {
            if let Ok(pair) = parse(&text) {
                prop_assert!(pair.roles.len() <= 128 && pair.name.len() <= 64);
            }
            let _ = file::parse(&text);
        }
    }
}

fn golden(name: &str, text: &str) {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("src/functions/pairs/tests")
        .join(name);
    if env::var_os("OFFHEAP_BLESS").is_some_and(|bless| bless == "1") {
        fs::write(&file, text).unwrap();
    }
    let accepted = fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(text, accepted, "OFFHEAP_BLESS=1 accepts it");
}
