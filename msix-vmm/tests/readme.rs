//! What the README shows is what compiles.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).expect(path)
}

/// The lines between `// [name]` and `// [/name]`, without their common indentation.
fn section(source: &str, name: &str) -> String {
    let (start, end) = (format!("// [{name}]"), format!("// [/{name}]"));
    let lines: Vec<&str> = source
        .lines()
        .skip_while(|line| line.trim() != start)
        .skip(1)
        .take_while(|line| line.trim() != end)
        .collect();
    assert!(!lines.is_empty(), "no section {name}");
    let indent = |line: &&str| line.len() - line.trim_start().len();
    let common = lines.iter().filter(|line| !line.is_empty()).map(indent).min().unwrap_or(0);
    let strip = |line: &&str| line.get(common..).unwrap_or("").to_string();
    lines.iter().map(strip).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_adoption_code_of_the_readme_is_the_example() {
    let readme = read("README.md");
    let kvm = read("crates/vm-msix-kvm/examples/adopt.rs");
    let tube = read("crates/vm-msix-tube/examples/adopt.rs");
    let shown = [
        (&kvm, "readme"),
        (&kvm, "readme-device"),
        (&tube, "readme-vmm"),
        (&tube, "readme-sandbox"),
    ];
    for (example, name) in shown {
        let shown = format!("```rust\n{}\n```", section(example, name));
        assert!(readme.contains(&shown), "the README does not show this:\n{shown}");
    }
}

#[test]
fn every_file_that_the_documents_link_to_is_there() {
    let documents = ["README.md", "DESIGN.md", "CONTRIBUTING.md", "CHANGELOG.md"];
    let more = fs::read_dir(root().join("docs")).unwrap();
    let more = more.map(|entry| format!("docs/{}", entry.unwrap().file_name().display()));
    for document in documents.map(String::from).into_iter().chain(more) {
        let text = read(&document);
        let folder = root().join(&document).parent().expect("a folder").to_path_buf();
        let links = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
        for link in links.filter(|link| !link.starts_with("http") && !link.is_empty()) {
            assert!(folder.join(link).exists(), "{document} links to {link}");
        }
    }
}

/// Every clause has its row, and every test that the page names is one.
#[test]
fn the_page_of_proofs_names_what_exists() {
    let page = read("docs/proof.md");
    for clause in 1..=14 {
        assert!(page.contains(&format!("\n| C{clause} ")), "C{clause} has no row");
    }
    let mut sources = String::new();
    collect_rust(&root().join("crates"), &mut sources);
    collect_rust(&root().join("msix-vmm/tests"), &mut sources);
    let is_test = |word: &&str| word.matches('_').count() > 1 && !word.contains([' ', '/']);
    let named: Vec<_> = page.split('`').skip(1).step_by(2).filter(is_test).collect();
    assert!(named.len() > 10);
    for name in named {
        assert!(sources.contains(&format!("#[test]\nfn {name}()")), "there is no test {name}");
    }
}

/// The clauses' own tests are all on the page: a file that is added must be named there.
#[test]
fn the_page_of_proofs_names_every_file_of_the_contract() {
    let page = read("docs/proof.md");
    for file in fs::read_dir(root().join("crates/vm-msix/tests/contract")).expect("the contract") {
        let name = file.expect("a file").file_name().into_string().expect("a name");
        let is_clause = name.starts_with('c') && name[1..3].parse::<u8>().is_ok();
        assert!(!is_clause || page.contains(&name), "docs/proof.md does not name {name}");
    }
}

/// As the page says: what orders memory by itself is the core's latch, which loom checks.
#[test]
fn the_atomics_of_backends_are_relaxed() {
    for name in ["vm-msix-kvm", "vm-msix-tube"] {
        let mut sources = String::new();
        collect_rust(&root().join("crates").join(name).join("src"), &mut sources);
        let mut uses = sources.split("Ordering::").skip(1).peekable();
        assert!(uses.peek().is_some(), "{name} has no atomics");
        for rest in uses {
            assert!(rest.starts_with("Relaxed"), "{name}: {}", rest.lines().next().unwrap_or(""));
        }
        assert!(!sources.contains("fence("), "{name} has a fence");
    }
}

fn collect_rust(folder: &Path, sources: &mut String) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect_rust(&path, sources);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            sources.push_str(&fs::read_to_string(path).expect("a source"));
        }
    }
}
