//! What the README shows is what compiles.

use std::fs;
use std::path::Path;

fn read(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    fs::read_to_string(root.join(path)).expect(path)
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
    for document in ["README.md", "DESIGN.md", "CONTRIBUTING.md", "CHANGELOG.md"] {
        let text = read(document);
        let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for link in links.filter(|link| !link.starts_with("http") && !link.starts_with('#')) {
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
            assert!(root.join(link).exists(), "{document} links to {link}");
        }
    }
}
