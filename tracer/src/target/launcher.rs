//! The command line of the `java` launcher: what was started.

/// Options of the launcher that take their value from the next word (`IsWhiteSpaceOption` and `IsClassPathOption` in
/// java.base's launcher, JDK 9 to 25).
const WITH_VALUE: [&str; 17] = [
    "-cp",
    "-classpath",
    "--class-path",
    "-p",
    "--module-path",
    "--upgrade-module-path",
    "--add-modules",
    "--enable-native-access",
    "--limit-modules",
    "--add-exports",
    "--add-opens",
    "--add-reads",
    "--patch-module",
    "--describe-module",
    "-d",
    "--illegal-native-access",
    "--source",
];

/// The main class, `module/class` or the jar's file name. None where the command line isn't that of a launcher, for
/// example of a program that embeds a JVM, or where it is hidden in an argument file (`@file`).
pub fn main_class(cmdline: &[String]) -> Option<String> {
    let (program, mut words) = cmdline.split_first()?;
    if file_name(program) != "java" {
        return None;
    }
    while let Some((word, rest)) = words.split_first() {
        words = match word.as_str() {
            "-jar" => return rest.first().map(|jar| file_name(jar).to_owned()),
            "-m" | "--module" => return rest.first().cloned(),
            option if WITH_VALUE.contains(&option) => rest.get(1..).unwrap_or_default(),
            option if option.starts_with("--module=") => {
                return option.split_once('=').map(|(_, module)| module.to_owned());
            }
            option if option.starts_with(['-', '@']) => rest,
            "" => rest,
            // A source file is run by its path, a class by its name.
            class if class.ends_with(".java") => return Some(file_name(class).to_owned()),
            class => return Some(class.replace('/', ".")),
        };
    }
    None
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn main_of(line: &str) -> Option<String> {
        main_class(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    /// The main class is found behind every way of giving options.
    #[test]
    fn ways_to_start() {
        for (line, expected) in [
            ("java Main", Some("Main")),
            (
                "/usr/bin/java -Xmx2g -cp /a:/b org.example.Main -jar x",
                Some("org.example.Main"),
            ),
            (
                "java --class-path=/a org/example/Main",
                Some("org.example.Main"),
            ),
            (
                "java -XX:+UseG1GC -jar /srv/presto/app.jar --port 1",
                Some("app.jar"),
            ),
            (
                "java --module-path mods -m app/org.example.Main x",
                Some("app/org.example.Main"),
            ),
            (
                "java --module=app/org.example.Main",
                Some("app/org.example.Main"),
            ),
            (
                "java --add-opens java.base/java.lang=ALL-UNNAMED -javaagent:x.jar Main",
                Some("Main"),
            ),
            ("java @/etc/args Main", Some("Main")),
            ("java @/etc/args", None),
            ("java --source 17 /tmp/Hello.java", Some("Hello.java")),
            ("java -cp", None),
            ("java -jar", None),
            ("java", None),
            ("javac --release 11 Main.java", None),
            ("/usr/sbin/jsvc -cp x org.example.Daemon", None),
            ("", None),
        ] {
            assert_eq!(main_of(line).as_deref(), expected, "{line}");
        }
        assert_eq!(main_class(&[]), None);
    }

    proptest! {
        /// Any words are survived.
        #[test]
        fn any_words(words in proptest::collection::vec(".*", 0..8)) {
            let _ = main_class(&words);
            let _ = main_class(&[vec!["java".to_owned()], words].concat());
        }
    }
}
